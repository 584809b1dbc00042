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

// given is what the operator writes for one namespace: what the floor is measured
// with.
type namespaceObjects struct {
	labels   map[string]string
	policies []networkingv1.NetworkPolicy
	bindings []rbacv1.RoleBinding
	report   v1alpha1.BaselineReport
}

func (g *namespaceObjects) count() int { return 2 + len(g.policies) + len(g.bindings) }

// floor is how fast a client without any limit writes the same, on a control plane of
// its own.
type floor struct {
	namespaces int
	objects    namespaceObjects
	// all is how long everything takes, one how long one object a namespace does, and
	// both how long that and the ledger of it do. burdened is how long everything takes
	// with what the operator asks besides.
	everything, onePolicy, policyAndReport, withRequests time.Duration
}

func (f *floor) figures() []figure {
	return []figure{
		{Name: "floor_seconds", Description: fmt.Sprintf("floor: %d writes for each of %d namespaces, by 32 writers", f.objects.count(), f.namespaces), Value: f.everything.Seconds(), Unit: "s"},
		{Name: "floor_one_seconds", Description: "floor: one policy for each", Value: f.onePolicy.Seconds(), Unit: "s"},
		{
			Name: "floor_burdened_seconds", Value: f.withRequests.Seconds(), Unit: "s",
			Description: "floor: everything, the labels as a dry run before, and watches of what is written",
		},
		{Name: "floor_both_seconds", Description: "floor: one policy for each and an update of its report", Value: f.policyAndReport.Seconds(), Unit: "s"},
	}
}

// measureFloor has the operator harden one namespace, and then a plain client write
// the same into n others with the operator stopped.
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
		return nil, fmt.Errorf("learning what the operator writes: %w", err)
	}
	if err := c.createNamespaces(ctx, 0, n, "floor"); err != nil {
		return nil, fmt.Errorf("making namespaces: %w", err)
	}
	start := time.Now()
	if err := parallel(ctx, n, func(ctx context.Context, i int) error { return f.objects.create(ctx, c, namespaceName(i)) }); err != nil {
		return nil, err
	}
	f.everything = time.Since(start)
	if f.withRequests, err = f.measureWithRequests(ctx, c); err != nil {
		return nil, fmt.Errorf("writing what the operator does, as it does: %w", err)
	}
	start = time.Now()
	one := func(ctx context.Context, i int, name string) error {
		policy := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: f.objects.policies[0].Spec}
		_, err := c.core.NetworkingV1().NetworkPolicies(namespaceName(i)).Create(ctx, &policy, metav1.CreateOptions{})
		return err
	}
	err = parallel(ctx, n, func(ctx context.Context, i int) error { return one(ctx, i, "one") })
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
		placed := &report.Controls[len(report.Controls)-1].Inventory
		*placed = append(*placed, v1alpha1.InventoryEntry{Object: "NetworkPolicy/another", UID: report.UID, Revision: "0000000000000000"})
		return errors.Join(one(ctx, i, "another"), c.custom.Update(ctx, report))
	})
	f.policyAndReport = time.Since(start)
	return f, err
}

// measureBurdened has the client write into n more namespaces what it wrote into the
// first, and ask and watch what the operator asks and watches besides.
func (f *floor) measureWithRequests(ctx context.Context, c *clients) (time.Duration, error) {
	n := f.namespaces
	if err := c.createNamespaces(ctx, n, 2*n, "burdened"); err != nil {
		return 0, fmt.Errorf("making namespaces: %w", err)
	}
	_, stop, err := c.countChanges(ctx)
	if err != nil {
		return 0, err
	}
	defer stop()
	question, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{podsecurityapi.EnforceLevelLabel: "restricted"}}})
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = parallel(ctx, n, func(ctx context.Context, i int) error {
		name := namespaceName(n + i)
		_, err := c.core.CoreV1().Namespaces().Patch(ctx, name, types.MergePatchType, question, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return errors.Join(err, f.objects.create(ctx, c, name))
	})
	return time.Since(start), err
}

// pilot returns what the operator writes into a namespace.
func recordObjects(ctx context.Context, local *cluster.Cluster, c *clients) (namespaceObjects, error) {
	stop, err := local.StartOperator(ctx, cluster.OperatorOptions{})
	if err != nil {
		return namespaceObjects{}, err
	}
	const namespace = "pilot"
	meta := metav1.ObjectMeta{Name: namespace, Labels: map[string]string{stageLabel: governedStage}}
	_, err = c.core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: meta}, metav1.CreateOptions{})
	baseline, unread := starterBaseline()
	if err := errors.Join(err, unread); err != nil {
		return namespaceObjects{}, errors.Join(err, stop())
	}
	err = errors.Join(c.custom.Create(ctx, baseline), c.waitUntilReady(ctx, baseline.Name, 1, 1))
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
	bindings, err := c.core.RbacV1().RoleBindings(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return g, err
	}
	g.policies, g.bindings = policies.Items, bindings.Items
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

// write writes it into a namespace, as the operator does.
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
