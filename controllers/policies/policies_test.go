package policies

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// baseline returns a baseline that enables every rule.
func baseline(name string, changes ...func(*v1alpha1.SecurityBaseline)) v1alpha1.SecurityBaseline {
	b := v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: name}}
	b.Spec = v1alpha1.SecurityBaselineSpec{
		NamespaceSelector: v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"env": "production"}},
		Network:           &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}, WaitForDefaultDeny: true},
		RBAC:              &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{}},
		Images:            &v1alpha1.Images{RequireDigest: true},
		Workloads:         &v1alpha1.Workloads{RequireLimits: true, Action: v1alpha1.ActionWarn},
		Guard:             &v1alpha1.Guard{},
	}
	for _, apply := range changes {
		apply(&b)
	}
	return b
}

// only clears the spec, except for the selector, and applies a change.
func only(change func(*v1alpha1.SecurityBaselineSpec)) func(*v1alpha1.SecurityBaseline) {
	return func(b *v1alpha1.SecurityBaseline) {
		b.Spec = v1alpha1.SecurityBaselineSpec{NamespaceSelector: b.Spec.NamespaceSelector}
		change(&b.Spec)
	}
}

func inAudit(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeAudit }

// summarize returns each object as "policy NAME" or "binding NAME", without the domain.
func summarize(t *testing.T, needed []Needed) []string {
	t.Helper()
	summaries := make([]string, 0, len(needed))
	for _, object := range needed {
		kind := map[string]string{
			"*v1.ValidatingAdmissionPolicy": "policy", "*v1.ValidatingAdmissionPolicyBinding": "binding",
			"*v1.MutatingAdmissionPolicy": "mutating policy", "*v1.MutatingAdmissionPolicyBinding": "mutating binding",
		}[fmt.Sprintf("%T", object.Object)]
		name, ok := strings.CutSuffix(object.GetName(), Domain)
		if !ok {
			t.Errorf("got name %s, want suffix %s", object.GetName(), Domain)
		}
		summaries = append(summaries, kind+" "+name)
	}
	return summaries
}

func TestObjects(t *testing.T) {
	installed := []string{"policy require-bind-permission", "binding require-bind-permission"}
	for _, test := range []struct {
		name      string
		baselines []v1alpha1.SecurityBaseline
		// noMutating is true if the API server has no MutatingAdmissionPolicy.
		noMutating bool
		want       []string
	}{
		{name: "no baseline: only the objects of the installation"},
		{
			name:      "two baselines: a policy that both need is returned once",
			baselines: []v1alpha1.SecurityBaseline{baseline("a"), baseline("b", only(func(s *v1alpha1.SecurityBaselineSpec) { s.Guard = &v1alpha1.Guard{} }))},
			want: []string{
				"mutating policy label-new-namespaces", "policy restrict-cluster-admin", "policy wait-for-default-deny", "policy protect-namespace-labels", "policy protect-managed-objects", "policy images", "policy workloads",
				"binding a.images", "binding a.workloads", "binding a.wait-for-default-deny", "binding a.protect-managed-objects", "binding a.protect-namespace-labels", "binding a.restrict-cluster-admin", "mutating binding a.label-new-namespaces",
				"binding b.protect-managed-objects", "binding b.protect-namespace-labels", "mutating binding b.label-new-namespaces",
			},
		},
		{
			name:      "a control that only applies objects: nothing",
			baselines: []v1alpha1.SecurityBaseline{baseline("a", only(func(s *v1alpha1.SecurityBaselineSpec) { s.Network = &v1alpha1.Network{} }))},
		},
		{
			name:      "podSecurity: labels at creation",
			baselines: []v1alpha1.SecurityBaseline{baseline("a", only(func(s *v1alpha1.SecurityBaselineSpec) { s.PodSecurity = &v1alpha1.PodSecurity{} }))},
			want:      []string{"mutating policy label-new-namespaces", "mutating binding a.label-new-namespaces"},
		},
		{
			name: "API server without MutatingAdmissionPolicy", noMutating: true,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", only(func(s *v1alpha1.SecurityBaselineSpec) { s.Images = &v1alpha1.Images{} }))},
			want:      []string{"policy images", "binding a.images"},
		},
		{
			name: "Audit mode: Audit variants, without waitForDefaultDeny and labels at creation", baselines: []v1alpha1.SecurityBaseline{baseline("a", inAudit)},
			want: []string{
				"policy audit.restrict-cluster-admin", "policy audit.protect-namespace-labels", "policy audit.protect-managed-objects", "policy audit.images", "policy audit.workloads",
				"binding a.audit.images", "binding a.audit.workloads", "binding a.audit.protect-managed-objects", "binding a.audit.protect-namespace-labels", "binding a.audit.restrict-cluster-admin",
			},
		},
		{
			name: "restrict-cluster-admin: only the baseline of highest precedence has a binding",
			baselines: []v1alpha1.SecurityBaseline{
				baseline("a", only(func(s *v1alpha1.SecurityBaselineSpec) {
					s.RBAC = &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{}}
				})),
				baseline("b", only(func(s *v1alpha1.SecurityBaselineSpec) {
					s.Priority = 1
					s.RBAC = &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{}}
				})),
			},
			want: []string{"policy restrict-cluster-admin", "binding b.restrict-cluster-admin"},
		},
		{
			name: "a baseline that is being deleted, has an invalid selector or lacks its finalizer: nothing",
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
			needed := Objects(test.baselines, Cluster{Protected: sets.New("kube-system"), IsMutatingServed: !test.noMutating})
			got := summarize(t, needed)
			for _, want := range installed {
				if !sets.New(got...).Has(want) {
					t.Errorf("got %v, want %s among them", got, want)
				}
			}
			rest := sets.New(got...).Delete(installed...)
			if diff := cmp.Diff(sets.List(sets.New(test.want...)), sets.List(rest)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(got) != len(test.want)+len(installed) {
				t.Errorf("got %v, want no duplicates", got)
			}
		})
	}
}

