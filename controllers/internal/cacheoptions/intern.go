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
	"github.com/securitybaseline/operator/controllers/controls"
)

// maxPoolSize is how many different values a pool holds. A full pool starts empty again; cached
// objects keep the values that they share.
const maxPoolSize = 4096

// pool holds one copy of each value of a type, by its JSON.
type pool[T any] struct {
	mutex  sync.Mutex
	values map[string]T
}

// intern returns the pooled copy of a value. It pools the value itself if there is no copy.
func (p *pool[T]) intern(value T) T {
	data, err := json.Marshal(value)
	if err != nil {
		return value // does not happen: Kubernetes types marshal
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if pooled, ok := p.values[string(data)]; ok {
		return pooled
	}
	if p.values == nil || len(p.values) >= maxPoolSize {
		p.values = map[string]T{}
	}
	p.values[string(data)] = value
	return value
}

// interner replaces the values of objects that enter the cache by pooled copies. That is safe
// because cached objects are read-only: readers that modify one get a deep copy.
type interner struct {
	labels    pool[map[string]string]
	policies  pool[networkingv1.NetworkPolicySpec]
	subjects  pool[[]rbacv1.Subject]
	limits    pool[corev1.LimitRangeSpec]
	quotas    pool[corev1.ResourceQuotaSpec]
	baselines pool[[]v1alpha1.ObservedBaseline]
}

// transform drops managedFields and what the operator does not read, and interns the rest.
func (i *interner) transform(received any) (any, error) {
	object, ok := received.(client.Object)
	if !ok {
		if _, deleted := received.(cache.DeletedFinalStateUnknown); deleted {
			return received, nil
		}
		return nil, fmt.Errorf("cannot cache a %T", received)
	}
	object.SetManagedFields(nil)
	if kind := controls.KindOf(object); kind != nil && kind.Strip != nil {
		kind.Strip(object)
	}
	object.SetName(internText(object.GetName()))
	object.SetNamespace(internText(object.GetNamespace()))
	if labels := object.GetLabels(); len(labels) > 0 {
		object.SetLabels(i.labels.intern(labels))
	}
	switch object := object.(type) {
	case *networkingv1.NetworkPolicy:
		object.Spec = i.policies.intern(object.Spec)
	case *rbacv1.RoleBinding:
		object.Subjects = i.subjects.intern(object.Subjects)
		object.RoleRef = rbacv1.RoleRef{
			APIGroup: internText(object.RoleRef.APIGroup), Kind: internText(object.RoleRef.Kind), Name: internText(object.RoleRef.Name),
		}
	case *corev1.LimitRange:
		object.Spec = i.limits.intern(object.Spec)
	case *corev1.ResourceQuota:
		object.Spec = i.quotas.intern(object.Spec)
	case *v1alpha1.BaselineReport:
		i.internReport(&object.BaselineReportData)
	}
	return object, nil
}

func (i *interner) internReport(report *v1alpha1.BaselineReportData) {
	report.State = internText(report.State)
	report.ObservedBaselines = i.baselines.intern(report.ObservedBaselines)
	report.Summary.Baselines = internText(report.Summary.Baselines)
	report.Summary.CompliantControls = internText(report.Summary.CompliantControls)
	for c := range report.Controls {
		control := &report.Controls[c]
		control.Name = internText(control.Name)
		control.Baseline = internText(control.Baseline)
		control.Mode = internText(control.Mode)
		control.State = internText(control.State)
		for o := range control.Inventory {
			control.Inventory[o].Object = internText(control.Inventory[o].Object)
		}
		if pods := control.PodSecurity; pods != nil {
			pods.Level = internText(pods.Level)
			pods.Enforced = internText(pods.Enforced)
		}
	}
}

// internText returns the canonical copy of a string.
func internText[T ~string](value T) T { return unique.Make(value).Value() }
