package enforcement

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement/ownership"
)

// ListManaged returns, by the name of the namespace, the controls of which there is
// something that a baseline applied and that Enforce would remove. It leaves out what is
// being deleted already.
func ListManaged(ctx context.Context, reader client.Reader, baseline string) (map[string]sets.Set[v1alpha1.ControlName], error) {
	namespaces := map[string]sets.Set[v1alpha1.ControlName]{}
	add := func(namespace string, control v1alpha1.ControlName) {
		if namespaces[namespace] == nil {
			namespaces[namespace] = sets.New[v1alpha1.ControlName]()
		}
		namespaces[namespace].Insert(control)
	}
	for i := range controls.All {
		control := &controls.All[i]
		ofControl := client.MatchingLabels{v1alpha1.BaselineLabel: baseline, v1alpha1.ControlLabel: string(control.Name)}
		for _, kind := range controls.ManagedKinds() {
			err := eachOf(ctx, reader, kind.NewList(), ofControl, func(object client.Object) {
				if hasControlLabel(object, control.Name) {
					add(object.GetNamespace(), control.Name)
				}
			})
			if err != nil {
				return nil, fmt.Errorf("listing what baseline %s applied: %w", baseline, err)
			}
		}
		if len(control.NamespaceLabels) == 0 {
			continue
		}
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
		err := eachOf(ctx, reader, list, client.MatchingLabels{control.NamespaceLabels[0]: baseline}, func(namespace client.Object) {
			if ownership.OwnedLabels(namespace).HasAny(control.NamespaceLabels...) {
				add(namespace.GetName(), control.Name)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("listing the namespaces that baseline %s labeled: %w", baseline, err)
		}
	}
	return namespaces, nil
}

func eachOf(ctx context.Context, reader client.Reader, list client.ObjectList, labels client.MatchingLabels, do func(client.Object)) error {
	if err := reader.List(ctx, list, labels); err != nil {
		return err
	}
	return meta.EachListItem(list, func(item runtime.Object) error {
		do(item.(client.Object))
		return nil
	})
}
