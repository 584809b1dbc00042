package install

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/securitybaseline/operator/test/cluster"
)

// The operator's own pods meet the restricted level, which its namespace enforces,
// and what keeps it available and apart is there.
func TestTheInstallationMeetsWhatItAsksOfOthers(t *testing.T) {
	local := installed(t)
	in := []string{"-n", cluster.OperatorNamespace, "-o", "name"}
	var pods string
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		pods = must(t, local, "", append([]string{"get", "pods"}, in...)...)
		return strings.Count(pods, "pod/securitybaseline-manager-") == 2, nil
	})
	if err != nil {
		t.Errorf("pods: %s; %s", pods, must(t, local, "", "get", "events", "-n", cluster.OperatorNamespace))
	}
	objects := must(t, local, "", append([]string{"get", "networkpolicies,poddisruptionbudgets,services"}, in...)...)
	for _, want := range []string{
		"networkpolicy.networking.k8s.io/securitybaseline-manager", "poddisruptionbudget.policy/securitybaseline-manager", "service/securitybaseline-metrics",
	} {
		if !strings.Contains(objects, want) {
			t.Errorf("no %s in %s", want, objects)
		}
	}
	// They select the operator's pods.
	labels := must(t, local, "", "get", "pods", "-n", cluster.OperatorNamespace, "-o", "jsonpath={.items[0].metadata.labels}")
	for _, path := range []string{"networkpolicy/securitybaseline-manager {.spec.podSelector.matchLabels}", "poddisruptionbudget/securitybaseline-manager {.spec.selector.matchLabels}"} {
		object, jsonpath, _ := strings.Cut(path, " ")
		selector := must(t, local, "", "get", object, "-n", cluster.OperatorNamespace, "-o", "jsonpath="+jsonpath)
		for pair := range strings.SplitSeq(strings.Trim(selector, "{}"), ",") {
			if !strings.Contains(labels, pair) {
				t.Errorf("%s selects %s, the pods have %s", object, selector, labels)
			}
		}
	}
}
