package e2e

import (
	"context"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/test/testutil"
)

// recordEvents records the changes of all objects of a kind in a namespace. The
// function that it returns ends that and returns the changes.
func recordEvents(t *testing.T, namespace string, list client.ObjectList) func() []watch.Event {
	t.Helper()
	events, err := env.WatchClient(t).Watch(t.Context(), list, client.InNamespace(namespace))
	testutil.Must(t, err)
	return func() []watch.Event {
		// The change after the last one of interest is that of an object created for this.
		marker := createMarker(t, namespace, list)
		var seen []watch.Event
		for event := range events.ResultChan() {
			seen = append(seen, event)
			if object, ok := event.Object.(client.Object); ok && object.GetName() == marker {
				events.Stop()
				break
			}
		}
		return seen
	}
}

// createMarker creates an object of the kind of a list and returns its name.
func createMarker(t *testing.T, namespace string, list client.ObjectList) string {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "marker"}
	var object client.Object = &networkingv1.NetworkPolicy{ObjectMeta: meta}
	if _, ok := list.(*rbacv1.RoleBindingList); ok {
		object = &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}}
	}
	testutil.Must(t, env.Admin.Create(t.Context(), object))
	return meta.Name
}

// watchPolicies watches the NetworkPolicies of a namespace until the context ends.
func watchPolicies(t *testing.T, ctx context.Context, namespace string) watch.Interface {
	t.Helper()
	events, err := env.WatchClient(t).Watch(ctx, &networkingv1.NetworkPolicyList{}, client.InNamespace(namespace))
	testutil.Must(t, err)
	return events
}

// countReverts returns how often the default-deny policy was closed until a watch
// ended, and how long it was open at the longest. It closes enough after minReverts.
func countReverts(watcher watch.Interface, enough chan<- struct{}) (reverts int, longest time.Duration) {
	var opened time.Time
	for event := range watcher.ResultChan() {
		deny, ok := event.Object.(*networkingv1.NetworkPolicy)
		switch {
		case !ok || deny.Name != "security-baseline-default-deny":
		case isClosed(deny) != nil && opened.IsZero():
			opened = time.Now()
		case isClosed(deny) == nil && !opened.IsZero():
			longest = max(longest, time.Since(opened))
			opened = time.Time{}
			if reverts++; reverts == minReverts {
				close(enough)
			}
		}
	}
	return reverts, longest
}