func TestObjects_Bindings(t *testing.T) {
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
		isAudit             bool
		actions             string
		namespaces, objects *metav1.LabelSelector
	}{
		{binding: "a.images", actions: "Deny", namespaces: label("images"), objects: everything},
		{binding: "a.workloads", actions: "Warn", namespaces: label("workloads"), objects: everything},
		{binding: "a.wait-for-default-deny", actions: "Deny", namespaces: waiting, objects: everything},
		{binding: "a.protect-managed-objects", actions: "Deny", namespaces: label("guard"), objects: everything},
		{binding: "a.protect-namespace-labels", actions: "Deny", namespaces: everything, objects: label("guard")},
		{binding: "a.restrict-cluster-admin", actions: "Deny", namespaces: everything, objects: everything},
		{
			binding:    "a.audit.images",
			isAudit:    true,
			actions:    "Warn Audit",
			namespaces: &metav1.LabelSelector{MatchLabels: selected, MatchExpressions: []metav1.LabelSelectorRequirement{protected}},
			objects:    everything,
		},
		{
			binding:    "a.audit.protect-namespace-labels",
			isAudit:    true,
			actions:    "Warn Audit",
			namespaces: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{protected}},
			objects:    &metav1.LabelSelector{MatchLabels: selected},
		},
		{binding: "a.audit.restrict-cluster-admin", isAudit: true, actions: "Warn Audit", namespaces: everything, objects: everything},
	} {
		t.Run(test.binding, func(t *testing.T) {
			b := baseline("a")
			if test.isAudit {
				inAudit(&b)
			}
			for _, object := range Objects([]v1alpha1.SecurityBaseline{b}, Cluster{Protected: sets.New("kube-system"), IsMutatingServed: true}) {
				binding, ok := object.Object.(*admissionregistrationv1.ValidatingAdmissionPolicyBinding)
				if !ok || binding.Name != test.binding+Domain {
					continue
				}
				if got := strings.Trim(fmt.Sprint(binding.Spec.ValidationActions), "[]"); got != test.actions {
					t.Errorf("got actions %s, want %s", got, test.actions)
				}
				if diff := cmp.Diff([]*metav1.LabelSelector{test.namespaces, test.objects},
					[]*metav1.LabelSelector{binding.Spec.MatchResources.NamespaceSelector, binding.Spec.MatchResources.ObjectSelector}); diff != "" {
					t.Errorf("selectors (-want +got):\n%s", diff)
				}
				if binding.Spec.ParamRef.Name != "a" || *binding.Spec.ParamRef.ParameterNotFoundAction != admissionregistrationv1.AllowAction {
					t.Errorf("got paramRef %+v, want name a and parameterNotFoundAction Allow", binding.Spec.ParamRef)
				}
				return
			}
			t.Error("got no such binding")
		})
	}
}

