// Package v1alpha1 defines the API group securitybaseline.io: SecurityBaseline,
// with the rules by which the API server validates it, and BaselineReport.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +groupName=securitybaseline.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of the objects in this package.
	GroupVersion = schema.GroupVersion{Group: "securitybaseline.io", Version: "v1alpha1"}

	// SchemeGroupVersion is GroupVersion with the name that generated code expects.
	SchemeGroupVersion = GroupVersion

	// SchemeBuilder registers the types of this package.
	SchemeBuilder = runtime.NewSchemeBuilder(func(s *runtime.Scheme) error {
		s.AddKnownTypes(GroupVersion,
			&SecurityBaseline{}, &SecurityBaselineList{},
			&BaselineReport{}, &BaselineReportList{},
		)
		metav1.AddToGroupVersion(s, GroupVersion)
		return nil
	})

	// AddToScheme adds the types of this package to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)
