package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// driftCase is a case of testdata/drifts.yaml.
type driftCase struct {
	Name, Object string
	Delete       bool
	Patch, Apply json.RawMessage
	Want         v1alpha1.Drift
}

// readDrifts returns the cases of testdata/drifts.yaml for a namespace and a baseline.
func readDrifts(t *testing.T, namespace, baseline string) []driftCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "drifts.yaml"))
	testutil.Must(t, err)
	var cases []driftCase
	text := strings.NewReplacer("$NAMESPACE", namespace, "$BASELINE", baseline).Replace(string(data))
	testutil.Must(t, yaml.UnmarshalStrict([]byte(text), &cases))
	return cases
}

// cause changes the object of a case in a namespace.
func (c *driftCase) cause(t *testing.T, namespace string) {
	t.Helper()
	kind, name, _ := strings.Cut(c.Object, "/")
	object := map[string]client.Object{"NetworkPolicy": &networkingv1.NetworkPolicy{}, "RoleBinding": &rbacv1.RoleBinding{}, "Namespace": &corev1.Namespace{}}[kind]
	object.SetName(name)
	if kind != "Namespace" {
		object.SetNamespace(namespace)
	}
	switch ctx := t.Context(); {
	case c.Delete:
		testutil.Must(t, env.Admin.Delete(ctx, object))
	case c.Patch != nil:
		testutil.Must(t, env.Admin.Patch(ctx, object, client.RawPatch(types.MergePatchType, c.Patch)))
	default:
		patch := client.RawPatch(types.ApplyPatchType, c.Apply)
		testutil.Must(t, env.Admin.Patch(ctx, object, patch, client.ForceOwnership, client.FieldOwner("argocd-controller")))
	}
}

func TestDrift_Reverted(t *testing.T) {
	for i, test := range readDrifts(t, "", "") {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			namespace := env.NewNamespace(t, "a", nil).Name
			baseline := env.NewBaseline(t, "all", defaultSpec())
			env.WaitForReport(t, namespace, baseline, v1alpha1.StateCompliant)
			test := readDrifts(t, namespace, baseline.Name)[i]
			test.Want.Object = test.Object
			test.Want.Baseline = baseline.Name
			deleted := ""
			if test.Delete {
				_, deleted, _ = strings.Cut(test.Object, "/")
			}
			requireForeignUnchanged := createForeignObjects(t, namespace, deleted)
			want := managedParts(t, namespace)

			test.cause(t, namespace)

			testutil.WaitFor(t, func(context.Context) error {
				return testutil.CheckEqual("what the operator manages", managedParts(t, namespace), want)
			})
			requireForeignUnchanged()
			waitForRecordedDrift(t, namespace, baseline, test.Want)
		})
	}
}

// waitForRecordedDrift waits until a drift is in the report, in the baseline's status
// and in an event about each of both.
func waitForRecordedDrift(t *testing.T, namespace string, baseline *v1alpha1.SecurityBaseline, want v1alpha1.Drift) {
	t.Helper()
	env.WaitForReport(t, namespace, baseline, v1alpha1.StateCompliant, func(current *v1alpha1.BaselineReport) error {
		for i := range current.Drifts {
			drift := &current.Drifts[i]
			if recorded := drift.ChangeTime != nil && drift.DetectionTime.Sub(drift.ChangeTime.Time).Abs() < testutil.Timeout; recorded != (drift.Manager != "") {
				return fmt.Errorf("manager %q: got changeTime %s and detectionTime %s, want a changeTime near it if the manager is known",
					drift.Manager, drift.ChangeTime, drift.DetectionTime)
			}
			drift.DetectionTime = metav1.Time{}
			drift.ChangeTime = nil
		}
		return testutil.CheckEqual("the report's drifts", current.Drifts, []v1alpha1.Drift{want})
	})
	env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		if status.LastDrift == nil || status.LastDrift.Namespace != namespace || status.LastDrift.Object != want.Object || status.DriftsTotal != 1 {
			return fmt.Errorf("got %d drifts, the last %+v, want 1 of %s in %s", status.DriftsTotal, status.LastDrift, want.Object, namespace)
		}
		return nil
	})
	for _, about := range []string{namespace, baseline.Name} {
		event := env.WaitForEvent(t, about, "Drift")
		testutil.Equal(t, "the event's action", event.Action, string(want.Action))
		if event.Related == nil || event.Related.Kind+"/"+event.Related.Name != want.Object {
			t.Errorf("the event's related object: got %v, want %s", event.Related, want.Object)
		}
		by := "an unknown author"
		if want.Manager != "" {
			by = fmt.Sprintf("%q (%s) at ", want.Manager, want.Operation)
		}
		if !strings.Contains(event.Note, want.Object+" was ") || !strings.Contains(event.Note, "ed by "+by) {
			t.Errorf("the event's note: got %q, want that %s was changed by %s", event.Note, want.Object, by)
		}
	}
}

