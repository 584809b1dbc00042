package enforcement

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/kube"
	"github.com/securitybaseline/operator/controllers/internal/ratelimit"
)

// conflictError says that an object is in the way and what to do about it.
type conflictError struct{ message string }

func (e conflictError) Error() string { return e.message }

// rateLimitedError says that a repair must wait.
type rateLimitedError struct{ remaining time.Duration }

func (e rateLimitedError) Error() string {
	return fmt.Sprintf("was reverted less than %s ago", ratelimit.RepairInterval)
}

// mutatedError says that admission mutated what was written.
type mutatedError struct{ paths []string }

func (e mutatedError) Error() string {
	return fmt.Sprintf("was modified by a mutating admission webhook or policy: %v", e.paths)
}

// bindError says how to let the operator bind a role.
type bindError struct {
	roleRef rbacv1.RoleRef
	err     error
}

func (e bindError) Error() string {
	if apierrors.IsNotFound(e.err) {
		return fmt.Sprintf("%s %q does not exist; create it, or correct roleRef", e.roleRef.Kind, e.roleRef.Name)
	}
	resource := strings.ToLower(e.roleRef.Kind) + "s"
	return fmt.Sprintf("the operator may not bind %s %q. To allow it, create a ClusterRole with the label %s: \"true\" and the rule "+
		"{apiGroups: [%s], resources: [%s], resourceNames: [%s], verbs: [bind]}",
		e.roleRef.Kind, e.roleRef.Name, v1alpha1.AggregateLabel, rbacv1.GroupName, resource, e.roleRef.Name)
}

func (e bindError) Unwrap() error { return e.err }

// withBindHint adds what to do to an error about a RoleBinding that the operator may not
// write. Kubernetes lets a user grant only permissions that the user has or may bind.
// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
func withBindHint(object client.Object, err error) error {
	binding, ok := object.(*rbacv1.RoleBinding)
	if !ok {
		return err
	}
	isEscalation := apierrors.IsForbidden(err) && strings.Contains(err.Error(), "attempting to grant RBAC permissions not currently held")
	// The API server looks up the role to see what it would grant; where the role is
	// missing, the error has its name.
	isRoleMissing := apierrors.IsNotFound(err) && kube.Details(err).Name == binding.RoleRef.Name
	if isEscalation || isRoleMissing {
		return bindError{roleRef: binding.RoleRef, err: err}
	}
	return err
}

// isRejected reports whether the API server, or admission, rejected a write and would reject
// it again.
func isRejected(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || isConflict(err) {
		return false
	}
	code := status.Status().Code
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError &&
		code != http.StatusRequestTimeout && code != http.StatusTooManyRequests && !apierrors.IsAlreadyExists(err)
}

// isConflict reports whether a write failed because the object is not as it was read. The
// API server names the object; an admission webhook that answers with the same code does
// not.
func isConflict(err error) bool {
	return (apierrors.IsConflict(err) || apierrors.IsNotFound(err)) && kube.Details(err).Name != "" && !errors.As(err, new(bindError))
}
