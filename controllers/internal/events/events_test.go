package events

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func TestDriftMessage(t *testing.T) {
	changed := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for _, test := range []struct {
		name  string
		drift v1alpha1.Drift
		want  string
	}{
		{
			name:  "deleted object, unknown author",
			drift: v1alpha1.Drift{Object: "NetworkPolicy/a", Operation: "Delete", Action: v1alpha1.DriftCreated},
			want:  "NetworkPolicy/a was deleted by an unknown author; recreated",
		},
		{
			name: "changed fields, known author, Audit mode",
			drift: v1alpha1.Drift{
				Object: "NetworkPolicy/a", Manager: "kubectl-edit", Operation: "Update", ChangeTime: &changed, Action: v1alpha1.DriftReported,
				Fields: []v1alpha1.FieldDifference{{Path: "spec.ingress", Actual: "[{}]"}, {Path: "spec.egress", Expected: "[{}]"}},
			},
			want: `NetworkPolicy/a was changed by "kubectl-edit" (Update) at 2026-01-01T00:00:00Z; not reverted: the baseline is in Audit mode. ` +
				"Fields: spec.ingress: [{}] instead of nothing; spec.egress: nothing instead of [{}]",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := DriftMessage(&test.drift); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}
