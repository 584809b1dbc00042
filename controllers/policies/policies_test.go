package policies

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// baseline makes one with every rule.
func baseline(name string, change ...func(*v1alpha1.SecurityBaseline)) v1alpha1.SecurityBaseline {
	out := v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: name}}
	out.Spec = v1alpha1.SecurityBaselineSpec{
		NamespaceSelector: v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"env": "production"}},
		Network:           &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}, WaitForDefaultDeny: true},
		RBAC:              &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{}},
		Images:            &v1alpha1.Images{RequireDigest: true}, Workloads: &v1alpha1.Workloads{RequireLimits: true, Action: v1alpha1.ActionWarn}, Guard: &v1alpha1.Guard{},
	}
	for _, change := range change {
		change(&out)
	}
	return out
}

func only(change func(*v1alpha1.SecurityBaselineSpec)) func(*v1alpha1.SecurityBaseline) {
	return func(b *v1alpha1.SecurityBaseline) {
		b.Spec = v1alpha1.SecurityBaselineSpec{NamespaceSelector: b.Spec.NamespaceSelector}
		change(&b.Spec)
	}
}

func inAudit(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeAudit }

// kinds shortens what is needed to "policy NAME" and "binding NAME", without the
// domain.
func kinds(t *testing.T, needed []Needed) []string {
	t.Helper()
	all := make([]string, 0, len(needed))
	for _, object := range needed {
		what := map[string]string{
			"*v1.ValidatingAdmissionPolicy": "policy", "*v1.ValidatingAdmissionPolicyBinding": "binding",
			"*v1.MutatingAdmissionPolicy": "mutating policy", "*v1.MutatingAdmissionPolicyBinding": "mutating binding",
		}[fmt.Sprintf("%T", object.Object)]
		name, ok := strings.CutSuffix(object.GetName(), Domain)
		if !ok {
			t.Errorf("%s is not in the operator's domain", object.GetName())
		}
		all = append(all, what+" "+name)
	}
	return all
}

func TestObjects(t *testing.T) {
	installed := []string{"policy require-bind-permission", "binding require-bind-permission"}
	for _, test := range []struct {
		name      string
		baselines []v1alpha1.SecurityBaseline
		old       bool // an API server without MutatingAdmissionPolicy
		want      []string
	}{
		{name: "what belongs to the installation is always needed"},
		{
			name:      "every rule, and the policies only once",
			baselines: []v1alpha1.SecurityBaseline{baseline("a"), baseline("b", only(func(s *v1alpha1.SecurityBaselineSpec) { s.Guard = &v1alpha1.Guard{} }))},
			want: []string{
				"mutating policy label-new-namespaces", "policy restrict-cluster-admin", "policy wait-for-default-deny", "policy protect-namespace-labels", "policy protect-managed-objects", "policy images", "policy workloads",
				"binding a.images", "binding a.workloads", "binding a.wait-for-default-deny", "binding a.protect-managed-objects", "binding a.protect-namespace-labels", "binding a.restrict-cluster-admin", "mutating binding a.label-new-namespaces",
				"binding b.protect-managed-objects", "binding b.protect-namespace-labels", "mutating binding b.label-new-namespaces",
			},
		},
		{
			name:      "what only gives objects needs nothing",
			baselines: []v1alpha1.SecurityBaseline{baseline("a", only(func(s *v1alpha1.SecurityBaselineSpec) { s.Network = &v1alpha1.Network{} }))},
		},
		{
			name:      "pod-security labels are given at birth",
			baselines: []v1alpha1.SecurityBaseline{baseline("a", only(func(s *v1alpha1.SecurityBaselineSpec) { s.PodSecurity = &v1alpha1.PodSecurity{} }))},
			want:      []string{"mutating policy label-new-namespaces", "mutating binding a.label-new-namespaces"},
		},
		{
			name: "an API server without MutatingAdmissionPolicy", old: true,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", only(func(s *v1alpha1.SecurityBaselineSpec) { s.Images = &v1alpha1.Images{} }))},
			want:      []string{"policy images", "binding a.images"},
		},
		{
			name: "in Audit mode: policies that refuse nothing, no gate, and nothing at birth", baselines: []v1alpha1.SecurityBaseline{baseline("a", inAudit)},
			want: []string{
				"policy audit.restrict-cluster-admin", "policy audit.protect-namespace-labels", "policy audit.protect-managed-objects", "policy audit.images", "policy audit.workloads",
				"binding a.audit.images", "binding a.audit.workloads", "binding a.audit.protect-managed-objects", "binding a.audit.protect-namespace-labels", "binding a.audit.restrict-cluster-admin",
			},
		},
		{
			name: "one baseline governs who may be cluster-admin",
			baselines: []v1alpha1.SecurityBaseline{
				baseline("a", only(func(s *v1alpha1.SecurityBaselineSpec) {
					s.RBAC = &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{}}
				})),
				baseline("b", only(func(s *v1alpha1.SecurityBaselineSpec) {
					s.Priority, s.RBAC = 1, &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{}}
				})),
			},
			want: []string{"policy restrict-cluster-admin", "binding b.restrict-cluster-admin"},
		},
		{
			name: "nothing of one that is being deleted, or that selects nothing, or that cannot be held yet",
			baselines: []v1alpha1.SecurityBaseline{
				baseline("a", func(b *v1alpha1.SecurityBaseline) { b.DeletionTimestamp = new(metav1.Now()) }),
				baseline("b", func(b *v1alpha1.SecurityBaseline) {
					b.Spec.NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
				}),
				baseline("c", func(b *v1alpha1.SecurityBaseline) { b.Spec.DeletionPolicy = v1alpha1.DeletionRemove }),
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			needed := Objects(test.baselines, Cluster{Protected: sets.New("kube-system"), Mutating: !test.old})
			got := kinds(t, needed)
			for _, want := range installed {
				if !sets.New(got...).Has(want) {
					t.Errorf("no %s in %v", want, got)
				}
			}
			rest := sets.New(got...).Delete(installed...)
			if diff := cmp.Diff(sets.List(sets.New(test.want...)), sets.List(rest)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(got) != len(test.want)+len(installed) {
				t.Errorf("something is there twice: %v", got)
			}
		})
	}
}

