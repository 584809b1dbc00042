// Package install proves that the operator can be taken away again, on a control
// plane of its own.
package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/securitybaseline/operator/controllers"
	"github.com/securitybaseline/operator/test/cluster"
)

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	cluster.Main()
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	os.Exit(m.Run())
}

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
	local, err := cluster.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Stop() })
	if err := local.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := startOperator(t, local)

	kubectl := func(input string, args ...string) (string, error) {
		command := local.Kubectl(t.Context(), args...)
		command.Stdin = strings.NewReader(input)
		out, err := command.CombinedOutput()
		return string(out), err
	}
	must := func(input string, args ...string) {
		t.Helper()
		if out, err := kubectl(input, args...); err != nil {
			t.Fatalf("kubectl %v: %v\n%s", args, err, out)
		}
	}
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
			out, err = kubectl("", tries[name]...)
			return (err != nil) == refused && (err == nil || strings.Contains(out, "ValidatingAdmissionPolicy")), nil
		})
		if err != nil {
			t.Fatalf("%s: was to be refused: %t; %s", name, refused, out)
		}
	}

	must(guarded, "apply", "-f", "-")
	must("", "wait", "--for=condition=Ready", "securitybaseline", "everything", "--timeout=60s")
	must("", "wait", "--for=create", "serviceaccount/default", "-n", "guarded", "--timeout=60s")
	for name := range tries {
		eventually(name, true)
	}

	// As the README says: the operator first, then the baselines, then the rest.
	stop()
	must("", "delete", "securitybaselines", "--all", "--timeout=60s")
	for name := range tries {
		eventually(name, false)
	}
	must("", "delete", "-k", filepath.Join(cluster.Root(), "config", "default"), "--timeout=120s")
	err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		left, err := kubectl("", "get", "validatingadmissionpolicies,validatingadmissionpolicybindings,mutatingadmissionpolicies,mutatingadmissionpolicybindings", "-o", "name")
		return err == nil && !strings.Contains(left, "securitybaseline"), nil
	})
	if err != nil {
		t.Fatalf("policies are left: %v", err)
	}
	for name := range tries {
		eventually(name, false)
	}
	must("", "create", "namespace", "new")
	must("", "delete", "namespace", "guarded", "new", "--timeout=60s")
}

// startOperator starts the operator as its own ServiceAccount, and returns what
// stops it.
func startOperator(t *testing.T, local *cluster.Cluster) func() {
	t.Helper()
	config, err := local.Operator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	controllers.ConfigureClient(config)
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: controllers.Scheme(), Cache: controllers.CacheOptions(), Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := controllers.Setup(mgr, controllers.Options{ProtectedNamespaces: []string{cluster.OperatorNamespace}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(fmt.Errorf("stopping the operator: %w", err))
		}
	}
}
