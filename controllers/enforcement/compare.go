package enforcement

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// lists returns an empty list of each kind of object that the operator makes in
// governed namespaces. To add a kind: a line here and a case in fieldsOf, and in
// overwrite.
func lists() []client.ObjectList {
	return []client.ObjectList{
		&networkingv1.NetworkPolicyList{}, &rbacv1.RoleBindingList{}, &corev1.ServiceAccountList{}, &corev1.LimitRangeList{}, &corev1.ResourceQuotaList{},
	}
}

// field is a part of an object that is the operator's.
type field struct {
	path  fieldpath.Path
	value any
}

// fieldsOf returns the parts of an object that are the operator's, the labels
// left out.
func fieldsOf(object client.Object) []field {
	switch object := object.(type) {
	case *networkingv1.NetworkPolicy:
		return []field{
			{fieldpath.MakePathOrDie("spec", "podSelector"), object.Spec.PodSelector},
			{fieldpath.MakePathOrDie("spec", "policyTypes"), object.Spec.PolicyTypes},
			{fieldpath.MakePathOrDie("spec", "ingress"), object.Spec.Ingress},
			{fieldpath.MakePathOrDie("spec", "egress"), object.Spec.Egress},
		}
	case *rbacv1.RoleBinding:
		return []field{
			{roleRefPath, object.RoleRef},
			{fieldpath.MakePathOrDie("subjects"), object.Subjects},
		}
	case *corev1.ServiceAccount:
		return []field{{fieldpath.MakePathOrDie("automountServiceAccountToken"), object.AutomountServiceAccountToken}}
	case *corev1.LimitRange:
		return []field{{fieldpath.MakePathOrDie("spec", "limits"), object.Spec.Limits}}
	case *corev1.ResourceQuota:
		return []field{
			{fieldpath.MakePathOrDie("spec", "hard"), object.Spec.Hard},
			{scopesPath, object.Spec.Scopes},
			{scopeSelectorPath, object.Spec.ScopeSelector},
		}
	}
	return nil
}

// Fields that cannot be changed: an object in which they differ is replaced.
var (
	roleRefPath       = fieldpath.MakePathOrDie("roleRef")
	scopesPath        = fieldpath.MakePathOrDie("spec", "scopes")
	scopeSelectorPath = fieldpath.MakePathOrDie("spec", "scopeSelector")
)

// replaces says whether differences are such that the object is to be replaced.
func replaces(differ []difference) bool {
	return contains(differ, roleRefPath) || contains(differ, scopesPath) || contains(differ, scopeSelectorPath)
}

// difference is a part of an object, or a label, that is not as wanted. nil is
// absent.
type difference struct {
	path          fieldpath.Path
	wanted, found any
}

// differences returns where an object differs from what is wanted. Labels and
// annotations that are not wanted are other people's, and no difference.
func differences(have, want client.Object) []difference {
	differ := labelDifferences(have.GetLabels(), want.GetLabels())
	theirs, ours := fieldsOf(have), fieldsOf(want)
	for i := range ours {
		if !equality.Semantic.DeepEqual(theirs[i].value, ours[i].value) {
			differ = append(differ, difference{ours[i].path, ours[i].value, theirs[i].value})
		}
	}
	return differ
}

// Differing returns the paths of the operator's parts of an object, labels
// included, that are not as wanted.
func Differing(have, want client.Object) []string {
	differ := differences(have, want)
	paths := make([]string, 0, len(differ))
	for _, field := range reported(differ) {
		paths = append(paths, field.Path)
	}
	return paths
}

func labelDifferences(have, want map[string]string) []difference {
	var differ []difference
	for _, key := range slices.Sorted(maps.Keys(want)) {
		value, ok := have[key]
		switch {
		case !ok:
			differ = append(differ, difference{labelPath(key), want[key], nil})
		case value != want[key]:
			differ = append(differ, difference{labelPath(key), want[key], value})
		}
	}
	return differ
}

