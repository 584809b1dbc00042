package install

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// The operator's own pods meet the restricted level, which its namespace enforces,
// and what keeps it available and apart is there.
func TestInstallation_MeetsRestrictedLevel(t *testing.T) {
	local := testutil.InstallCluster(t)
	in := []string{"-n", cluster.OperatorNamespace, "-o", "name"}
	var pods string
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, testutil.Timeout, true, func(context.Context) (bool, error) {
		pods = testutil.Kubectl(t, local, "", append([]string{"get", "pods"}, in...)...)
		return strings.Count(pods, "pod/securitybaseline-manager-") == 2, nil
	})
	if err != nil {
		t.Errorf("pods: %s; %s", pods, testutil.Kubectl(t, local, "", "get", "events", "-n", cluster.OperatorNamespace))
	}
	objects := testutil.Kubectl(t, local, "", append([]string{"get", "networkpolicies,poddisruptionbudgets,services"}, in...)...)
	for _, want := range []string{
		"networkpolicy.networking.k8s.io/securitybaseline-manager", "poddisruptionbudget.policy/securitybaseline-manager", "service/securitybaseline-metrics",
	} {
		if !strings.Contains(objects, want) {
			t.Errorf("no %s in %s", want, objects)
		}
	}
	// They select the operator's pods.
	labels := testutil.Kubectl(t, local, "", "get", "pods", "-n", cluster.OperatorNamespace, "-o", "jsonpath={.items[0].metadata.labels}")
	for _, path := range []string{"networkpolicy/securitybaseline-manager {.spec.podSelector.matchLabels}", "poddisruptionbudget/securitybaseline-manager {.spec.selector.matchLabels}"} {
		object, jsonpath, _ := strings.Cut(path, " ")
		selector := testutil.Kubectl(t, local, "", "get", object, "-n", cluster.OperatorNamespace, "-o", "jsonpath="+jsonpath)
		for pair := range strings.SplitSeq(strings.Trim(selector, "{}"), ",") {
			if !strings.Contains(labels, pair) {
				t.Errorf("%s selects %s, the pods have %s", object, selector, labels)
			}
		}
	}
}