// TestDriftEvents_EmittedForEachAuthor changes the same field of the same object twice.
func TestDriftEvents_EmittedForEachAuthor(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", denyAllSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	for _, author := range []string{"alice", "bob"} {
		driftAndWait(t, namespace.Name, author)
		for _, about := range []string{namespace.Name, baseline.Name} {
			env.WaitForEvent(t, about, "Drift", func(event eventsv1.Event) bool {
				return event.Series == nil && strings.Contains(event.Note, strconv.Quote(author))
			})
		}
	}
}

// TestDrift_RecordedWhenReportCouldNotBeWrittenAtFirst denies the operator the update of reports
// while it reverts a drift.
func TestDrift_RecordedWhenReportCouldNotBeWrittenAtFirst(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", denyAllSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	allow := denyOperatorWritesAndWait(t, namespace.Name, admissionregistrationv1.Update, "baselinereports")
	testutil.Must(t, env.Admin.Delete(t.Context(), env.WaitForPolicy(t, namespace.Name, "default-deny")))
	env.WaitForPolicy(t, namespace.Name, "default-deny")
	name := map[string]string{"baseline": baseline.Name, "control": string(v1alpha1.ControlNetwork)}
	testutil.WaitFor(t, func(ctx context.Context) error {
		families, err := scrapeMetrics(ctx)
		if seen := findMetric(families, "securitybaseline_drifts_total", name).GetCounter().GetValue(); seen != 1 {
			return errors.Join(err, fmt.Errorf("counted drifts: got %v, want 1", seen))
		}
		return nil
	})
	allow()
	waitForObject(t, namespace.Name, v1alpha1.ReportName, &v1alpha1.BaselineReport{}, testutil.HasDrifts(1), func(current *v1alpha1.BaselineReport) error {
		if len(current.Drifts) != 1 || current.Drifts[0].Operation != "Delete" {
			return fmt.Errorf("drifts: got %+v, want a deletion", current.Drifts)
		}
		return nil
	})
	families, err := scrapeMetrics(t.Context())
	testutil.Must(t, err)
	testutil.Equal(t, "drifts counted", findMetric(families, "securitybaseline_drifts_total", name).GetCounter().GetValue(), 1.0)
}

func TestDrift_RecordedWhenRevertIsDeniedAtFirst(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	allow := denyOperatorWritesAndWait(t, namespace.Name, admissionregistrationv1.Update, "rolebindings")
	update(t, env.WaitForPolicy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateFailed)
	allow()
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, func(current *v1alpha1.BaselineReport) error {
		if len(current.Drifts) != 1 || current.Drifts[0].Manager != "admin" {
			return fmt.Errorf("drifts: got %+v, want one of the manager admin", current.Drifts)
		}
		return nil
	})
	env.WaitForPolicy(t, namespace.Name, "default-deny", isClosed)
}

func TestDrift_RecordedWhenBaselineChangesMeanwhile(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	allow := denyOperatorWritesAndWait(t, namespace.Name, admissionregistrationv1.Update, "rolebindings")
	update(t, env.WaitForPolicy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateFailed)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.Policies = nil })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateFailed)
	allow()
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, func(current *v1alpha1.BaselineReport) error {
		if len(current.Drifts) != 1 || current.Drifts[0].Object != "NetworkPolicy/security-baseline-default-deny" {
			return fmt.Errorf("drifts: got %+v, want one of default-deny", current.Drifts)
		}
		return nil
	})
}
