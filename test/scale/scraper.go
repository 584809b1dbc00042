package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/securitybaseline/operator/test/cluster"
)

// scraper reads the metrics of an operator as a ServiceAccount with permission to do so.
type scraper struct{ token string }

func newScraper(ctx context.Context, c *clients) (*scraper, error) {
	const (
		name      = "scale"
		namespace = "default"
	)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.core.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("creating a ServiceAccount: %w", err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "securitybaseline-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: name, Namespace: namespace}},
	}
	if _, err := c.core.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("granting it permission to read metrics: %w", err)
	}
	token, err := c.core.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("requesting a token: %w", err)
	}
	return &scraper{token: token.Status.Token}, nil
}

// sum returns the sum of the samples of a metric with these labels, in the form
// name="value". It returns 0 if the operator does not respond yet.
func (s *scraper) sum(ctx context.Context, manager *cluster.Manager, metric string, labels ...string) float64 {
	_, body, err := manager.Scrape(ctx, s.token)
	if err != nil {
		return 0
	}
	var sum float64
	for line := range strings.Lines(body) {
		name, value, found := strings.Cut(strings.TrimSpace(line), " ")
		bare, _, _ := strings.Cut(name, "{")
		if !found || bare != metric || !areAllContained(labels, func(label string) bool { return strings.Contains(name, label) }) {
			continue
		}
		if parsed, err := strconv.ParseFloat(value, 64); err == nil {
			sum += parsed
		}
	}
	return sum
}

// areAllContained reports whether contains is true for each label.
func areAllContained(labels []string, contains func(string) bool) bool {
	for _, label := range labels {
		if !contains(label) {
			return false
		}
	}
	return true
}

// waitForLeader waits until the operator holds the lease.
func (s *scraper) waitForLeader(ctx context.Context, manager *cluster.Manager) error {
	return s.poll(ctx, func() bool { return s.sum(ctx, manager, "leader_election_master_status") > 0 })
}

// waitForReconciled waits until the operator has reconciled n namespaces.
func (s *scraper) waitForReconciled(ctx context.Context, manager *cluster.Manager, n int) error {
	return s.poll(ctx, func() bool {
		return s.sum(ctx, manager, "controller_runtime_reconcile_total", `controller="namespace"`) >= float64(n)
	})
}

// waitForEvaluated waits until the operator has found, from the reports, that the
// baseline is evaluated everywhere.
func (s *scraper) waitForEvaluated(ctx context.Context, manager *cluster.Manager, baseline string) error {
	return s.poll(ctx, func() bool {
		return s.sum(ctx, manager, "securitybaseline_last_full_evaluation_timestamp_seconds", `baseline="`+baseline+`"`) > 0
	})
}

// poll checks a condition every 50 ms until it is met.
func (s *scraper) poll(ctx context.Context, isMet func() bool) error {
	return wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) { return isMet(), nil })
}
