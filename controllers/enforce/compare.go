package enforce

import (
	"maps"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// lists returns an empty list of each kind of object that the operator makes in
// governed namespaces. To add a kind: a line here and a case in fieldsOf, and in
// overwrite.
func lists() []client.ObjectList {
	return []client.ObjectList{&networkingv1.NetworkPolicyList{}, &rbacv1.RoleBindingList{}}
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
	}
	return nil
}

var roleRefPath = fieldpath.MakePathOrDie("roleRef")

// differences returns the paths at which an object differs from what is wanted.
// Labels and annotations that are not wanted are other people's, and no
// difference.
func differences(have, want client.Object) []fieldpath.Path {
	paths := labelDifferences(have.GetLabels(), want.GetLabels())
	theirs, ours := fieldsOf(have), fieldsOf(want)
	for i := range ours {
		if !equality.Semantic.DeepEqual(theirs[i].value, ours[i].value) {
			paths = append(paths, ours[i].path)
		}
	}
	return paths
}

func labelDifferences(have, want map[string]string) []fieldpath.Path {
	var paths []fieldpath.Path
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if value, ok := have[key]; !ok || value != want[key] {
			paths = append(paths, fieldpath.MakePathOrDie("metadata", "labels", key))
		}
	}
	return paths
}

// overwrite makes the operator's parts of an object as wanted and leaves the
// rest.
func overwrite(have, want client.Object) {
	labels := maps.Clone(have.GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, want.GetLabels())
	have.SetLabels(labels)
	switch have := have.(type) {
	case *networkingv1.NetworkPolicy:
		have.Spec = want.(*networkingv1.NetworkPolicy).Spec
	case *rbacv1.RoleBinding:
		have.Subjects = want.(*rbacv1.RoleBinding).Subjects
	}
}

// labelled says whether an object bears the operator's label.
func labelled(object client.Object) bool {
	_, ok := object.GetLabels()[v1alpha1.BaselineLabel]
	return ok
}

// contains says whether one of the paths is the path.
func contains(paths []fieldpath.Path, path fieldpath.Path) bool {
	return slices.ContainsFunc(paths, path.Equals)
}
