package enforcement

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// shared says whether an object is Kubernetes' own, of which only some fields are
// the operator's: the ServiceAccount default.
func shared(object client.Object) bool {
	_, ok := object.(*corev1.ServiceAccount)
	return ok && object.GetName() == controls.DefaultServiceAccount
}

// applyFields makes the operator's fields of a shared object as wanted and returns
// its UID, or none where it only would. Where there is no such object there is
// nothing to be held to it: Kubernetes makes one, and it is looked at again then.
func (r *run) applyFields(ctx context.Context, exists bool, want client.Object) (types.UID, error) {
	if !exists {
		return "", nil
	}
	id, revision := r.id(want), controls.Revision(want)
	have, err := r.live(ctx, want)
	if err != nil {
		return "", client.IgnoreNotFound(err)
	}
	differ := differences(have, want)
	if r.audits() {
		differ = besidesOwner(differ)
	}
	if len(differ) == 0 {
		return r.unlessAuditing(have.GetUID()), nil
	}
	by := attribute(have, differ)
	by.operator = r.unfinished(id, revision, differ, by)
	if !r.foreseen(id, v1alpha1.ChangeConfigure, differ) {
		r.writes(id, revision)
		err := r.apply(ctx, have, func(account *corev1ac.ServiceAccountApplyConfiguration) {
			account.WithLabels(want.GetLabels())
			account.AutomountServiceAccountToken = want.(*corev1.ServiceAccount).AutomountServiceAccountToken
		})
		if err != nil {
			return "", r.owning(id, by, err)
		}
	}
	r.happened(id, revision, differ, by, v1alpha1.DriftConfigured)
	return r.unlessAuditing(have.GetUID()), nil
}

// release gives the operator's fields of a shared object up: what nobody else
// states is as if nobody ever had.
func (r *run) release(ctx context.Context, object client.Object) error {
	have, err := r.live(ctx, object)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if wroteIt(have.GetManagedFields()) {
		return r.apply(ctx, have, func(*corev1ac.ServiceAccountApplyConfiguration) {})
	}
	// Somebody cleared the records by which alone fields can be given up: what the
	// labels say is removed instead.
	labels := map[string]any{v1alpha1.BaselineLabel: nil, v1alpha1.ControlLabel: nil}
	patch := mergePatch(have, map[string]any{"labels": labels}, map[string]any{"automountServiceAccountToken": nil})
	return client.IgnoreNotFound(r.writer.Patch(ctx, have, patch))
}

// apply applies exactly what state adds, at the version that was read.
func (r *run) apply(ctx context.Context, have client.Object, state func(*corev1ac.ServiceAccountApplyConfiguration)) error {
	account := corev1ac.ServiceAccount(have.GetName(), have.GetNamespace()).
		WithUID(have.GetUID()).WithResourceVersion(have.GetResourceVersion())
	state(account)
	err := r.writer.Apply(ctx, account, client.ForceOwnership)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
