package enforcement

import (
	"context"
	"fmt"
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement/ownership"
	"github.com/securitybaseline/operator/controllers/enforcement/podsecurity"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/internal/kube"
)

// snapshot is a namespace and what is in it, as it was read once for an evaluation.
type snapshot struct {
	namespace *metav1.PartialObjectMetadata
	// ownedLabels are the keys of the namespace's labels that only the operator owns.
	ownedLabels sets.Set[string]
	// objects are those of the kinds that controls manage or observe, by id.
	objects map[string]client.Object
	// roleRules are the rules of the roles that RoleBindings in the namespace grant.
	roleRules map[rbacv1.RoleRef][]rbacv1.PolicyRule
}

// takeSnapshot reads a namespace from the cache.
func (e *Enforcer) takeSnapshot(ctx context.Context, namespace *metav1.PartialObjectMetadata, tasks []evaluation.Task) (snapshot, error) {
	inventory := inventoryUIDs(tasks)
	current := snapshot{namespace: namespace, ownedLabels: ownership.OwnedLabels(namespace), objects: map[string]client.Object{}}
	for _, kind := range controls.Kinds() {
		list := kind.NewList()
		if err := e.client.List(ctx, list, client.InNamespace(namespace.Name)); err != nil {
			return snapshot{}, fmt.Errorf("listing the objects of namespace %s: %w", namespace.Name, err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			object := item.(client.Object)
			exists, err := e.isInNamespace(ctx, object, namespace, inventory)
			if exists {
				current.objects[objectID(object)] = object
			}
			return err
		})
		if err != nil {
			return snapshot{}, fmt.Errorf("reading the objects of namespace %s: %w", namespace.Name, err)
		}
	}
	var err error
	current.roleRules, err = e.readRoleRules(ctx, current.objects)
	return current, err
}

// inventoryUIDs returns the UIDs of the objects in the report's inventories.
func inventoryUIDs(tasks []evaluation.Task) sets.Set[types.UID] {
	uids := sets.New[types.UID]()
	for i := range tasks {
		if previous := tasks[i].Previous; previous != nil {
			for j := range previous.Inventory {
				uids.Insert(previous.Inventory[j].UID)
			}
		}
	}
	return uids
}

// isInNamespace reports whether an object of the cache is in this namespace, and not in a
// former one of the same name. If it was created in the same second as the namespace, has
// the operator's label and is not in the inventory yet, the times are inconclusive, and the
// API server decides.
func (e *Enforcer) isInNamespace(ctx context.Context, object, namespace client.Object, inventory sets.Set[types.UID]) (bool, error) {
	created := object.GetCreationTimestamp()
	switch {
	case kube.IsOlderThanNamespace(object, namespace):
		return false, nil
	case !created.Equal(new(namespace.GetCreationTimestamp())), !hasBaselineLabel(object), inventory.Has(object.GetUID()):
		return true, nil
	}
	live, err := e.readLive(ctx, object)
	switch {
	case apierrors.IsForbidden(err):
		// A missing permission fails the controls that expect the object, not all.
		return true, nil
	case err != nil:
		return false, client.IgnoreNotFound(err)
	}
	return live.GetUID() == object.GetUID(), nil
}

// readRoleRules returns the rules of the roles that RoleBindings grant, where such a role
// exists.
func (e *Enforcer) readRoleRules(ctx context.Context, objects map[string]client.Object) (map[rbacv1.RoleRef][]rbacv1.PolicyRule, error) {
	rules := map[rbacv1.RoleRef][]rbacv1.PolicyRule{}
	for _, object := range objects {
		binding, ok := object.(*rbacv1.RoleBinding)
		if !ok {
			continue
		}
		if binding.RoleRef.Kind != "ClusterRole" {
			if role, ok := objects["Role/"+binding.RoleRef.Name].(*rbacv1.Role); ok {
				rules[binding.RoleRef] = role.Rules
			}
			continue
		}
		role := &rbacv1.ClusterRole{}
		err := e.client.Get(ctx, client.ObjectKey{Name: binding.RoleRef.Name}, role, client.UnsafeDisableDeepCopy)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("reading ClusterRole %s: %w", binding.RoleRef.Name, err)
		}
		rules[binding.RoleRef] = role.Rules
	}
	return rules, nil
}

// observe returns what a control sees of the namespace.
func (s *snapshot) observe(task *evaluation.Task) controls.Namespace {
	observed := controls.Namespace{
		Name: s.namespace.Name, Labels: s.namespace.Labels, OwnedLabels: s.ownedLabels, RoleRules: s.roleRules,
	}
	for _, id := range slices.Sorted(maps.Keys(s.objects)) {
		object := s.objects[id]
		observed.HasDefaultDeny = observed.HasDefaultDeny || controls.IsDefaultDeny(task.Baseline, object)
		// The operator manages no object of a kind that is only observed, whatever its labels say.
		if !controls.KindOf(object).IsManaged() || !isManagedBy(object, task) && !controls.IsShared(object) {
			observed.Unmanaged = append(observed.Unmanaged, object)
		}
	}
	return observed
}

// podSecurityInput returns what an evaluation of the running pods depends on.
func (s *snapshot) podSecurityInput(task *evaluation.Task) podsecurity.Input {
	input := podsecurity.Input{
		Namespace: s.namespace, OwnedLabels: s.ownedLabels, Spec: &task.Baseline.Spec, Level: task.Control.EnforcedLevel(&task.Baseline.Spec),
	}
	if task.Previous != nil {
		input.Previous = task.Previous.PodSecurity
	}
	return input
}
