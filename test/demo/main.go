// Command demo shows the operator on a real API server, step by step. It fails at the first
// step that does not have the described result. With KEEP=1, everything keeps running until
// the demo is interrupted.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/securitybaseline/operator/test/cluster"
)

func main() {
	cluster.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx)
	interrupted := ctx.Err() != nil
	stop()
	if err != nil && interrupted {
		fmt.Fprintln(os.Stderr, "\nInterrupted.")
		os.Exit(130)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\nThe demo failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	fmt.Println("Starting etcd, kube-apiserver and kube-controller-manager on this machine ...")
	start := time.Now()
	local, err := cluster.Start(ctx)
	if err != nil {
		return err
	}
	defer func() {
		fmt.Println("\nStopping everything.")
		if stopErr := local.Stop(); err == nil {
			err = stopErr
		}
	}()
	fmt.Println("Installing config/default, like make deploy ...")
	if err := local.Install(ctx); err != nil {
		return err
	}
	fmt.Println("Starting bin/manager as the operator's own ServiceAccount ...")
	manager, err := local.StartManager(ctx, filepath.Join(cluster.Root(), "bin", "manager"), filepath.Join(filepath.Dir(local.Kubeconfig()), "operator.log"), "--leader-elect")
	if err != nil {
		return err
	}
	defer func() { _ = manager.Stop() }()

	s := &script{ctx: ctx, cluster: local, manager: manager}
	walkThrough(s)
	if s.err != nil {
		return s.err
	}
	fmt.Printf("\nThe demo used a real API server and took %s.\n", time.Since(start).Round(time.Second))
	if os.Getenv("KEEP") == "" {
		fmt.Print("\nOn your own cluster, look at the following (here: make demo KEEP=1):\n\n" +
			"  reports    kubectl get securitybaselines; kubectl get baselinereports --all-namespaces\n" +
			"  metrics    https://securitybaseline-metrics.securitybaseline-system.svc:8443/metrics, docs/metrics.md\n" +
			"  dashboard  config/grafana, alerts config/prometheus\n")
		return nil
	}
	s.explain("The samples are applied again, so that you can explore them.")
	s.kubectl("apply", "-k", "config/samples")
	if s.err != nil {
		return s.err
	}
	fmt.Printf("\nEverything keeps running. To explore, run in another terminal:\n\n"+
		"  export KUBECONFIG=%s PATH=%s:$PATH\n  kubectl get securitybaselines\n  kubectl get baselinereports --all-namespaces\n"+
		"  curl -k -H \"Authorization: Bearer $(kubectl create token prometheus)\" https://%s/metrics | grep ^securitybaseline_\n\nPress Ctrl-C to stop everything.\n",
		local.Kubeconfig(), filepath.Dir(local.Kubectl(ctx).Path), manager.MetricsAddress)
	<-ctx.Done()
	return nil
}

// walkThrough runs all steps.
func walkThrough(s *script) {
	createNamespaces(s)
	before := s.snapshot()
	auditBaselines(s, before)
	enforceBaselines(s)
	revertDrift(s)
	rejectObjects(s)
	removeBaselines(s, before)
}

// createNamespaces creates namespaces that no baseline governs yet.
func createNamespaces(s *script) {
	s.explain("The cluster has two namespaces. payments is a production namespace. website runs a privileged agent.")
	s.kubectl("create", "namespace", "payments")
	s.kubectl("label", "namespace", "payments", "env=production", "team=payments")
	s.kubectl("create", "namespace", "website")
	s.kubectl("create", "rolebinding", "auditors", "--clusterrole=view", "--group=auditors", "-n", "payments")
	s.kubectl("apply", "-f", "test/demo/agent.yaml")
	s.expectEventually("2", "get", "deployment", "agent", "-n", "website", "-o", "jsonpath={.status.replicas}")
}

// auditBaselines shows what baselines would change.
func auditBaselines(s *script, before map[string]any) {
	s.explain("What would change? Two SecurityBaselines in Audit mode answer this: one for all namespaces, and a stricter one for production.")
	s.kubectl("apply", "-k", "config/samples-audit")
	s.kubectl("wait", "--for=condition=Ready", "securitybaselines", "--all", "--timeout=60s")
	s.kubectl("get", "securitybaselines")
	s.expect("starter      Audit   3            0           3         True", "get", "securitybaselines")
	s.kubectl("get", "baselinereport", "security-baseline", "-n", "website", "-o",
		`jsonpath={range .controls[*]}{.baseline} {.name}: {.message}{"\n"}{end}`)
	s.expect("Enforce would create NetworkPolicy/security-baseline-default-deny and 3 more",
		"get", "baselinereport", "security-baseline", "-n", "website", "-o", "jsonpath={.controls[*].message}")
	s.expect("running pods violate baseline:latest: agent-",
		"get", "baselinereport", "security-baseline", "-n", "website", "-o", "jsonpath={.controls[*].message}")
	s.explain("In Audit mode, the operator writes only these reports.")
	s.expectSame(before, s.snapshot())
}

