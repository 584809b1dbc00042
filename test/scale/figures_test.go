package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWithinRange_RejectsHigherFigure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "range.yaml")
	if err := os.WriteFile(file, []byte("revert_p99_ms: 100\nrestart_writes: 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	within := []figure{{Name: "revert_p99_ms", Description: "revert, p99", Value: 100, Unit: "ms"}, {Name: "restart_writes", Description: "restart: writes"}}
	if err := withinRange(file, within); err != nil {
		t.Error(err)
	}
	within[0].Value = 101
	if err := withinRange(file, within); err == nil || !strings.Contains(err.Error(), "revert, p99: got 101 ms, want at most 100") {
		t.Errorf("got error %v, want one for revert, p99", err)
	}
	if err := withinRange(file, within[1:]); err == nil || !strings.Contains(err.Error(), "revert_p99_ms: the figure was not measured") {
		t.Errorf("got error %v, want one for the missing figure", err)
	}
}

func TestRangeFile_NamesMeasuredFigures(t *testing.T) {
	var source strings.Builder
	for _, file := range []string{"floor.go", "phases.go", "revert.go", "contested.go"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(data)
	}
	ranges, err := os.ReadFile("range.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(ranges)) {
		name, _, found := strings.Cut(line, ":")
		if found && !strings.HasPrefix(line, "#") && !strings.Contains(source.String(), `"`+name+`"`) {
			t.Errorf("got range for %q, want only measured figures", name)
		}
	}
}

func TestReplaceTable_ReplacesOnlyTableOfSize(t *testing.T) {
	file := filepath.Join(t.TempDir(), "performance.md")
	text := "before\n<!-- begin 1000 -->\nold\n<!-- end 1000 -->\n<!-- begin 10000 -->\nother\n<!-- end 10000 -->\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceTable(file, 1000, "new\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(text, "old", "new", 1); string(got) != want {
		t.Errorf("got file %q, want %q", got, want)
	}
}

func TestPercentile(t *testing.T) {
	durations := make([]time.Duration, 0, 100)
	for i := range 100 {
		durations = append(durations, time.Duration(100-i)*time.Millisecond)
	}
	for p, want := range map[float64]float64{0: 1, .5: 51, .99: 100, 1: 100} {
		if got := percentile(durations, p); got != want {
			t.Errorf("percentile %v: got %v, want %v", p, got, want)
		}
	}
	if got := percentile(nil, .5); got != 0 {
		t.Errorf("percentile of no durations: got %v, want 0", got)
	}
}
