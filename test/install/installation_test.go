package install

import (
	"strings"
	"testing"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// TestInstallation_MeetsRestrictedLevel checks that the operator's pods meet the level
// restricted, which its namespace enforces, and that the objects which keep the operator
// available and isolated exist and select its pods.
func TestInstallation_MeetsRestrictedLevel(t *testing.T) {
	local := testutil.InstallCluster(t)
	in := []string{"-n", cluster.OperatorNamespace, "-o", "name"}
	waitForOperatorPods(t, local)
	objects := testutil.Kubectl(t, local, "", append([]string{"get", "networkpolicies,poddisruptionbudgets,services"}, in...)...)
	for _, want := range []string{
		"networkpolicy.networking.k8s.io/securitybaseline-manager", "poddisruptionbudget.policy/securitybaseline-manager", "service/securitybaseline-metrics",
	} {
		if !strings.Contains(objects, want) {
			t.Errorf("objects: got %s, want %s among them", objects, want)
		}
	}
	// They select the operator's pods.
	labels := testutil.Kubectl(t, local, "", "get", "pods", "-n", cluster.OperatorNamespace, "-o", "jsonpath={.items[0].metadata.labels}")
	for _, path := range []string{"networkpolicy/securitybaseline-manager {.spec.podSelector.matchLabels}", "poddisruptionbudget/securitybaseline-manager {.spec.selector.matchLabels}"} {
		object, jsonpath, _ := strings.Cut(path, " ")
		selector := testutil.Kubectl(t, local, "", "get", object, "-n", cluster.OperatorNamespace, "-o", "jsonpath="+jsonpath)
		for pair := range strings.SplitSeq(strings.Trim(selector, "{}"), ",") {
			if !strings.Contains(labels, pair) {
				t.Errorf("labels of the pods: got %s, want those that %s selects: %s", labels, object, selector)
			}
		}
	}
}