func labelPath(key string) fieldpath.Path {
	return fieldpath.MakePathOrDie("metadata", "labels", key)
}

// overwrite makes the operator's parts of an object as wanted and leaves the
// rest.
func overwrite(have, want client.Object) {
	have.SetLabels(labels.Merge(have.GetLabels(), want.GetLabels()))
	switch have := have.(type) {
	case *networkingv1.NetworkPolicy:
		have.Spec = want.(*networkingv1.NetworkPolicy).Spec
	case *rbacv1.RoleBinding:
		have.Subjects = want.(*rbacv1.RoleBinding).Subjects
	case *corev1.LimitRange:
		have.Spec = want.(*corev1.LimitRange).Spec
	case *corev1.ResourceQuota:
		have.Spec = want.(*corev1.ResourceQuota).Spec
	}
}

// labelled says whether an object bears the operator's label.
func labelled(object client.Object) bool {
	_, ok := object.GetLabels()[v1alpha1.BaselineLabel]
	return ok
}

// besidesOwner returns the differences that are not about which baseline gave
// what is there.
func besidesOwner(differ []difference) []difference {
	return slices.DeleteFunc(slices.Clone(differ), func(d difference) bool {
		return d.found != nil && (d.path.Equals(labelPath(v1alpha1.BaselineLabel)) || slices.ContainsFunc(controls.All, func(control controls.Control) bool {
			return d.path.Equals(labelPath(v1alpha1.GoverningBaselineLabel(control.Name)))
		}))
	})
}

// contains says whether one of the differences is at the path.
func contains(differ []difference, path fieldpath.Path) bool {
	return slices.ContainsFunc(differ, func(d difference) bool { return d.path.Equals(path) })
}

// maxValue is how much of a value is reported, in bytes.
const maxValue = 256

// reported returns differences as a report shows them.
func reported(differ []difference) []v1alpha1.FieldDifference {
	fields := make([]v1alpha1.FieldDifference, 0, len(differ))
	for _, d := range differ {
		wanted, found := apart(d.wanted, d.found)
		fields = append(fields, v1alpha1.FieldDifference{
			Path:   strings.TrimPrefix(d.path.String(), "."),
			Expected: Truncate(wanted, maxValue), Actual: Truncate(found, maxValue),
		})
	}
	return fields
}

// apart returns two values as JSON; of two lists only the elements that the other
// one lacks, unless they differ in their order alone.
func apart(wanted, found any) (string, string) {
	var these, those []json.RawMessage
	a, b := asJSON(wanted), asJSON(found)
	if json.Unmarshal([]byte(a), &these) != nil || json.Unmarshal([]byte(b), &those) != nil || len(these) == 0 || len(those) == 0 {
		return a, b
	}
	missing, added := lacking(these, those), lacking(those, these)
	if len(missing) == 0 && len(added) == 0 {
		return a, b
	}
	return listJSON(missing), listJSON(added)
}

func listJSON(elements []json.RawMessage) string {
	if len(elements) == 0 {
		return ""
	}
	return asJSON(elements)
}

// lacking returns the elements of a list that another lacks.
func lacking(list, other []json.RawMessage) []json.RawMessage {
	return slices.DeleteFunc(slices.Clone(list), func(element json.RawMessage) bool {
		return slices.ContainsFunc(other, func(o json.RawMessage) bool { return string(o) == string(element) })
	})
}

// asJSON returns a value as JSON, a string bare; empty for nothing at all.
func asJSON(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	data, err := json.Marshal(value)
	// The values are parts of Kubernetes' own types, which marshal.
	if err != nil || string(data) == "null" {
		return ""
	}
	return string(data)
}

// Truncate shortens a text to at most so many bytes, and shows that it did.
func Truncate(text string, bytes int) string {
	const ellipsis = "..."
	if len(text) <= bytes {
		return text
	}
	return strings.ToValidUTF8(text[:bytes-len(ellipsis)], "") + ellipsis
}
