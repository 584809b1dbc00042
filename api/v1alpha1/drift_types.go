package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Drift is a difference from a baseline that another author caused.
type Drift struct {
	// detectionTime is when the operator detected the drift. If the drift
	// recurred, it is the most recent time.
	// +required
	DetectionTime metav1.Time `json:"detectionTime"`

	// control is the name of the control.
	// +required
	Control ControlName `json:"control"`

	// baseline is the name of the baseline that governs the control.
	// +required
	Baseline string `json:"baseline"`

	// object is the object, as Kind/name.
	// +required
	Object string `json:"object"`

	// fields lists the fields that differed. It is empty if the object was
	// deleted.
	// +optional
	// +listType=atomic
	Fields []FieldDifference `json:"fields,omitempty"`

	// manager is the field manager that changed the fields, from managedFields. It
	// is empty if Kubernetes did not record it, for example for a deletion or a
	// removed field.
	// +optional
	Manager string `json:"manager,omitempty"`

	// operation is Update or Apply, or Delete if the object was deleted.
	// +optional
	Operation string `json:"operation,omitempty"`

	// changeTime is when the field manager made the change, from managedFields and
	// in whole seconds. It is absent if manager is empty.
	// +optional
	ChangeTime *metav1.Time `json:"changeTime,omitempty"`

	// action is what the operator did: Created, Configured, Replaced or Reported.
	// +required
	Action DriftAction `json:"action"`

	// count is how often the drift occurred with less than five minutes between
	// occurrences. It is absent if the drift occurred once.
	// +optional
	Count int64 `json:"count,omitempty"`

	// previousDetectionTimes lists the two times before detectionTime, newest
	// first, if the drift recurred.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2
	PreviousDetectionTimes []metav1.Time `json:"previousDetectionTimes,omitempty"`
}

// DriftAction is what the operator did about a drift.
//
// +kubebuilder:validation:Enum=Created;Configured;Replaced;Reported
type DriftAction string

const (
	// DriftCreated means that the operator recreated a deleted object.
	DriftCreated DriftAction = "Created"
	// DriftConfigured means that the operator reverted the fields.
	DriftConfigured DriftAction = "Configured"
	// DriftReplaced means that the operator replaced a RoleBinding, whose roleRef
	// cannot be changed.
	DriftReplaced DriftAction = "Replaced"
	// DriftReported means that the operator changed nothing, because the baseline is in
	// Audit mode.
	DriftReported DriftAction = "Reported"
)
