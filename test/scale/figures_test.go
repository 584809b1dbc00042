package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAFigureBeyondItsRangeIsARegression(t *testing.T) {
	file := filepath.Join(t.TempDir(), "range.yaml")
	if err := os.WriteFile(file, []byte("heal_p99_ms: 100\nrestart_writes: 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	within := []figure{{Name: "heal_p99_ms", Description: "heal, p99", Value: 100, Unit: "ms"}, {Name: "restart_writes", Description: "restart: writes"}}
	if err := withinRange(file, within); err != nil {
		t.Error(err)
	}
	within[0].Value = 101
	if err := withinRange(file, within); err == nil || !strings.Contains(err.Error(), "heal, p99 is 101 ms; more than 100 is a regression") {
		t.Errorf("%v", err)
	}
	if err := withinRange(file, within[1:]); err == nil || !strings.Contains(err.Error(), "heal_p99_ms: no such figure was measured") {
		t.Errorf("%v", err)
	}
}

// The range file names figures that there are.
func TestTheRangeFile(t *testing.T) {
	source, err := os.ReadFile("phases.go")
	if err != nil {
		t.Fatal(err)
	}
	ranges, err := os.ReadFile("range.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(ranges)) {
		name, _, found := strings.Cut(line, ":")
		if found && !strings.HasPrefix(line, "#") && !strings.Contains(string(source), `"`+name+`"`) {
			t.Errorf("nobody measures %s", name)
		}
	}
}

func TestTheTableOfOneSizeIsReplaced(t *testing.T) {
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
		t.Errorf("%s", got)
	}
}

func TestPercentiles(t *testing.T) {
	durations := make([]time.Duration, 0, 100)
	for i := range 100 {
		durations = append(durations, time.Duration(100-i)*time.Millisecond)
	}
	for p, want := range map[float64]float64{0: 1, .5: 51, .99: 100, 1: 100} {
		if got := percentile(durations, p); got != want {
			t.Errorf("p%v is %v, not %v", p, got, want)
		}
	}
	if got := percentile(nil, .5); got != 0 {
		t.Errorf("of nothing it is %v", got)
	}
}
