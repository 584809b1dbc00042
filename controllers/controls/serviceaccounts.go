package controls

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// DefaultServiceAccount is the ServiceAccount of pods that do not name one. Kubernetes
// creates it in every namespace.
const DefaultServiceAccount = "default"

// serviceAccounts configures whether pods that use the ServiceAccount default get
// its token without requesting it.
// https://kubernetes.io/docs/concepts/security/service-accounts/
var serviceAccounts = Control{
	Name:     v1alpha1.ControlServiceAccounts,
	IsDeclared: func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.ServiceAccounts != nil },
	render: func(baseline *v1alpha1.SecurityBaseline, _ Namespace) Desired {
		return Desired{Objects: []Object{&corev1.ServiceAccount{
			ObjectMeta:                   metav1.ObjectMeta{Name: DefaultServiceAccount},
			AutomountServiceAccountToken: baseline.Spec.ServiceAccounts.AutomountDefaultToken,
		}}}
	},
}