// enforceBaselines shows what the same baselines change.
func enforceBaselines(s *script) {
	s.explain("Now enforce the same baselines.")
	s.kubectl("apply", "-k", "config/samples")
	s.kubectl("wait", "--for=condition=Ready", "securitybaselines", "--all", "--timeout=60s")
	s.kubectl("get", "securitybaselines")
	s.expect("production   Enforce   1            1           0         True", "get", "securitybaselines")

	s.explain("The agent still runs. Until it is deleted, website has only the warn level, so that its pods are not rejected.")
	s.kubectl("get", "baselinereports", "--all-namespaces")
	s.expect("Violating", "get", "baselinereport", "security-baseline", "-n", "website")
	s.kubectl("get", "namespace", "website", "-L", "pod-security.kubernetes.io/enforce", "-L", "pod-security.kubernetes.io/warn")
	s.kubectl("delete", "deployment", "agent", "-n", "website")
	s.expectEventually("baseline", "get", "namespace", "website", "-o", `jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`)

	s.explain("The stricter baseline created these objects in payments. The RoleBinding auditors belongs to the team and is not changed.")
	s.kubectl("get", "networkpolicies,rolebindings", "-n", "payments")
	s.expect("security-baseline-default-deny", "get", "networkpolicies", "-n", "payments")
	s.expect("security-baseline-allow-dns", "get", "networkpolicies", "-n", "payments")
	s.expect("rolebinding.rbac.authorization.k8s.io/auditors", "get", "rolebindings", "-n", "payments", "-o", "name")
	s.kubectl("get", "namespace", "payments", "-L", "pod-security.kubernetes.io/enforce", "-L", "pod-security.kubernetes.io/enforce-version")
	s.expect("restricted   latest", "get", "namespace", "payments",
		"-L", "pod-security.kubernetes.io/enforce", "-L", "pod-security.kubernetes.io/enforce-version")

	s.explain("Pod Security admission, a part of Kubernetes, rejects a privileged pod.")
	s.expectRejected("violates PodSecurity", "run", "miner", "--image=miner", "--privileged", "-n", "payments")
}

// revertDrift shows how the operator reverts and reports a change.
func revertDrift(s *script) {
	s.explain("A user opens payments to all traffic. The operator reverts the change immediately.")
	s.kubectl("patch", "networkpolicy", "security-baseline-default-deny", "-n", "payments", "--type=merge", "-p", `{"spec":{"ingress":[{}]}}`)
	s.expectEventually(`{"podSelector":{},"policyTypes":["Ingress","Egress"]}`,
		"get", "networkpolicy", "security-baseline-default-deny", "-n", "payments", "-o", "jsonpath={.spec}")

	s.explain("The report of the namespace shows what changed and who changed it.")
	s.expectEventually("spec.ingress", "get", "baselinereport", "security-baseline", "-n", "payments", "-o", "jsonpath-as-json={.drifts}")
	s.expect(`"manager": "kubectl-patch"`, "get", "baselinereport", "security-baseline", "-n", "payments", "-o", "jsonpath-as-json={.drifts}")
	s.explain("Events show the same.")
	s.expectEventually("kubectl-patch", "get", "events", "--field-selector=reason=Drift,involvedObject.name=payments", "-o", `jsonpath={.items[*].note}{.items[*].message}`)

	s.explain("Metrics count the drifts. Reading them needs permission. config/prometheus has alerts, config/grafana a dashboard.")
	s.kubectl("create", "serviceaccount", "prometheus")
	s.kubectl("create", "clusterrolebinding", "prometheus", "--clusterrole=securitybaseline-metrics-reader", "--serviceaccount=default:prometheus")
	s.scrape("prometheus", "securitybaseline_drifts")
}

// rejectObjects shows what the API server rejects.
func rejectObjects(s *script) {
	s.explain("A new namespace is hardened like the others.")
	s.kubectl("create", "namespace", "checkout")
	s.kubectl("wait", "--for=create", "networkpolicy/security-baseline-default-deny", "-n", "checkout", "--timeout=30s")
	s.expectRejected("violates PodSecurity", "run", "miner", "--image=miner", "--privileged", "-n", "checkout")
	s.expectEventually("starter      Enforce   3            3", "get", "securitybaselines")

	s.explain("A baseline can also restrict images, pod settings and cluster-admin. The API server rejects what the baseline does not allow.")
	s.kubectl("apply", "-f", "test/demo/rules.yaml")
	s.kubectl("wait", "--for=condition=Ready", "securitybaseline", "rules", "--timeout=60s")
	const dryRun = "--dry-run=server"
	s.expectEventuallyRejected("does not come from an allowed registry", "create", "deployment", "web", "--image=registry.example.com.evil.io/web", "-n", "payments", dryRun)
	s.expectEventuallyRejected("lacks a cpu request, a memory request, a memory limit", "create", "deployment", "web", "--image=registry.example.com/web", "-n", "payments", dryRun)
	s.expectEventuallyRejected("User mallory is not among those who may be bound to it",
		"create", "clusterrolebinding", "mallory", "--clusterrole=cluster-admin", "--user=mallory", dryRun)

	s.explain("The API server rejects an invalid baseline.")
	s.expectRejected("bind admin, edit, view or a ClusterRole of your own", "patch", "securitybaseline", "production", "--type=json", "-p",
		`[{"op":"replace","path":"/spec/rbac/roleBindings/0/roleRef/name","value":"cluster-admin"}]`)
}

// removeBaselines shows that nothing of the baselines remains.
func removeBaselines(s *script, before map[string]any) {
	s.explain("When you delete a baseline, its objects stay, unless it has deletionPolicy: Remove.")
	s.kubectl("patch", "securitybaseline", "production", "starter", "--type=merge", "-p", `{"spec":{"deletionPolicy":"Remove"}}`)
	s.kubectl("wait", "--for=jsonpath={.metadata.finalizers}", "securitybaselines", "--all", "--timeout=30s")
	s.kubectl("delete", "securitybaseline", "production", "starter", "rules", "--timeout=60s")
	s.kubectl("delete", "namespace", "checkout", "--timeout=60s")
	s.explain("Everything else is unchanged.")
	s.kubectl("get", "networkpolicies,rolebindings,baselinereports", "--all-namespaces")
	s.expectSame(before, s.snapshot())
}
