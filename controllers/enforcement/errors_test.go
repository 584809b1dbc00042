package enforcement

import (
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/kube"
)

func viewBinding() *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "view", Labels: map[string]string{v1alpha1.BaselineLabel: "a"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "u"}},
	}
}

func TestErrors_Classification(t *testing.T) {
	policies := schema.GroupResource{Group: "networking.k8s.io", Resource: "networkpolicies"}
	bindings := schema.GroupResource{Group: rbacv1.GroupName, Resource: "rolebindings"}
	terminating := apierrors.NewForbidden(policies, "p", errors.New("the namespace is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	escalation := apierrors.NewForbidden(bindings, "b", errors.New("user is attempting to grant RBAC permissions not currently held"))
	for _, test := range []struct {
		name                      string
		err                       error
		isTerminating, isRejected bool
	}{
		{"terminating namespace", terminating, true, true},
		{"deleted namespace", apierrors.NewNotFound(corev1.Resource("namespaces"), "n"), true, false},
		{"deleted object is retried", apierrors.NewNotFound(policies, "p"), false, false},
		{"missing permission", apierrors.NewForbidden(policies, "p", errors.New("no")), false, true},
		{"invalid object", apierrors.NewInvalid(schema.GroupKind{}, "p", nil), false, true},
		{"role that the operator may not bind", withBindHint(viewBinding(), escalation), false, true},
		{"missing role", withBindHint(viewBinding(), apierrors.NewNotFound(bindings, "view")), false, true},
		{"deleted binding is retried", withBindHint(viewBinding(), apierrors.NewNotFound(bindings, "other")), false, false},
		{"stale resourceVersion is retried", apierrors.NewConflict(policies, "p", errors.New("changed")), false, false},
		{"webhook that rejects with a conflict", &apierrors.StatusError{ErrStatus: metav1.Status{Code: 409, Reason: "Conflict", Message: "denied"}}, false, true},
		{"webhook that rejects with another code", &apierrors.StatusError{ErrStatus: metav1.Status{Code: 406, Message: "denied"}}, false, true},
		{"too many requests are retried", apierrors.NewTooManyRequests("later", 1), false, false},
		{"unavailable API server is retried", apierrors.NewServiceUnavailable("tired"), false, false},
		{"missing answer is retried", fmt.Errorf("connection refused"), false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := kube.IsNamespaceTerminating(test.err); got != test.isTerminating {
				t.Errorf("IsNamespaceTerminating: got %t, want %t", got, test.isTerminating)
			}
			if got := isRejected(test.err); got != test.isRejected {
				t.Errorf("isRejected: got %t, want %t", got, test.isRejected)
			}
		})
	}
}
