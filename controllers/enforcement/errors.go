package enforcement

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// conflictError says that an object is in the way and what to do about it.
type conflictError struct{ message string }

func (e conflictError) Error() string { return e.message }

// earlyError says that something is to be done a little later.
type earlyError struct{ left time.Duration }

func (e earlyError) Error() string {
	return fmt.Sprintf("was put right less than %s ago", healEvery)
}

// alteredError says that admission changed what was written.
type alteredError struct{ paths []string }

func (e alteredError) Error() string {
	return fmt.Sprintf("was changed on its way in by somebody's admission webhook or policy: %v", e.paths)
}

// bindError says what to do so that the operator may bind a role.
type bindError struct {
	roleRef rbacv1.RoleRef
	refusal error
}

func (e bindError) Error() string {
	resource := strings.ToLower(e.roleRef.Kind) + "s"
	if apierrors.IsNotFound(e.refusal) {
		return fmt.Sprintf("%s %q does not exist; create it, or correct roleRef", e.roleRef.Kind, e.roleRef.Name)
	}
	return fmt.Sprintf("the operator may not bind %s %q. To allow it, create a ClusterRole with the label %s: \"true\" and the rule "+
		"{apiGroups: [%s], resources: [%s], resourceNames: [%s], verbs: [bind]}",
		e.roleRef.Kind, e.roleRef.Name, v1alpha1.AggregateLabel, rbacv1.GroupName, resource, e.roleRef.Name)
}

func (e bindError) Unwrap() error { return e.refusal }

// explained says of a refused RoleBinding what to do about it. Kubernetes lets
// nobody grant what they may neither do nor bind themselves.
// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
func explained(object client.Object, err error) error {
	binding, ok := object.(*rbacv1.RoleBinding)
	if !ok {
		return err
	}
	escalates := apierrors.IsForbidden(err) && strings.Contains(err.Error(), "attempting to grant RBAC permissions not currently held")
	// The API server looks the role up to see what it would grant; where it is
	// missing, the error bears the role's name.
	roleMissing := apierrors.IsNotFound(err) && details(err).Name == binding.RoleRef.Name
	if escalates || roleMissing {
		return bindError{binding.RoleRef, err}
	}
	return err
}

// Vanishing says whether a write failed because its namespace is going or gone:
// nothing is left to be done there.
func Vanishing(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) ||
		apierrors.IsNotFound(err) && details(err).Kind == "namespaces"
}

// refused says whether the API server, or admission, said no and would say so
// again.
func refused(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || outdated(err) {
		return false
	}
	code := status.Status().Code
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError &&
		code != http.StatusRequestTimeout && code != http.StatusTooManyRequests && !apierrors.IsAlreadyExists(err)
}

// outdated says whether a write failed because the object is not as it was read.
// The API server says of which object; an admission webhook that answers with
// the same code does not.
func outdated(err error) bool {
	var bind bindError
	return (apierrors.IsConflict(err) || apierrors.IsNotFound(err)) && details(err).Name != "" && !errors.As(err, &bind)
}

// details are what an error says it is about.
func details(err error) metav1.StatusDetails {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return metav1.StatusDetails{}
	}
	return *status.Status().Details
}
