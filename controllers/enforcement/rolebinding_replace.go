package enforcement

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/controllers/internal/kube"
)

// standInSuffix cannot end the name of a binding that a baseline expects.
const standInSuffix = ":stand-in"

// replaceRoleBinding replaces a binding whose roleRef, which is immutable, must change, and
// returns the UID of the new one. A stand-in with another name bridges the moment without a
// binding of the right name, and proves first that the API server lets the operator bind the
// role. If a step fails, prune removes the stand-in.
func (e *Enforcer) replaceRoleBinding(
	ctx context.Context, current snapshot, p *plan, actual client.Object, expected *rbacv1.RoleBinding,
) (types.UID, error) {
	if finalizers := actual.GetFinalizers(); len(finalizers) > 0 {
		return "", conflictError{message: fmt.Sprintf("grants another role and cannot be replaced while it has the finalizers %v; remove them", finalizers)}
	}
	writer := e.writer(p)
	standIn := expected.DeepCopy()
	standIn.Name += standInSuffix
	if leftover := current.objects[objectID(standIn)]; leftover != nil && hasControlLabel(leftover, p.Control.Name) && !p.IsAudit() {
		// An operator that ended midway left it.
		if err := writer.Delete(ctx, leftover, kube.DeletePreconditions(leftover)); client.IgnoreNotFound(err) != nil {
			return "", err
		}
	}
	if err := writer.Create(ctx, standIn); apierrors.IsAlreadyExists(err) {
		return "", conflictError{message: fmt.Sprintf("grants another role and cannot be replaced while the RoleBinding %s exists; delete that one", standIn.Name)}
	} else if err != nil {
		return "", err
	}
	if p.IsAudit() {
		return "", nil // the other steps depend on it
	}
	if err := writer.Delete(ctx, actual, kube.DeletePreconditions(actual)); client.IgnoreNotFound(err) != nil {
		return "", err
	}
	created := expected.DeepCopy()
	if err := writer.Create(ctx, created); err != nil {
		return "", err
	}
	return created.UID, client.IgnoreNotFound(writer.Delete(ctx, standIn, kube.DeletePreconditions(standIn)))
}
