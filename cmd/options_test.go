package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseFlags_RejectsInvalidFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--metrics-bind-address=8443":             `--metrics-bind-address: invalid address "8443": must be like :8443 or 127.0.0.1:8443, or 0`,
		"--metrics-bind-address=:":                `--metrics-bind-address: invalid address ":": must be like :8443 or 127.0.0.1:8443, or 0: the port is missing`,
		"--metrics-bind-address=:metrics":         `--metrics-bind-address: invalid address ":metrics"`,
		"--health-probe-bind-address=:99999":      `--health-probe-bind-address: invalid address ":99999"`,
		"--metrics-cert-dir=/nowhere":             "--metrics-cert-dir: stat /nowhere/tls.crt: no such file or directory; mount a Secret of type kubernetes.io/tls there or omit the flag",
		"--protected-namespaces=a,Kube_System":    `--protected-namespaces: invalid namespace name "Kube_System": `,
		"--leader-elect-namespace=system/default": `--leader-elect-namespace: invalid namespace name "system/default": `,
		"--log-encoding=xml":                      `--log-encoding: invalid encoding "xml": must be json or console`,
		"-v=11":                                   `--v: invalid level 11: must be between 0 and 10`,
		"-v=loud":                                 `invalid value "loud" for flag -v: parse error; --help lists the flags`,
		"--leader-elect=maybe":                    `invalid boolean value "maybe" for -leader-elect: parse error; --help lists the flags`,
		"--leader-elected":                        "flag provided but not defined: -leader-elected; --help lists the flags",
		"--leader-elect true":                     `unexpected argument "true": a flag begins with -- and has its value after =`,
	} {
		t.Run(args, func(t *testing.T) {
			if _, err := parseFlags(strings.Fields(args), "", nil); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got error %v, want one that contains %q", err, want)
			}
		})
	}
}

func TestParseFlags_ReportsEveryInvalidFlag(t *testing.T) {
	_, err := parseFlags([]string{"--log-encoding=xml", "--metrics-bind-address=8443"}, "", nil)
	if err == nil || !strings.Contains(err.Error(), "--log-encoding") || !strings.Contains(err.Error(), "--metrics-bind-address") {
		t.Errorf("got error %v, want one that names --log-encoding and --metrics-bind-address", err)
	}
}

func TestParseFlags_SetsOptions(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"tls.crt", "tls.key"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := parseFlags([]string{
		"--leader-elect", "--metrics-bind-address=:8443", "--metrics-cert-dir=" + dir, "--protected-namespaces=a,b", "--protected-namespaces=c", "--openreports", "-v=2",
	}, "system", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "system"}, got.controllers.ProtectedNamespaces); diff != "" {
		t.Errorf("protected namespaces (-want +got):\n%s", diff)
	}
	if got.leaderElectNamespace != "system" || !got.leaderElect || !got.controllers.OpenReports || got.verbosity != 2 || got.logEncoding != "json" {
		t.Errorf("got options %+v, want those of the flags", got)
	}
	if !got.logger().V(2).Enabled() || got.logger().V(3).Enabled() {
		t.Error("got a logger of another level, want level 2")
	}
}

// Each help text consists of sentences: a capital first, a full stop last.
func TestHelp_DescribesEveryFlagInSentences(t *testing.T) {
	var help bytes.Buffer
	if _, err := parseFlags([]string{"--help"}, "", &help); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	sentences := regexp.MustCompile(`^[A-Z]([^.]|\.[^ ]|\. [A-Z0-9])*\.( \(default .*\))?$`)
	described := 0
	for _, match := range regexp.MustCompile(`(?m)^  (-.*)\n\s+(.*)$|^  (-v level)\t(.*)$`).FindAllStringSubmatch(help.String(), -1) {
		described++
		if text := match[2] + match[4]; !sentences.MatchString(text) {
			t.Errorf("help of %s: got %q, want sentences", match[1]+match[3], text)
		}
	}
	if want := strings.Count("\n"+help.String(), "\n  -"); described != want {
		t.Errorf("got %d described flags, want %d:\n%s", described, want, help.String())
	}
}
