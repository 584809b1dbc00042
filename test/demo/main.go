// Shows the operator at work on a real API server, step by step, and fails the
// moment that something is not as it says. With KEEP=1 it leaves everything
// running until it is interrupted.
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
	fmt.Println("Installing config/default, as make deploy does ...")
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
	fmt.Printf("\nAll of this was real, and took %s.\n", time.Since(start).Round(time.Second))
	if os.Getenv("KEEP") == "" {
		fmt.Print("\nWhere to look at it on a cluster of yours (here: make demo KEEP=1):\n\n" +
			"  reports    kubectl get securitybaselines; kubectl get baselinereports --all-namespaces\n" +
			"  metrics    https://securitybaseline-metrics.securitybaseline-system.svc:8443/metrics, docs/metrics.md\n" +
			"  dashboard  config/grafana, alerts config/prometheus\n")
		return nil
	}
	s.explain("Applied again, for you to explore.")
	s.kubectl("apply", "-k", "config/samples")
	if s.err != nil {
		return s.err
	}
	fmt.Printf("\nEverything is left running. To explore, in another terminal:\n\n"+
		"  export KUBECONFIG=%s PATH=%s:$PATH\n  kubectl get securitybaselines\n  kubectl get baselinereports --all-namespaces\n"+
		"  curl -k -H \"Authorization: Bearer $(kubectl create token prometheus)\" https://%s/metrics | grep ^securitybaseline_\n\nCtrl-C stops everything.\n",
		local.Kubeconfig(), filepath.Dir(local.Kubectl(ctx).Path), manager.MetricsAddress)
	<-ctx.Done()
	return nil
}

