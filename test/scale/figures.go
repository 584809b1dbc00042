package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// figure is something that was measured.
type figure struct {
	// Name is what range files call it.
	Name string `json:"name"`
	// What says what it is.
	Description string  `json:"what"`
	Value       float64 `json:"value"`
	Unit        string  `json:"unit"`
	// Goal is the most that it should be; zero where there is none but zero itself,
	// which Zero says.
	Goal float64 `json:"goal,omitempty"`
	Zero bool    `json:"zero,omitempty"`
}

func (f *figure) goalText() string {
	switch {
	case f.Zero:
		return "0"
	case f.Goal == 0:
		return ""
	}
	return "≤ " + formatNumber(f.Goal) + " " + f.Unit
}

func (f *figure) metText() string {
	if f.goalText() == "" {
		return ""
	}
	if f.Value <= f.Goal {
		return "yes"
	}
	return "no"
}

func formatNumber(value float64) string {
	switch {
	case value >= 100 || value == float64(int64(value)):
		return fmt.Sprintf("%.0f", value)
	case value >= 10:
		return fmt.Sprintf("%.1f", value)
	}
	return fmt.Sprintf("%.2f", value)
}

// table returns the figures as Markdown.
func markdownTable(figures []figure) string {
	var out strings.Builder
	fmt.Fprintln(&out, "| figure | measured | goal | met |\n|---|---|---|---|")
	for i := range figures {
		f := &figures[i]
		fmt.Fprintf(&out, "| %s | %s %s | %s | %s |\n", f.Description, formatNumber(f.Value), f.Unit, f.goalText(), f.metText())
	}
	return out.String()
}

// publish writes the figures where the flags say, and returns an error for those that
// are beyond their range.
func publish(s options, figures []figure) error {
	if s.json != "" {
		data, err := json.MarshalIndent(map[string]any{
			"namespaces": s.namespaces, "time": time.Now().UTC().Format(time.RFC3339), "cpus": runtime.NumCPU(), "go": runtime.Version(), "figures": figures,
		}, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.json, append(data, '\n'), 0o644); err != nil { //nolint:gosec // it is for everybody
			return fmt.Errorf("writing the figures: %w", err)
		}
	}
	if s.docs != "" {
		if err := replaceTable(s.docs, s.namespaces, markdownTable(figures)); err != nil {
			return err
		}
	}
	if s.ranges == "" {
		return nil
	}
	return withinRange(s.ranges, figures)
}

// replaceTable puts the table between the two comments of a file that are for this
// many namespaces, if it has them.
func replaceTable(file string, namespaces int, table string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the table: %w", err)
	}
	begin, end := fmt.Sprintf("<!-- begin %d -->\n", namespaces), fmt.Sprintf("<!-- end %d -->", namespaces)
	before, rest, found := strings.Cut(string(data), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return nil
	}
	return os.WriteFile(file, []byte(before+begin+table+end+after), 0o644) //nolint:gosec // it is for everybody
}

// withinRange returns an error for each figure that is more than its range allows.
func withinRange(file string, figures []figure) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the range: %w", err)
	}
	atMost := map[string]float64{}
	if err := yaml.UnmarshalStrict(data, &atMost); err != nil {
		return fmt.Errorf("reading the range: %w", err)
	}
	var errs []error
	for name, most := range atMost {
		i := slices.IndexFunc(figures, func(f figure) bool { return f.Name == name })
		switch {
		case i < 0:
			errs = append(errs, fmt.Errorf("%s: no such figure was measured", name))
		case figures[i].Value > most:
			errs = append(errs, fmt.Errorf("%s is %s %s; more than %s is a regression", figures[i].Description, formatNumber(figures[i].Value), figures[i].Unit, formatNumber(most)))
		}
	}
	return errors.Join(errs...)
}

// percentile returns that of durations, in milliseconds; p is at most 1.
func percentile(durations []time.Duration, p float64) float64 {
	if len(durations) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(durations))
	i := min(int(p*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[i]) / float64(time.Millisecond)
}
