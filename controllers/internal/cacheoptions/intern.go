package cacheoptions

import (
	"encoding/json"
	"fmt"
	"sync"
	"unique"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// What a baseline asks for is the same in every namespace, and so is most of what the
// cache holds. It holds one copy: what comes from the API server is exchanged for an
// equal value that is there already. Nobody changes what is in the cache, and whoever
// reads it to change it gets a copy. What was measured is in docs/design/scale.md.

// maxShared is how many different values of one type are known. Beyond, what is in the
// cache stays as it is, and sharing begins anew.
const maxShared = 4096

// pool holds values of one type.
type pool[T any] struct {
	mutex  sync.Mutex
	values map[string]T
}

// share returns a value that is equal, and shared.
func (p *pool[T]) share(value T) T {
	data, err := json.Marshal(value)
	if err != nil {
		return value // Kubernetes' own types marshal
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if shared, ok := p.values[string(data)]; ok {
		return shared
	}
	if p.values == nil || len(p.values) >= maxShared {
		p.values = map[string]T{}
	}
	p.values[string(data)] = value
	return value
}

// Sharing is the transformation of what the cache holds.
type Sharing struct {
	labels   pool[map[string]string]
	policies pool[networkingv1.NetworkPolicySpec]
	subjects pool[[]rbacv1.Subject]
	limits   pool[corev1.LimitRangeSpec]
	quotas   pool[corev1.ResourceQuotaSpec]
	observed pool[[]v1alpha1.ObservedBaseline]
}

// Transform drops managedFields and what the operator does not look at, and shares
// the rest.
func (s *Sharing) Transform(given any) (any, error) {
	object, ok := given.(client.Object)
	if !ok {
		if _, deleted := given.(cache.DeletedFinalStateUnknown); deleted {
			return given, nil
		}
		return nil, fmt.Errorf("cannot keep a %T", given)
	}
	object.SetManagedFields(nil)
	object.SetName(text(object.GetName()))
	object.SetNamespace(text(object.GetNamespace()))
	if labels := object.GetLabels(); len(labels) > 0 {
		object.SetLabels(s.labels.share(labels))
	}
	switch object := object.(type) {
	case *networkingv1.NetworkPolicy:
		object.Spec = s.policies.share(object.Spec)
	case *rbacv1.RoleBinding:
		object.Subjects = s.subjects.share(object.Subjects)
		object.RoleRef = rbacv1.RoleRef{APIGroup: text(object.RoleRef.APIGroup), Kind: text(object.RoleRef.Kind), Name: text(object.RoleRef.Name)}
	case *corev1.LimitRange:
		object.Spec = s.limits.share(object.Spec)
	case *corev1.ResourceQuota:
		object.Spec, object.Status = s.quotas.share(object.Spec), corev1.ResourceQuotaStatus{}
	case *v1alpha1.BaselineReport:
		s.shareReport(&object.BaselineReportData)
	}
	return object, nil
}

func (s *Sharing) shareReport(report *v1alpha1.BaselineReportData) {
	report.State, report.ObservedBaselines = text(report.State), s.observed.share(report.ObservedBaselines)
	report.Summary.Baselines, report.Summary.Controls = text(report.Summary.Baselines), text(report.Summary.Controls)
	for i := range report.Controls {
		control := &report.Controls[i]
		control.Name, control.Baseline, control.Mode, control.State = text(control.Name), text(control.Baseline), text(control.Mode), text(control.State)
		for j := range control.Inventory {
			control.Inventory[j].Object = text(control.Inventory[j].Object)
		}
		if pods := control.PodSecurity; pods != nil {
			pods.Level, pods.Enforced = text(pods.Level), text(pods.Enforced)
		}
	}
}

// text returns the one copy of a text.
func text[T ~string](value T) T { return unique.Make(value).Value() }
