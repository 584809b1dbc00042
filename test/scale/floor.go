package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	podsecurityapi "k8s.io/pod-security-admission/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/cluster"
)

// namespaceObjects are the objects that the operator writes for one namespace. The floor
// is measured with them.
type namespaceObjects struct {
	labels   map[string]string
	policies []networkingv1.NetworkPolicy
	bindings []rbacv1.RoleBinding
	report   v1alpha1.BaselineReport
}

func (g *namespaceObjects) count() int { return 2 + len(g.policies) + len(g.bindings) }

// floor is how fast a client without rate limits writes the same objects, on a separate
// control plane.
type floor struct {
	namespaces int
	objects    namespaceObjects
	// everything is the time to write all objects. onePolicy is the time to write one
	// policy for each namespace, and policyAndReport the time to also update its report.
	// withRequests is the time to write all objects with the other requests of the
	// operator: dry runs and watches.
	everything, onePolicy, policyAndReport, withRequests time.Duration
}

func (f *floor) figures() []figure {
	return []figure{
		{
			Name: "floor_seconds", Description: fmt.Sprintf("floor: %d writes for each of %d namespaces, by 32 writers", f.objects.count(), f.namespaces),
			Value: f.everything.Seconds(), Unit: "s",
		},
		{Name: "floor_one_seconds", Description: "floor: one policy for each namespace", Value: f.onePolicy.Seconds(), Unit: "s"},
		{
			Name: "floor_with_requests_seconds", Value: f.withRequests.Seconds(), Unit: "s",
			Description: "floor: the same writes, with a dry run for each namespace and watches",
		},
		{Name: "floor_two_writes_seconds", Description: "floor: one policy and one report update for each namespace", Value: f.policyAndReport.Seconds(), Unit: "s"},
	}
}

// measureFloor lets the operator harden one namespace and stops it. Then a plain client
// writes the same objects into n other namespaces.
func measureFloor(ctx context.Context, n int) (*floor, error) {
	local, err := cluster.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = local.Stop() }()
	if err := local.Install(ctx); err != nil {
		return nil, err
	}
	c, err := newClients(local)
	if err != nil {
		return nil, err
	}
	f := &floor{namespaces: n}
	if f.objects, err = recordObjects(ctx, local, c); err != nil {
		return nil, fmt.Errorf("recording the objects of the operator: %w", err)
	}
	if err := c.createNamespaces(ctx, 0, n, "floor"); err != nil {
		return nil, fmt.Errorf("creating namespaces: %w", err)
	}
	start := time.Now()
	if err := parallel(ctx, n, func(ctx context.Context, i int) error { return f.objects.create(ctx, c, namespaceName(i)) }); err != nil {
		return nil, err
	}
	f.everything = time.Since(start)
	if f.withRequests, err = f.measureWithRequests(ctx, c); err != nil {
		return nil, fmt.Errorf("writing the objects with the requests of the operator: %w", err)
	}
	start = time.Now()
	createPolicy := func(ctx context.Context, i int, name string) error {
		policy := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: f.objects.policies[0].Spec}
		_, err := c.core.NetworkingV1().NetworkPolicies(namespaceName(i)).Create(ctx, &policy, metav1.CreateOptions{})
		return err
	}
	err = parallel(ctx, n, func(ctx context.Context, i int) error { return createPolicy(ctx, i, "one") })
	f.onePolicy = time.Since(start)
	if err != nil {
		return nil, err
	}
	var reports v1alpha1.BaselineReportList
	if err := c.custom.List(ctx, &reports); err != nil {
		return nil, err
	}
	start = time.Now()
	err = parallel(ctx, n, func(ctx context.Context, i int) error {
		report := &reports.Items[i]
		report.ObservedBaselines[0].Generation++
		inventory := &report.Controls[len(report.Controls)-1].Inventory
		*inventory = append(*inventory, v1alpha1.InventoryEntry{Object: "NetworkPolicy/another", UID: report.UID, Revision: "0000000000000000"})
		return errors.Join(createPolicy(ctx, i, "another"), c.custom.Update(ctx, report))
	})
	f.policyAndReport = time.Since(start)
	return f, err
}