func walkThrough(s *script) {
	s.explain("A cluster with two namespaces. Payments is production; website runs an agent that may do anything to its node.")
	s.kubectl("create", "namespace", "payments")
	s.kubectl("label", "namespace", "payments", "env=production", "team=payments")
	s.kubectl("create", "namespace", "website")
	s.kubectl("create", "rolebinding", "auditors", "--clusterrole=view", "--group=auditors", "-n", "payments")
	s.kubectl("apply", "-f", "test/demo/agent.yaml")
	s.expectEventually("2", "get", "deployment", "agent", "-n", "website", "-o", "jsonpath={.status.replicas}")
	before := s.snapshot()

	s.explain("First, what would change? Two SecurityBaselines in Audit mode: one for every namespace, a stricter one for production.")
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
	s.explain("Nothing was written but these reports.")
	s.expectSame(before, s.snapshot())

	s.explain("That is what we want. Now for real.")
	s.kubectl("apply", "-k", "config/samples")
	s.kubectl("wait", "--for=condition=Ready", "securitybaselines", "--all", "--timeout=60s")
	s.kubectl("get", "securitybaselines")
	s.expect("production   Enforce   1            1           0         True", "get", "securitybaselines")

	s.explain("The agent still runs: until it is gone, website is warned, and nothing there is refused its next pod.")
	s.kubectl("get", "baselinereports", "--all-namespaces")
	s.expect("Violating", "get", "baselinereport", "security-baseline", "-n", "website")
	s.kubectl("get", "namespace", "website", "-L", "pod-security.kubernetes.io/enforce", "-L", "pod-security.kubernetes.io/warn")
	s.kubectl("delete", "deployment", "agent", "-n", "website")
	s.expectEventually("baseline", "get", "namespace", "website", "-o", `jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`)

	s.explain("What the stricter one gave payments. The binding auditors is the team's own, and stays.")
	s.kubectl("get", "networkpolicies,rolebindings", "-n", "payments")
	s.expect("security-baseline-default-deny", "get", "networkpolicies", "-n", "payments")
	s.expect("security-baseline-allow-dns", "get", "networkpolicies", "-n", "payments")
	s.expect("rolebinding.rbac.authorization.k8s.io/auditors", "get", "rolebindings", "-n", "payments", "-o", "name")
	s.kubectl("get", "namespace", "payments", "-L", "pod-security.kubernetes.io/enforce", "-L", "pod-security.kubernetes.io/enforce-version")
	s.expect("restricted   latest", "get", "namespace", "payments",
		"-L", "pod-security.kubernetes.io/enforce", "-L", "pod-security.kubernetes.io/enforce-version")

	s.explain("A privileged pod is refused by Kubernetes' own Pod Security admission.")
	s.expectRejected("violates PodSecurity", "run", "miner", "--image=miner", "--privileged", "-n", "payments")

	s.explain("Someone in a hurry opens payments to everybody. It is closed again at once.")
	s.kubectl("patch", "networkpolicy", "security-baseline-default-deny", "-n", "payments", "--type=merge", "-p", `{"spec":{"ingress":[{}]}}`)
	s.expectEventually(`{"podSelector":{},"policyTypes":["Ingress","Egress"]}`,
		"get", "networkpolicy", "security-baseline-default-deny", "-n", "payments", "-o", "jsonpath={.spec}")

	s.explain("The namespace's report says what happened, and by whose hand.")
	s.expectEventually("spec.ingress", "get", "baselinereport", "security-baseline", "-n", "payments", "-o", "jsonpath-as-json={.drifts}")
	s.expect(`"manager": "kubectl-patch"`, "get", "baselinereport", "security-baseline", "-n", "payments", "-o", "jsonpath-as-json={.drifts}")
	s.explain("So do events.")
	s.expectEventually("kubectl-patch", "get", "events", "--field-selector=reason=Drift,involvedObject.name=payments", "-o", `jsonpath={.items[*].note}{.items[*].message}`)

	s.explain("And metrics, for whoever may read them. Alerts and a dashboard for them are in config/prometheus and config/grafana.")
	s.kubectl("create", "serviceaccount", "prometheus")
	s.kubectl("create", "clusterrolebinding", "prometheus", "--clusterrole=securitybaseline-metrics-reader", "--serviceaccount=default:prometheus")
	s.scrape("prometheus", "securitybaseline_drifts")

	s.explain("A namespace that is made later is hardened like the others.")
	s.kubectl("create", "namespace", "checkout")
	s.kubectl("wait", "--for=create", "networkpolicy/security-baseline-default-deny", "-n", "checkout", "--timeout=30s")
	s.expectRejected("violates PodSecurity", "run", "miner", "--image=miner", "--privileged", "-n", "checkout")
	s.expectEventually("starter      Enforce   3            3", "get", "securitybaselines")

	s.explain("Which images may run, what pods must state, who may be cluster-admin: the API server itself refuses the rest.")
	s.kubectl("apply", "-f", "test/demo/rules.yaml")
	s.kubectl("wait", "--for=condition=Ready", "securitybaseline", "rules", "--timeout=60s")
	const dryRun = "--dry-run=server"
	s.expectEventuallyRejected("does not come from an allowed registry", "create", "deployment", "web", "--image=registry.example.com.evil.io/web", "-n", "payments", dryRun)
	s.expectEventuallyRejected("lacks a cpu request, a memory request, a memory limit", "create", "deployment", "web", "--image=registry.example.com/web", "-n", "payments", dryRun)
	s.expectEventuallyRejected("User mallory is not among those who may be bound to it", "create", "clusterrolebinding", "mallory", "--clusterrole=cluster-admin", "--user=mallory", dryRun)

	s.explain("A mistake is refused before it does harm.")
	s.expectRejected("bind admin, edit, view or a ClusterRole of your own", "patch", "securitybaseline", "production", "--type=json", "-p",
		`[{"op":"replace","path":"/spec/rbac/roleBindings/0/roleRef/name","value":"cluster-admin"}]`)

	s.explain("Deleting a baseline keeps what it gave, unless it says deletionPolicy: Remove.")
	s.kubectl("patch", "securitybaseline", "production", "starter", "--type=merge", "-p", `{"spec":{"deletionPolicy":"Remove"}}`)
	s.kubectl("wait", "--for=jsonpath={.metadata.finalizers}", "securitybaselines", "--all", "--timeout=30s")
	s.kubectl("delete", "securitybaseline", "production", "starter", "rules", "--timeout=60s")
	s.kubectl("delete", "namespace", "checkout", "--timeout=60s")
	s.explain("Everything else is as it was.")
	s.kubectl("get", "networkpolicies,rolebindings,baselinereports", "--all-namespaces")
	s.expectSame(before, s.snapshot())
}
