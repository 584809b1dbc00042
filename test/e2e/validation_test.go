package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// validationCase is a case of testdata/validation.
type validationCase struct {
	Name     string          `json:"name"`
	Baseline string          `json:"baseline"` // The name of the baseline; "validation" if empty.
	Spec     json.RawMessage `json:"spec"`
	Want     []string        `json:"want"` // Parts of the error message.
}

func validationCases(t *testing.T, file string) []validationCase {
	t.Helper()
	data, err := os.ReadFile("testdata/validation/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []validationCase
	if err := yaml.UnmarshalStrict(data, &cases); err != nil {
		t.Fatalf("parsing %s: %v", file, err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s has no cases", file)
	}
	return cases
}

// kubectlApply returns the output of kubectl apply for the baseline of the case. It
// creates nothing.
func kubectlApply(t *testing.T, test validationCase) (string, error) {
	t.Helper()
	name := test.Baseline
	if name == "" {
		name = "validation"
	}
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": "securitybaseline.io/v1alpha1",
		"kind":       "SecurityBaseline",
		"metadata":   map[string]any{"name": name},
		"spec":       test.Spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	command := env.Cluster.Kubectl(t.Context(), "apply", "--dry-run=server", "-f", "-")
	command.Stdin = bytes.NewReader(manifest)
	out, err := command.CombinedOutput()
	return string(out), err
}

func checkRejected(t *testing.T, test validationCase) {
	t.Helper()
	out, err := kubectlApply(t, test)
	if err == nil {
		t.Fatalf("kubectl apply accepted the spec %s, want an error: %s", test.Spec, out)
	}
	for _, want := range test.Want {
		if !strings.Contains(out, want) {
			t.Errorf("kubectl apply rejected the spec with the message below, want it to contain %q:\n%s", want, out)
		}
	}
}

func TestBaselineValidation_Rejects(t *testing.T) {
	for _, test := range validationCases(t, "rejected.yaml") {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			if len(test.Want) == 0 {
				t.Fatal("the case has no want")
			}
			checkRejected(t, test)
		})
	}
}

// With blockMetadataService, the operator would remove the whole ipBlock from itself.
func TestBaselineValidation_RejectsIPBlockOfMetadataService(t *testing.T) {
	for _, address := range []string{
		"169.254.169.254/32", "169.254.0.23/32", "169.254.42.42/32", "100.100.100.200/32", "192.0.0.192/32",
		"fd00:ec2::254/128", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128", "fd00:42::42/128", "fd00:a9fe:a9fe::1/128", "fe80::a9fe:a9fe/128",
	} {
		peers := `[{"ipBlock": {"cidr": "` + address + `"}}]`
		for direction, policy := range map[string]string{
			"egress":  `{"policyTypes": ["Egress"], "egress": [{"to": ` + peers + `}]}`,
			"ingress": `{"ingress": [{"from": ` + peers + `}]}`,
		} {
			t.Run(direction+" "+address, func(t *testing.T) {
				t.Parallel()
				checkRejected(t, validationCase{
					Spec: json.RawMessage(`{"namespaceSelector": {}, "network": {"policies": [{"name": "a", "spec": ` + policy + `}]}}`),
					Want: []string{"set network.blockMetadataService to false"},
				})
			})
		}
	}
}

func TestBaselineValidation_Accepts(t *testing.T) {
	for _, test := range validationCases(t, "accepted.yaml") {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			if out, err := kubectlApply(t, test); err != nil {
				t.Fatalf("kubectl apply rejected the spec, want it accepted: %s", out)
			}
		})
	}
}