// measureWithRequests writes the same objects into n more namespaces. It also sends the
// dry runs and opens the watches of the operator.
func (f *floor) measureWithRequests(ctx context.Context, c *clients) (time.Duration, error) {
	n := f.namespaces
	if err := c.createNamespaces(ctx, n, 2*n, "with-requests"); err != nil {
		return 0, fmt.Errorf("creating namespaces: %w", err)
	}
	_, stop, err := c.countChanges(ctx)
	if err != nil {
		return 0, err
	}
	defer stop()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{podsecurityapi.EnforceLevelLabel: "restricted"}}})
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = parallel(ctx, n, func(ctx context.Context, i int) error {
		name := namespaceName(n + i)
		_, err := c.core.CoreV1().Namespaces().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return errors.Join(err, f.objects.create(ctx, c, name))
	})
	return time.Since(start), err
}

// recordObjects returns the objects that the operator writes into a namespace.
func recordObjects(ctx context.Context, local *cluster.Cluster, c *clients) (namespaceObjects, error) {
	stop, err := local.StartOperator(ctx, cluster.OperatorOptions{})
	if err != nil {
		return namespaceObjects{}, err
	}
	const namespace = "pilot"
	meta := metav1.ObjectMeta{Name: namespace, Labels: map[string]string{stageLabel: governedStage}}
	_, err = c.core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: meta}, metav1.CreateOptions{})
	baseline, readErr := starterBaseline()
	if err := errors.Join(err, readErr); err != nil {
		return namespaceObjects{}, errors.Join(err, stop())
	}
	err = errors.Join(c.custom.Create(ctx, baseline), c.waitForReady(ctx, baseline.Name, 1, 1))
	if err := errors.Join(err, stop()); err != nil {
		return namespaceObjects{}, err
	}
	var g namespaceObjects
	hardened, err := c.core.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		return g, err
	}
	g.labels = hardened.Labels
	delete(g.labels, stageLabel)
	delete(g.labels, corev1.LabelMetadataName)
	policies, err := c.core.NetworkingV1().NetworkPolicies(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return g, err
	}
	roleBindings, err := c.core.RbacV1().RoleBindings(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return g, err
	}
	g.policies = policies.Items
	g.bindings = roleBindings.Items
	if err := c.custom.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.ReportName}, &g.report); err != nil {
		return g, err
	}
	for i := range g.policies {
		g.policies[i].ObjectMeta = metav1.ObjectMeta{Name: g.policies[i].Name, Labels: g.policies[i].Labels}
	}
	for i := range g.bindings {
		g.bindings[i].ObjectMeta = metav1.ObjectMeta{Name: g.bindings[i].Name, Labels: g.bindings[i].Labels}
	}
	g.report.ObjectMeta = metav1.ObjectMeta{Name: g.report.Name}
	return g, nil
}

// create writes the objects into a namespace, as the operator does.
func (g *namespaceObjects) create(ctx context.Context, c *clients, namespace string) error {
	apply := corev1ac.Namespace(namespace).WithLabels(g.labels)
	if _, err := c.core.CoreV1().Namespaces().Apply(ctx, apply, metav1.ApplyOptions{FieldManager: "floor", Force: true}); err != nil {
		return err
	}
	for i := range g.policies {
		if _, err := c.core.NetworkingV1().NetworkPolicies(namespace).Create(ctx, g.policies[i].DeepCopy(), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	for i := range g.bindings {
		if _, err := c.core.RbacV1().RoleBindings(namespace).Create(ctx, g.bindings[i].DeepCopy(), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	report := g.report.DeepCopy()
	report.Namespace = namespace
	return c.custom.Create(ctx, report)
}
