package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers"
	"github.com/securitybaseline/operator/test/cluster"
)

const (
	// workers is the number of goroutines that write at the same time.
	workers = 32
	// stageLabel is the label by which the baselines select namespaces.
	stageLabel    = "scale.example.com/stage"
	governedStage = "governed"
)

// clients have no rate limits.
type clients struct {
	// core uses protobuf.
	core *kubernetes.Clientset
	// custom uses JSON, the only encoding for custom resources.
	custom client.WithWatch
}

func newClients(local *cluster.Cluster) (*clients, error) {
	config := rest.CopyConfig(local.Admin)
	config.QPS = -1
	custom, err := client.NewWithWatch(config, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("creating a client: %w", err)
	}
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("creating a client: %w", err)
	}
	return &clients{core: core, custom: custom}, nil
}

// parallel calls do for each of 0 to n-1, with all workers, until a call fails.
func parallel(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return ctx.Err()
}

func namespaceName(i int) string { return fmt.Sprintf("scale-%05d", i) }

// createNamespaces creates the namespaces from number from to before number to. It waits
// until the controllers of Kubernetes have created their objects in all of them.
func (c *clients) createNamespaces(ctx context.Context, from, to int, stage string) error {
	err := parallel(ctx, to-from, func(ctx context.Context, i int) error {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceName(from + i), Labels: map[string]string{stageLabel: stage}}}
		_, err := c.core.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		accounts, err := c.core.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=default"})
		if err != nil {
			return false, err
		}
		roots, err := c.core.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=kube-root-ca.crt"})
		return err == nil && len(accounts.Items) >= to && len(roots.Items) >= to, err
	})
}

// resourceVersion returns the latest resourceVersion of the API server.
func (c *clients) resourceVersion(ctx context.Context) (string, error) {
	list, err := c.core.NetworkingV1().NetworkPolicies("kube-public").List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	return list.ResourceVersion, nil
}

// countChanges counts the changes of objects of the kinds that the operator writes,
// until the returned function is called.
func (c *clients) countChanges(ctx context.Context) (*atomic.Int64, func(), error) {
	version, err := c.resourceVersion(ctx)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var changes atomic.Int64
	for _, list := range []client.ObjectList{
		&networkingv1.NetworkPolicyList{}, &rbacv1.RoleBindingList{}, &corev1.NamespaceList{}, &v1alpha1.BaselineReportList{}, &v1alpha1.SecurityBaselineList{},
	} {
		watched, err := c.custom.Watch(ctx, list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
		if err != nil {
			cancel()
			return nil, nil, err
		}
		go func() {
			for event := range watched.ResultChan() {
				if event.Type != watch.Bookmark && event.Type != watch.Error {
					changes.Add(1)
				}
			}
		}()
	}
	return &changes, cancel, nil
}

// waitForReady waits until the baseline is Ready at the generation and n namespaces
// are compliant.
func (c *clients) waitForReady(ctx context.Context, name string, generation int64, n int) error {
	watched, err := c.custom.Watch(ctx, &v1alpha1.SecurityBaselineList{})
	if err != nil {
		return fmt.Errorf("watching the baseline: %w", err)
	}
	defer watched.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, open := <-watched.ResultChan():
			if !open {
				return c.waitForReady(ctx, name, generation, n)
			}
			baseline, ok := event.Object.(*v1alpha1.SecurityBaseline)
			if ok && baseline.Name == name && baseline.Status.ObservedGeneration >= generation && int(baseline.Status.Namespaces.Compliant) == n && isReady(baseline) {
				return nil
			}
		}
	}
}

func isReady(baseline *v1alpha1.SecurityBaseline) bool {
	for _, condition := range baseline.Status.Conditions {
		if condition.Type == v1alpha1.ConditionReady {
			return condition.Status == metav1.ConditionTrue && condition.ObservedGeneration == baseline.Generation
		}
	}
	return false
}