func TestObjects_AuditVariantsNeverReject(t *testing.T) {
	needed := Objects([]v1alpha1.SecurityBaseline{baseline("a"), baseline("b", inAudit)}, Cluster{IsMutatingServed: true})
	policies := map[string]*admissionregistrationv1.ValidatingAdmissionPolicy{}
	for _, object := range needed {
		if policy, ok := object.Object.(*admissionregistrationv1.ValidatingAdmissionPolicy); ok {
			policies[strings.TrimSuffix(policy.Name, Domain)] = policy
		}
	}
	for _, name := range []string{"images", "workloads", "protect-managed-objects", "protect-namespace-labels", "restrict-cluster-admin"} {
		t.Run(name, func(t *testing.T) {
			enforced := policies[name]
			audited := policies["audit."+name]
			if *enforced.Spec.FailurePolicy != admissionregistrationv1.Fail || *audited.Spec.FailurePolicy != admissionregistrationv1.Ignore {
				t.Errorf("got failure policies %s and %s, want Fail and Ignore", *enforced.Spec.FailurePolicy, *audited.Spec.FailurePolicy)
			}
			if match := audited.Spec.MatchConstraints; len(match.NamespaceSelector.MatchExpressions) > 0 || len(match.ObjectSelector.MatchExpressions) > 0 {
				t.Errorf("got match constraints %+v, want no selectors", match)
			}
			if diff := cmp.Diff(enforced.Spec.Validations, audited.Spec.Validations); diff != "" {
				t.Errorf("validations differ (-enforced +audited):\n%s", diff)
			}
			added := audited.Spec.MatchConditions[len(enforced.Spec.MatchConditions):]
			conditions := make([]string, 0, len(added))
			for _, condition := range added {
				conditions = append(conditions, condition.Name)
			}
			want := []string{"not-excluded", "not-excepted"}
			if name == "restrict-cluster-admin" {
				want = nil
			}
			if diff := cmp.Diff(want, conditions, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("added match conditions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequireBindPermission_ChecksEveryRoleBinding(t *testing.T) {
	var policy *admissionregistrationv1.ValidatingAdmissionPolicy
	for _, object := range Objects(nil, Cluster{}) {
		if p, ok := object.Object.(*admissionregistrationv1.ValidatingAdmissionPolicy); ok {
			policy = p
		}
	}
	maxItems := maxRoleBindings(t)
	validations := policy.Spec.Validations
	last := validations[len(validations)-1].Expression
	if wantLast := fmt.Sprintf("size(variables.bindings) <= %d", maxItems); len(validations) != maxItems+1 || last != wantLast {
		t.Fatalf("got %d validations, the last %q; want %d, the last %q", len(validations), last, maxItems+1, wantLast)
	}
	for i := range maxItems {
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

// maxRoleBindings returns how many spec.rbac.roleBindings the CRD allows.
func maxRoleBindings(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("../../config/crd/bases/securitybaseline.io_securitybaselines.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd unstructured.Unstructured
	if err := yaml.Unmarshal(data, &crd.Object); err != nil {
		t.Fatal(err)
	}
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	maxItems, ok, err := unstructured.NestedFieldNoCopy(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec",
		"properties", "rbac", "properties", "roleBindings", "maxItems")
	if err != nil || !ok {
		t.Fatalf("the CRD has no maxItems for spec.rbac.roleBindings: %v", err)
	}
	return int(maxItems.(float64))
}

// The CEL of a MutatingAdmissionPolicy cannot read the table of controls, so it repeats
// which controls label new namespaces.
func TestLabelNewNamespaces_ListsControlsOfTable(t *testing.T) {
	var want []string
	for _, control := range controls.All {
		if control.ShouldLabelNewNamespaces != nil {
			want = append(want, string(control.Name))
		}
	}
	var got []string
	for _, variable := range labelNewNamespacesPolicy(t).Spec.Variables {
		if variable.Name != "controls" {
			continue
		}
		for _, match := range regexp.MustCompile(`\['(\w+)'\]`).FindAllStringSubmatch(variable.Expression, -1) {
			got = append(got, match[1])
		}
	}
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("the control %s labels new namespaces, but it is missing from the variable controls in config/policies/label-new-namespaces.yaml: "+
				"add a line (has(params.spec...) ? ['%s'] : [])", name, name)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("the variable controls in config/policies/label-new-namespaces.yaml lists %s, but the control does not label new namespaces: "+
				"remove it there or add ShouldLabelNewNamespaces to the control", name)
		}
	}
	if !t.Failed() && !slices.Equal(got, want) {
		t.Errorf("the variable controls in config/policies/label-new-namespaces.yaml lists %v, want each control once, in the order %v", got, want)
	}
}

// The policy sets the label of the governing baseline for each of its controls.
func TestLabelNewNamespaces_ControlsHaveBaselineLabel(t *testing.T) {
	for _, control := range controls.All {
		if label := v1alpha1.GoverningBaselineLabel(control.Name); control.ShouldLabelNewNamespaces != nil && !slices.Contains(control.NamespaceLabels, label) {
			t.Errorf("the control %s labels new namespaces, but %s is missing from its NamespaceLabels: %v", control.Name, label, control.NamespaceLabels)
		}
	}
}

func labelNewNamespacesPolicy(t *testing.T) *admissionregistrationv1.MutatingAdmissionPolicy {
	t.Helper()
	for _, object := range Objects([]v1alpha1.SecurityBaseline{baseline("a")}, Cluster{IsMutatingServed: true}) {
		if policy, ok := object.Object.(*admissionregistrationv1.MutatingAdmissionPolicy); ok {
			return policy
		}
	}
	t.Fatal("got no MutatingAdmissionPolicy")
	return nil
}

// The decoded files are shared, so callers must get copies.
func TestObjects_ReturnsCopies(t *testing.T) {
	for _, object := range Objects([]v1alpha1.SecurityBaseline{baseline("a"), baseline("b", inAudit)}, Cluster{IsMutatingServed: true}) {
		if policy, ok := object.Object.(*admissionregistrationv1.ValidatingAdmissionPolicy); ok {
			policy.Spec.Validations = nil
			policy.Spec.MatchConstraints.ResourceRules[0].Resources = nil
		}
	}
	for _, object := range Objects([]v1alpha1.SecurityBaseline{baseline("a"), baseline("b", inAudit)}, Cluster{IsMutatingServed: true}) {
		if policy, ok := object.Object.(*admissionregistrationv1.ValidatingAdmissionPolicy); ok && (policy.Spec.Validations == nil || policy.Spec.MatchConstraints.ResourceRules[0].Resources == nil) {
			t.Errorf("%s was changed through an object that was returned before", policy.Name)
		}
	}
}

func TestNeeded_UsedBy(t *testing.T) {
	for _, object := range Objects([]v1alpha1.SecurityBaseline{
		baseline("a", only(func(s *v1alpha1.SecurityBaselineSpec) { s.Images = &v1alpha1.Images{} })),
		baseline("b", only(func(s *v1alpha1.SecurityBaselineSpec) {
			s.Guard = &v1alpha1.Guard{}
			s.Images = &v1alpha1.Images{}
		})),
	}, Cluster{}) {
		want := map[string][2]v1alpha1.ControlName{
			"images": {"Images", "Images"}, "a.images": {"Images", ""}, "b.images": {"", "Images"},
			"protect-managed-objects": {"", "Guard"}, "b.protect-managed-objects": {"", "Guard"}, "protect-namespace-labels": {"", "Guard"}, "b.protect-namespace-labels": {"", "Guard"},
		}[strings.TrimSuffix(object.GetName(), Domain)]
		if got := [2]v1alpha1.ControlName{object.UsedBy("a"), object.UsedBy("b")}; got != want {
			t.Errorf("%s: got controls %v for the baselines a and b, want %v", object.GetName(), got, want)
		}
	}
}

func TestRules_HavePolicyFiles(t *testing.T) {
	for _, rule := range rules() {
		if len(policiesNamed(sets.New(rule.Name+Domain))) == 0 {
			t.Errorf("the control %s has the policy %s, but no file in config/policies has a policy of the name %s; add config/policies/%s.yaml",
				rule.control, rule.Name, rule.Name+Domain, rule.Name)
		}
		if rule.enforced == nil {
			t.Errorf("the policy %s has the unknown scope %q; add it to newRule", rule.Name, rule.Scope)
		}
	}
}