// What a binding says is all that differs from one baseline to another.
func TestBindings(t *testing.T) {
	protected := metav1.LabelSelectorRequirement{Key: "kubernetes.io/metadata.name", Operator: "NotIn", Values: []string{"kube-system"}}
	label := func(control string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{control + ".securitybaseline.io/baseline": "a"}}
	}
	selected := map[string]string{"env": "production"}
	waiting := label("network")
	waiting.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: v1alpha1.DefaultDenyReadyLabel, Operator: "DoesNotExist"}}
	everything := &metav1.LabelSelector{}
	for _, test := range []struct {
		binding             string
		audits              bool
		actions             string
		namespaces, objects *metav1.LabelSelector
	}{
		{"a.images", false, "Deny", label("images"), everything},
		{"a.workloads", false, "Warn", label("workloads"), everything},
		{"a.wait-for-default-deny", false, "Deny", waiting, everything},
		{"a.protect-managed-objects", false, "Deny", label("guard"), everything},
		{"a.protect-namespace-labels", false, "Deny", everything, label("guard")},
		{"a.restrict-cluster-admin", false, "Deny", everything, everything},
		{"a.audit.images", true, "Warn Audit", &metav1.LabelSelector{MatchLabels: selected, MatchExpressions: []metav1.LabelSelectorRequirement{protected}}, everything},
		{"a.audit.protect-namespace-labels", true, "Warn Audit", &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{protected}}, &metav1.LabelSelector{MatchLabels: selected}},
		{"a.audit.restrict-cluster-admin", true, "Warn Audit", everything, everything},
	} {
		t.Run(test.binding, func(t *testing.T) {
			of := baseline("a")
			if test.audits {
				inAudit(&of)
			}
			for _, object := range Objects([]v1alpha1.SecurityBaseline{of}, Cluster{Protected: sets.New("kube-system"), Mutating: true}) {
				binding, ok := object.Object.(*admissionregistrationv1.ValidatingAdmissionPolicyBinding)
				if !ok || binding.Name != test.binding+Domain {
					continue
				}
				if got := strings.Trim(fmt.Sprint(binding.Spec.ValidationActions), "[]"); got != test.actions {
					t.Errorf("the actions are %s", got)
				}
				if diff := cmp.Diff([]*metav1.LabelSelector{test.namespaces, test.objects},
					[]*metav1.LabelSelector{binding.Spec.MatchResources.NamespaceSelector, binding.Spec.MatchResources.ObjectSelector}); diff != "" {
					t.Errorf("selectors (-want +got):\n%s", diff)
				}
				if binding.Spec.ParamRef.Name != "a" || *binding.Spec.ParamRef.ParameterNotFoundAction != admissionregistrationv1.AllowAction {
					t.Errorf("%+v", binding.Spec.ParamRef)
				}
				return
			}
			t.Error("there is none")
		})
	}
}

