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

func TestWrongFlagsAreRefusedWithASentenceThatNamesThem(t *testing.T) {
	for args, want := range map[string]string{
		"--metrics-bind-address=8443":             `--metrics-bind-address: "8443" is no address such as :8443 or 127.0.0.1:8443, nor 0`,
		"--metrics-bind-address=:":                `--metrics-bind-address: ":" is no address such as :8443 or 127.0.0.1:8443, nor 0: no port`,
		"--metrics-bind-address=:metrics":         `--metrics-bind-address: ":metrics" is no address`,
		"--health-probe-bind-address=:99999":      `--health-probe-bind-address: ":99999" is no address`,
		"--metrics-cert-dir=/nowhere":             "--metrics-cert-dir: stat /nowhere/tls.crt: no such file or directory; mount a Secret of type kubernetes.io/tls there or leave the flag out",
		"--protected-namespaces=a,Kube_System":    `--protected-namespaces: "Kube_System" is no name of a namespace: `,
		"--leader-elect-namespace=system/default": `--leader-elect-namespace: "system/default" is no name of a namespace: `,
		"--log-encoding=xml":                      `--log-encoding: "xml" is neither json nor console`,
		"-v=11":                                   `--v: 11 is not between 0 and 10`,
		"-v=loud":                                 `invalid value "loud" for flag -v: parse error; --help lists the flags`,
		"--leader-elect=maybe":                    `invalid boolean value "maybe" for -leader-elect: parse error; --help lists the flags`,
		"--leader-elected":                        "flag provided but not defined: -leader-elected; --help lists the flags",
		"--leader-elect true":                     `"true" is no flag: flags begin with -- and take their value after =`,
	} {
		t.Run(args, func(t *testing.T) {
			if _, err := parseFlags(strings.Fields(args), "", nil); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, not %q", err, want)
			}
		})
	}
}

func TestEveryMistakeIsNamedAtOnce(t *testing.T) {
	_, err := parseFlags([]string{"--log-encoding=xml", "--metrics-bind-address=8443"}, "", nil)
	if err == nil || !strings.Contains(err.Error(), "--log-encoding") || !strings.Contains(err.Error(), "--metrics-bind-address") {
		t.Errorf("%v", err)
	}
}

func TestSettings(t *testing.T) {
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
		t.Error(diff)
	}
	if got.leaderElectNamespace != "system" || !got.leaderElect || !got.controllers.OpenReports || got.verbosity != 2 || got.logEncoding != "json" {
		t.Errorf("%+v", got)
	}
	if !got.logger().V(2).Enabled() || got.logger().V(3).Enabled() {
		t.Error("-v=2 is not the level of the log")
	}
}

// Each flag has one sentence, which begins with a capital and ends with a full stop.
func TestHelpExplainsEveryFlagInASentence(t *testing.T) {
	var help bytes.Buffer
	if _, err := parseFlags([]string{"--help"}, "", &help); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	sentence := regexp.MustCompile(`^[A-Z][^.]*(\.[^ .][^.]*)*\.( \(default .*\))?$`)
	ours := 0
	for _, described := range regexp.MustCompile(`(?m)^  (-.*)\n\s+(.*)$|^  (-v level)\t(.*)$`).FindAllStringSubmatch(help.String(), -1) {
		ours++
		if text := described[2] + described[4]; !sentence.MatchString(text) {
			t.Errorf("%s: %s", described[1]+described[3], text)
		}
	}
	if want := strings.Count("\n"+help.String(), "\n  -"); ours != want {
		t.Errorf("%d of %d flags are described: %s", ours, want, help.String())
	}
}
