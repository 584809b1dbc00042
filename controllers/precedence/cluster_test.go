package precedence

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// judging declares who may be cluster-admin.
func judging(b *v1alpha1.SecurityBaseline) {
	b.Spec.RBAC = &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{}}
}

// unheld takes what it gave along, and has no finalizer yet.
func unheld(b *v1alpha1.SecurityBaseline) { b.Spec.DeletionPolicy = v1alpha1.DeletionRemove }

func TestClusterAdmin(t *testing.T) {
	for _, test := range []struct {
		name      string
		baselines []v1alpha1.SecurityBaseline
		want      string
	}{
		{name: "nobody declares it", baselines: []v1alpha1.SecurityBaseline{baseline("a")}},
		{name: "the highest priority", baselines: []v1alpha1.SecurityBaseline{baseline("a", judging), baseline("b", judging, priority(1)), baseline("c", priority(2))}, want: "b"},
		{name: "then the oldest", baselines: []v1alpha1.SecurityBaseline{baseline("a", judging), baseline("b", judging, older)}, want: "b"},
		{name: "then the first by name", baselines: []v1alpha1.SecurityBaseline{baseline("b", judging), baseline("a", judging)}, want: "a"},
		{name: "whatever it selects", baselines: []v1alpha1.SecurityBaseline{baseline("a", judging, selecting("no", "where"))}, want: "a"},
		{name: "none that audits, none that goes", baselines: []v1alpha1.SecurityBaseline{baseline("a", judging, auditing), baseline("b", judging, deleted)}},
		{name: "none that gives nothing yet", baselines: []v1alpha1.SecurityBaseline{baseline("a", judging), baseline("b", judging, priority(1), unheld)}, want: "a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if governing := ClusterAdminBaseline(test.baselines); governing != nil {
				got = governing.Name
			}
			if got != test.want {
				t.Errorf("%q governs, not %q", got, test.want)
			}
		})
	}
}

func TestPreceding(t *testing.T) {
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
		{name: "one that governs nothing of it", others: []v1alpha1.SecurityBaseline{baseline("z", networkOnly, priority(9))}},
		{name: "one of lower precedence", others: []v1alpha1.SecurityBaseline{baseline("z", priority(-1)), baseline("n")}},
		{name: "one that gives nothing yet", others: []v1alpha1.SecurityBaseline{baseline("z", priority(9), unheld)}},
		{name: "one that audits or goes", others: []v1alpha1.SecurityBaseline{baseline("z", priority(9), auditing), baseline("y", priority(9), deleted)}},
		{
			name:   "by priority and age, in the order of names, with all that they require",
			others: []v1alpha1.SecurityBaseline{baseline("z", priority(9), withNetwork, selecting("env", "production"), expressing), baseline("b", older, excluding("payments"))},
			want: []v1alpha1.HigherPrecedenceBaseline{
				{Name: "b", Controls: []v1alpha1.ControlName{"PodSecurity"}, ExcludeNamespaces: []string{"payments"}},
				{Name: "z", Controls: []v1alpha1.ControlName{"PodSecurity"}, Requirements: []metav1.LabelSelectorRequirement{in("env", "production"), {Key: "tier", Operator: "Exists"}}},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			it := baseline("m")
			all := append([]v1alpha1.SecurityBaseline{it}, test.others...)
			got, _ := HigherPrecedence(&it, all)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("no more than admission can know of", func(t *testing.T) {
		it := baseline("m")
		all := make([]v1alpha1.SecurityBaseline, 0, 2*maxPreceding)
		for i := range 2 * maxPreceding {
			all = append(all, baseline(fmt.Sprint(i), priority(1)))
		}
		if got, left := HigherPrecedence(&it, all); len(got) != maxPreceding || left != maxPreceding {
			t.Errorf("%d, and %d more", len(got), left)
		}
	})
}

func TestGuardedLabels(t *testing.T) {
	named := func(b *v1alpha1.SecurityBaseline) {
		b.Spec.RBAC = &v1alpha1.RBAC{RoleBindings: []v1alpha1.NamedRoleBinding{{SubjectsFrom: []v1alpha1.SubjectFrom{{Label: "team"}, {Label: "owner"}}}}}
	}
	excepting := func(b *v1alpha1.SecurityBaseline) {
		b.Spec.NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{{Key: "lab", Operator: metav1.LabelSelectorOpDoesNotExist}}
	}
	got, _ := SelectingLabels([]v1alpha1.SecurityBaseline{
		baseline("a", selecting("env", "production")), baseline("b", selecting("env", "test"), excepting), baseline("c", named, auditing), baseline("d"),
	})
	if diff := cmp.Diff([]string{"env", "lab", "owner", "team"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheGuardProtectsNoMoreLabelsThanAdmissionCanKnowOf(t *testing.T) {
	all := make([]v1alpha1.SecurityBaseline, 0, maxGuardedLabels+3)
	for i := range cap(all) {
		all = append(all, baseline(fmt.Sprint(i), selecting(fmt.Sprint("l", i), "")))
	}
	if got, left := SelectingLabels(all); len(got) != maxGuardedLabels || left != 3 {
		t.Errorf("%d, and %d more", len(got), left)
	}
}
