package controls

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// DefaultServiceAccount is the ServiceAccount of pods that do not name one. Kubernetes
// creates it in every namespace.
const DefaultServiceAccount = "default"

// serviceAccounts configures whether pods that use the ServiceAccount default get
// its token without requesting it.
// https://kubernetes.io/docs/concepts/security/service-accounts/
var serviceAccounts = Control{
	Name:       v1alpha1.ControlServiceAccounts,
	Section:    "serviceAccounts",
	IsDeclared: func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.ServiceAccounts != nil },
	Manages:    []*Kind{serviceAccountKind},
	render: func(baseline *v1alpha1.SecurityBaseline, _ Namespace) Desired {
		return Desired{Objects: []Object{&corev1.ServiceAccount{
			ObjectMeta:                   metav1.ObjectMeta{Name: DefaultServiceAccount},
			AutomountServiceAccountToken: baseline.Spec.ServiceAccounts.AutomountDefaultToken,
		}}}
	},
}

// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch;patch

// serviceAccountKind is created by Kubernetes in every namespace.
var serviceAccountKind = &Kind{
	Object: &corev1.ServiceAccount{},
	List:   &corev1.ServiceAccountList{},
	ManagedFields: func(object Object) []Field {
		return []Field{{Path: fieldpath.MakePathOrDie("automountServiceAccountToken"), Value: object.(*corev1.ServiceAccount).AutomountServiceAccountToken}}
	},
	SharedName: DefaultServiceAccount,
}
