package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Exception turns controls of its baseline off in some namespaces, as if the
// baseline did not declare them there. Another baseline that declares them then
// governs: an exception covers only the baseline that contains it.
type Exception struct {
	// name identifies the exception within the baseline. It must be a DNS label,
	// such as vendor-images.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="exceptions[].name must consist of lowercase letters, digits or '-', and must begin and end with a letter or digit"
	Name string `json:"name,omitempty"`

	// namespaces lists the names of the namespaces that the exception covers.
	// Patterns are not supported.
	// +required
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="exceptions[].namespaces must hold names of namespaces; patterns are not supported"
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="exceptions[].namespaces is empty; list the namespaces that the exception covers"
	Namespaces []string `json:"namespaces,omitempty"`

	// controls lists the controls that the exception turns off. Example: [Images].
	// +required
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="exceptions[].controls is empty; list the controls that the exception turns off"
	Controls []ControlName `json:"controls,omitempty"`

	// reason explains why the exception exists. It has at least 10 characters.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="size(self) >= 10",message="exceptions[].reason must have at least 10 characters; explain why the exception exists"
	Reason string `json:"reason,omitempty"`

	// expirationTime is when the exception expires and the controls apply again,
	// as an RFC 3339 time in whole seconds with a time zone, such as
	// 2030-01-31T18:00:00Z. If it is absent, the exception never expires. The
	// operator records the time in UTC, so its year must have four digits in UTC
	// as well.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=25
	// +kubebuilder:validation:Pattern=`^[1-8][0-9]{3}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$|^9[0-9]{3}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+]([01][0-9]|2[0-3]):[0-5][0-9])$`
	ExpirationTime *metav1.Time `json:"expirationTime,omitempty"`
}

// IsActive reports whether the exception has not expired.
func (e *Exception) IsActive(now time.Time) bool {
	return e.ExpirationTime == nil || now.Before(e.ExpirationTime.Time)
}
