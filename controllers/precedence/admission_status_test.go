package precedence

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func TestHigherPrecedence_BaselinesWithSharedControls(t *testing.T) {
	withNetwork := func(b *v1alpha1.SecurityBaseline) { b.Spec.Network = &v1alpha1.Network{} }
	in := func(key string, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: values}
	}
	expressing := func(b *v1alpha1.SecurityBaseline) {
		b.Spec.NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpExists}}
	}
	for _, test := range []struct {
		name   string
		others []v1alpha1.SecurityBaseline
		want   []v1alpha1.HigherPrecedenceBaseline
	}{
		{name: "none"},
		{name: "no shared control", others: []v1alpha1.SecurityBaseline{newBaseline("z", networkOnly, priority(9))}},
		{name: "lower precedence", others: []v1alpha1.SecurityBaseline{newBaseline("z", priority(-1)), newBaseline("n")}},
		{name: "missing finalizer", others: []v1alpha1.SecurityBaseline{newBaseline("z", priority(9), missingFinalizer)}},
		{name: "Audit mode and being deleted", others: []v1alpha1.SecurityBaseline{newBaseline("z", priority(9), auditing), newBaseline("y", priority(9), deleted)}},
		{
			name:   "higher priority and older, sorted by name, with requirements",
			others: []v1alpha1.SecurityBaseline{newBaseline("z", priority(9), withNetwork, selecting("env", "production"), expressing), newBaseline("b", older, excluding("payments"))},
			want: []v1alpha1.HigherPrecedenceBaseline{
				{Name: "b", Controls: []v1alpha1.ControlName{"PodSecurity"}, ExcludeNamespaces: []string{"payments"}},
				{Name: "z", Controls: []v1alpha1.ControlName{"PodSecurity"}, Requirements: []metav1.LabelSelectorRequirement{in("env", "production"), {Key: "tier", Operator: "Exists"}}},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			subject := newBaseline("m")
			all := append([]v1alpha1.SecurityBaseline{subject}, test.others...)
			got, _ := HigherPrecedence(&subject, all)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("baselines with higher precedence differ (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("more than the limit", func(t *testing.T) {
		subject := newBaseline("m")
		all := make([]v1alpha1.SecurityBaseline, 0, 2*maxHigherPrecedence)
		for i := range 2 * maxHigherPrecedence {
			all = append(all, newBaseline(fmt.Sprint(i), priority(1)))
		}
		if got, omitted := HigherPrecedence(&subject, all); len(got) != maxHigherPrecedence || omitted != maxHigherPrecedence {
			t.Errorf("got %d listed and %d omitted, want %d of each", len(got), omitted, maxHigherPrecedence)
		}
	})
}

func TestSelectingLabels_SelectorsAndSubjects(t *testing.T) {
	withSubjects := func(b *v1alpha1.SecurityBaseline) {
		b.Spec.RBAC = &v1alpha1.RBAC{RoleBindings: []v1alpha1.NamedRoleBinding{{SubjectsFrom: []v1alpha1.SubjectFrom{{Label: "team"}, {Label: "owner"}}}}}
	}
	withExpression := func(b *v1alpha1.SecurityBaseline) {
		b.Spec.NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{{Key: "lab", Operator: metav1.LabelSelectorOpDoesNotExist}}
	}
	got, _ := SelectingLabels([]v1alpha1.SecurityBaseline{
		newBaseline("a", selecting("env", "production")), newBaseline("b", selecting("env", "test"), withExpression), newBaseline("c", withSubjects, auditing), newBaseline("d"),
	})
	if diff := cmp.Diff([]string{"env", "lab", "owner", "team"}, got); diff != "" {
		t.Errorf("selecting labels differ (-want +got):\n%s", diff)
	}
}

func TestSelectingLabels_Limited(t *testing.T) {
	all := make([]v1alpha1.SecurityBaseline, 0, maxSelectingLabels+3)
	for i := range cap(all) {
		all = append(all, newBaseline(fmt.Sprint(i), selecting(fmt.Sprint("l", i), "")))
	}
	if got, omitted := SelectingLabels(all); len(got) != maxSelectingLabels || omitted != 3 {
		t.Errorf("got %d listed and %d omitted, want %d and 3", len(got), omitted, maxSelectingLabels)
	}
}
