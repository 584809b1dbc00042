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

// figure is a measured value.
type figure struct {
	// Name is the name of the figure in range files.
	Name string `json:"name"`
	// Description describes the figure in the table.
	Description string  `json:"what"`
	Value       float64 `json:"value"`
	Unit        string  `json:"unit"`
	// Goal is the highest value that meets the goal. 0 means no goal, unless MustBeZero
	// is set.
	Goal float64 `json:"goal,omitempty"`
	// MustBeZero means that the goal is 0.
	MustBeZero bool `json:"zero,omitempty"`
}

func (f *figure) goalText() string {
	switch {
	case f.MustBeZero:
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

// markdownTable returns the figures as a Markdown table.
func markdownTable(figures []figure) string {
	var out strings.Builder
	fmt.Fprintln(&out, "| figure | measured | goal | met |\n|---|---|---|---|")
	for i := range figures {
		f := &figures[i]
		fmt.Fprintf(&out, "| %s | %s %s | %s | %s |\n", f.Description, formatNumber(f.Value), f.Unit, f.goalText(), f.metText())
	}
	return out.String()
}

// publish writes the figures to the files in the options. It returns an error for each
// figure beyond its range.
func publish(o options, figures []figure) error {
	if o.json != "" {
		data, err := json.MarshalIndent(map[string]any{
			"namespaces": o.namespaces, "time": time.Now().UTC().Format(time.RFC3339), "cpus": runtime.NumCPU(), "go": runtime.Version(), "figures": figures,
		}, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(data, '\n'), 0o644); err != nil { //nolint:gosec // the file is public
			return fmt.Errorf("writing the figures: %w", err)
		}
	}
	if o.docs != "" {
		if err := replaceTable(o.docs, o.namespaces, markdownTable(figures)); err != nil {
			return err
		}
	}
	if o.ranges == "" {
		return nil
	}
	return withinRange(o.ranges, figures)
}

// replaceTable replaces the table between the two comments for this number of
// namespaces. It does nothing if the file does not have them.
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
	return os.WriteFile(file, []byte(before+begin+table+end+after), 0o644) //nolint:gosec // the file is public
}

// withinRange returns an error for each figure that is higher than its range allows.
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
			errs = append(errs, fmt.Errorf("%s: the figure was not measured", name))
		case figures[i].Value > most:
			errs = append(errs, fmt.Errorf("%s: got %s %s, want at most %s", figures[i].Description, formatNumber(figures[i].Value), figures[i].Unit, formatNumber(most)))
		}
	}
	return errors.Join(errs...)
}

// percentile returns the percentile p of the durations, in milliseconds. p is between 0
// and 1.
func percentile(durations []time.Duration, p float64) float64 {
	if len(durations) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(durations))
	i := min(int(p*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[i]) / float64(time.Millisecond)
}
