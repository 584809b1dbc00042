// Package install proves, on control planes of its own, that the operator can be
// taken away again and that it makes do with an older API server.
package install

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/securitybaseline/operator/test/cluster"
)

const guarded = `
apiVersion: v1
kind: Namespace
metadata:
  name: guarded
---
apiVersion: securitybaseline.io/v1alpha1
kind: SecurityBaseline
metadata:
  name: everything
spec:
  namespaceSelector: {}
  podSecurity: {enforce: baseline}
  network: {defaultDeny: [Ingress], gate: true}
  rbac:
    clusterAdmin: {allowedSubjects: []}
  images: {allowedRegistries: [registry.example.com]}
  workloads: {requireLimits: true}
  guard: {}
`

// With the guard on, in the order that the README says, what is left is a cluster
// in which everything works.
func TestUninstallLeavesAClusterInWhichEverythingWorks(t *testing.T) {
	local := installed(t)
	stop := startOperator(t, local)
	tries := map[string][]string{
		"a pod from anywhere, that states nothing": {"run", "web", "--image=evil.io/web", "-n", "guarded", "--dry-run=server"},
		"a binding to cluster-admin":               {"create", "clusterrolebinding", "jane", "--clusterrole=cluster-admin", "--user=jane", "--dry-run=server"},
		"a change of what the operator wrote":      {"delete", "networkpolicy", "security-baseline-default-deny", "-n", "guarded", "--dry-run=server"},
		"another label of the namespace":           {"label", "namespace", "guarded", "guard.securitybaseline.io/baseline-", "--dry-run=server"},
	}
	eventually := func(name string, refused bool) {
		t.Helper()
		var out string
		err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(context.Context) (bool, error) {
			var err error
			out, err = kubectl(t, local, "", tries[name]...)
			return (err != nil) == refused && (err == nil || strings.Contains(out, "ValidatingAdmissionPolicy")), nil
		})
		if err != nil {
			t.Fatalf("%s: was to be refused: %t; %s", name, refused, out)
		}
	}

	must(t, local, guarded, "apply", "-f", "-")
	must(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", "--timeout=60s")
	must(t, local, "", "wait", "--for=create", "serviceaccount/default", "-n", "guarded", "--timeout=60s")
	for name := range tries {
		eventually(name, true)
	}

	// As the README says: the operator first, then the baselines, then the rest.
	stop()
	must(t, local, "", "delete", "securitybaselines", "--all", "--timeout=60s")
	for name := range tries {
		eventually(name, false)
	}
	must(t, local, "", "delete", "-k", filepath.Join(cluster.Root(), "config", "default"), "--timeout=120s")
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		left, err := kubectl(t, local, "", "get", "validatingadmissionpolicies,validatingadmissionpolicybindings,mutatingadmissionpolicies,mutatingadmissionpolicybindings", "-o", "name")
		return err == nil && !strings.Contains(left, "securitybaseline"), nil
	})
	if err != nil {
		t.Fatalf("policies are left: %v", err)
	}
	for name := range tries {
		eventually(name, false)
	}
	must(t, local, "", "create", "namespace", "new")
	must(t, local, "", "delete", "namespace", "guarded", "new", "--timeout=60s")
}