func TestAPolicyForAuditModeRefusesNothing(t *testing.T) {
	needed := Objects([]v1alpha1.SecurityBaseline{baseline("a"), baseline("b", inAudit)}, Cluster{Mutating: true})
	policies := map[string]*admissionregistrationv1.ValidatingAdmissionPolicy{}
	for _, object := range needed {
		if policy, ok := object.Object.(*admissionregistrationv1.ValidatingAdmissionPolicy); ok {
			policies[strings.TrimSuffix(policy.Name, Domain)] = policy
		}
	}
	for _, name := range []string{"images", "workloads", "protect-managed-objects", "protect-namespace-labels", "restrict-cluster-admin"} {
		t.Run(name, func(t *testing.T) {
			enforces, audits := policies[name], policies["audit."+name]
			if *enforces.Spec.FailurePolicy != admissionregistrationv1.Fail || *audits.Spec.FailurePolicy != admissionregistrationv1.Ignore {
				t.Errorf("on failure, %s and %s", *enforces.Spec.FailurePolicy, *audits.Spec.FailurePolicy)
			}
			if match := audits.Spec.MatchConstraints; len(match.NamespaceSelector.MatchExpressions) > 0 || len(match.ObjectSelector.MatchExpressions) > 0 {
				t.Errorf("it matches only what bears a label: %+v", match)
			}
			if diff := cmp.Diff(enforces.Spec.Validations, audits.Spec.Validations); diff != "" {
				t.Errorf("it asks for something else (-enforced +audited):\n%s", diff)
			}
			var conditions []string
			for _, condition := range audits.Spec.MatchConditions[len(enforces.Spec.MatchConditions):] {
				conditions = append(conditions, condition.Name)
			}
			want := []string{"not-excluded", "not-excepted"}
			if name == "restrict-cluster-admin" {
				want = nil
			}
			if diff := cmp.Diff(want, conditions); diff != "" {
				t.Errorf("further conditions (-want +got):\n%s", diff)
			}
		})
	}
}

// The authors' policy asks of each binding the same.
func TestEachRoleBindingIsAskedAboutAlike(t *testing.T) {
	var policy *admissionregistrationv1.ValidatingAdmissionPolicy
	for _, object := range Objects(nil, Cluster{}) {
		if authors, ok := object.Object.(*admissionregistrationv1.ValidatingAdmissionPolicy); ok {
			policy = authors
		}
	}
	const most = 24 // as the CRD says
	validations := policy.Spec.Validations
	if len(validations) != most+1 || validations[most].Expression != fmt.Sprintf("size(variables.bindings) <= %d", most) {
		t.Fatalf("%d validations, the last %q", len(validations), validations[len(validations)-1].Expression)
	}
	for i := range most {
		want := validations[0]
		for _, text := range []*string{&want.Expression, &want.MessageExpression} {
			*text = strings.ReplaceAll(*text, "variables.bindings[0]", fmt.Sprintf("variables.bindings[%d]", i))
			*text = strings.Replace(*text, "size(variables.bindings) <= 0", fmt.Sprintf("size(variables.bindings) <= %d", i), 1)
		}
		if diff := cmp.Diff(want, validations[i]); diff != "" {
			t.Errorf("binding %d (-want +got):\n%s", i, diff)
		}
	}
}

// What is shared is not changed by whoever gets a copy.
func TestObjectsAreCopies(t *testing.T) {
	for _, object := range Objects([]v1alpha1.SecurityBaseline{baseline("a"), baseline("b", inAudit)}, Cluster{Mutating: true}) {
		if policy, ok := object.Object.(*admissionregistrationv1.ValidatingAdmissionPolicy); ok {
			policy.Spec.Validations, policy.Spec.MatchConstraints.ResourceRules[0].Resources = nil, nil
		}
	}
	for _, object := range Objects([]v1alpha1.SecurityBaseline{baseline("a"), baseline("b", inAudit)}, Cluster{Mutating: true}) {
		if policy, ok := object.Object.(*admissionregistrationv1.ValidatingAdmissionPolicy); ok && (policy.Spec.Validations == nil || policy.Spec.MatchConstraints.ResourceRules[0].Resources == nil) {
			t.Errorf("%s is shared", policy.Name)
		}
	}
}

func TestUsedBy(t *testing.T) {
	for _, object := range Objects([]v1alpha1.SecurityBaseline{
		baseline("a", only(func(s *v1alpha1.SecurityBaselineSpec) { s.Images = &v1alpha1.Images{} })),
		baseline("b", only(func(s *v1alpha1.SecurityBaselineSpec) { s.Guard, s.Images = &v1alpha1.Guard{}, &v1alpha1.Images{} })),
	}, Cluster{}) {
		want := map[string][2]v1alpha1.ControlName{
			"images": {"Images", "Images"}, "a.images": {"Images", ""}, "b.images": {"", "Images"},
			"protect-managed-objects": {"", "Guard"}, "b.protect-managed-objects": {"", "Guard"}, "protect-namespace-labels": {"", "Guard"}, "b.protect-namespace-labels": {"", "Guard"},
		}[strings.TrimSuffix(object.GetName(), Domain)]
		if got := [2]v1alpha1.ControlName{object.UsedBy("a"), object.UsedBy("b")}; got != want {
			t.Errorf("%s is used for %v, not %v", object.GetName(), got, want)
		}
	}
}
