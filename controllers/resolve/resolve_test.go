package resolve

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// baseline makes one that selects everything and declares PodSecurity.
func baseline(name string, change ...func(*v1alpha1.SecurityBaseline)) v1alpha1.SecurityBaseline {
	out := v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(epoch)}}
	out.Spec.PodSecurity = &v1alpha1.PodSecurity{Enforce: "baseline"}
	for _, change := range change {
		change(&out)
	}
	return out
}

func priority(value int32) func(*v1alpha1.SecurityBaseline) {
	return func(b *v1alpha1.SecurityBaseline) { b.Spec.Priority = value }
}

func older(b *v1alpha1.SecurityBaseline) {
	b.CreationTimestamp = metav1.NewTime(epoch.Add(-time.Hour))
}

func deleted(b *v1alpha1.SecurityBaseline) {
	b.DeletionTimestamp = &metav1.Time{Time: epoch}
}

func networkOnly(b *v1alpha1.SecurityBaseline) {
	b.Spec.PodSecurity, b.Spec.Network = nil, &v1alpha1.Network{}
}

func selecting(key string, value v1alpha1.LabelValue) func(*v1alpha1.SecurityBaseline) {
	return func(b *v1alpha1.SecurityBaseline) {
		b.Spec.NamespaceSelector.MatchLabels = map[string]v1alpha1.LabelValue{key: value}
	}
}

func excluding(namespace string) func(*v1alpha1.SecurityBaseline) {
	return func(b *v1alpha1.SecurityBaseline) { b.Spec.ExcludeNamespaces = []string{namespace} }
}

func invalid(b *v1alpha1.SecurityBaseline) {
	b.Spec.NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
}

func TestGovern(t *testing.T) {
	type names = map[v1alpha1.ControlName]string
	payments := metav1.ObjectMeta{Name: "payments", Labels: map[string]string{"env": "production"}}
	for _, test := range []struct {
		name      string
		namespace metav1.ObjectMeta
		baselines []v1alpha1.SecurityBaseline
		want      names
		selecting []string
	}{
		{
			name:      "an empty selector selects every namespace",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a")},
			want:      names{"PodSecurity": "a"}, selecting: []string{"a"},
		},
		{
			name:      "the highest priority governs, whatever the age",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", older), baseline("b", priority(1)), baseline("c", priority(-1))},
			want:      names{"PodSecurity": "b"}, selecting: []string{"b", "a", "c"},
		},
		{
			name:      "then the oldest, whatever the name",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a"), baseline("b", older)},
			want:      names{"PodSecurity": "b"}, selecting: []string{"b", "a"},
		},
		{
			name:      "then the first by name",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("b"), baseline("a")},
			want:      names{"PodSecurity": "a"}, selecting: []string{"a", "b"},
		},
		{
			name:      "each control for itself",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a"), baseline("b", networkOnly, priority(1))},
			want:      names{"PodSecurity": "a", "Network": "b"}, selecting: []string{"b", "a"},
		},
		{
			name:      "a selector chooses by labels",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", selecting("env", "staging")), baseline("b", selecting("env", "production"))},
			want:      names{"PodSecurity": "b"}, selecting: []string{"b"},
		},
		{
			name:      "an excluded namespace is not selected",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", excluding("payments"))},
			want:      names{},
		},
		{
			name:      "a baseline that is being deleted governs nothing",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", priority(1), deleted), baseline("b")},
			want:      names{"PodSecurity": "b"}, selecting: []string{"b"},
		},
		{
			name:      "a protected namespace is governed by none",
			namespace: metav1.ObjectMeta{Name: "kube-system"},
			baselines: []v1alpha1.SecurityBaseline{baseline("a")},
			want:      names{},
		},
		{
			name:      "nor is a further one that was protected",
			namespace: metav1.ObjectMeta{Name: "ours"},
			baselines: []v1alpha1.SecurityBaseline{baseline("a")},
			want:      names{},
		},
		{
			name:      "nor one that is going away",
			namespace: metav1.ObjectMeta{Name: "payments", DeletionTimestamp: &metav1.Time{Time: epoch}},
			baselines: []v1alpha1.SecurityBaseline{baseline("a")},
			want:      names{},
		},
		{
			name:      "a selector that does not parse selects nothing and harms no other baseline",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", invalid), baseline("b")},
			want:      names{"PodSecurity": "b"}, selecting: []string{"b"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			governance := Govern(&metav1.PartialObjectMetadata{ObjectMeta: test.namespace}, test.baselines, Protected("ours"), epoch)
			got := names{}
			for control, baseline := range governance.Governing {
				got[control] = baseline.Name
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("who governs (-want +got):\n%s", diff)
			}
			var order []string //nolint:prealloc // nil is what is compared with
			for _, baseline := range governance.Selecting {
				order = append(order, baseline.Name)
			}
			if diff := cmp.Diff(test.selecting, order); diff != "" {
				t.Errorf("who selects (-want +got):\n%s", diff)
			}
		})
	}
}
