package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// BaselineReport says what the baselines demand of the namespace that it is in,
// whether that holds, and what drifted. The operator writes it and nobody else;
// it is named security-baseline. It is also the operator's ledger: the status of
// every SecurityBaseline is summed from the reports.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=br,categories=security
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.state`
// +kubebuilder:printcolumn:name="Baselines",type=string,JSONPath=`.summary.baselines`
// +kubebuilder:printcolumn:name="Controls",type=string,JSONPath=`.summary.controls`
// +kubebuilder:printcolumn:name="Drifts",type=integer,JSONPath=`.summary.drifts`
// +kubebuilder:printcolumn:name="Last Drift",type=date,JSONPath=`.summary.lastDrift`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'security-baseline'",message="a BaselineReport is named security-baseline, one in each namespace; the operator writes it"
type BaselineReport struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	BaselineReportData `json:",inline"`
}

// BaselineReportData is what a report says.
type BaselineReportData struct {
	// The worst state of the controls.
	// +optional
	State State `json:"state,omitempty"`

	// What kubectl get shows.
	// +optional
	Summary ReportSummary `json:"summary,omitzero"`

	// The baselines that select this namespace, at the generation that was
	// evaluated.
	// +optional
	// +listType=map
	// +listMapKey=name
	Observed []ObservedBaseline `json:"observed,omitempty"`

	// The controls in force, and how they compare.
	// +optional
	// +listType=map
	// +listMapKey=name
	Controls []ControlReport `json:"controls,omitempty"`

	// The last 20 drifts, newest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Drifts []Drift `json:"drifts,omitempty"`
}

// Observes says whether the report is about a namespace that the baseline of
// this name selects.
func (r *BaselineReportData) Observes(baseline string) bool {
	return slices.ContainsFunc(r.Observed, func(observed ObservedBaseline) bool { return observed.Name == baseline })
}

// BaselineReportList is a list of BaselineReports.
//
// +kubebuilder:object:root=true
type BaselineReportList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BaselineReport `json:"items"`
}

// ReportSummary is what kubectl get shows of a report.
type ReportSummary struct {
	// The names of the baselines that govern a control here.
	// +optional
	Baselines string `json:"baselines,omitempty"`
	// Compliant controls, of all.
	// +optional
	Controls string `json:"controls,omitempty"`
	// How many drifts were seen, listed or not.
	// +optional
	Drifts int64 `json:"drifts"`
	// When the newest drift was seen.
	// +optional
	LastDrift *metav1.Time `json:"lastDrift,omitempty"`
}

// ObservedBaseline is a baseline that selects the namespace.
type ObservedBaseline struct {
	Name string `json:"name"`
	// The generation of its spec that was evaluated.
	Generation int64 `json:"generation"`
}

// ControlReport is how one control compares.
type ControlReport struct {
	Name ControlName `json:"name"`

	// The baseline that governs the control here.
	Baseline string `json:"baseline"`

	State State `json:"state"`

	// What is wrong and what to do about it.
	// +optional
	Message string `json:"message,omitempty"`

	// What is worth knowing although it is compliant.
	// +optional
	// +listType=atomic
	Findings []string `json:"findings,omitempty"`

	// What was put in place: the operator's ledger. What differs from it while
	// the baseline asks for the same was changed by someone: it is drift.
	// +optional
	// +listType=map
	// +listMapKey=object
	Placed []PlacedObject `json:"placed,omitempty"`

	// How many drifts of this control were seen since the baseline governs it.
	// +optional
	Drifts int64 `json:"drifts,omitempty"`
}

// PlacedObject is an object as it was put in place.
type PlacedObject struct {
	// The object, as Kind/name.
	Object string `json:"object"`

	// Its UID: an object of the same name that was made again is another one.
	UID types.UID `json:"uid"`

	// A fingerprint of what was asked for.
	Revision string `json:"revision"`
}

// Drift is a difference from a baseline that somebody made.
type Drift struct {
	// When the operator saw it.
	Time metav1.Time `json:"time"`

	Control  ControlName `json:"control"`
	Baseline string      `json:"baseline"`

	// The object, as Kind/name.
	Object string `json:"object"`

	// The paths of the fields that differed; none, where the object was gone.
	// +optional
	// +listType=atomic
	Fields []string `json:"fields,omitempty"`

	// Who changed the fields, by managedFields; empty where Kubernetes does not
	// record it, as for a deletion or a field that was removed.
	// +optional
	Manager string `json:"manager,omitempty"`

	// How: Update or Apply, or Delete where the object was gone.
	// +optional
	Operation string `json:"operation,omitempty"`

	// What the operator did about it.
	Action DriftAction `json:"action"`
}

// DriftAction is what the operator did about a drift.
//
// +kubebuilder:validation:Enum=Created;Configured;Replaced
type DriftAction string

const (
	// DriftCreated says that the object was gone and was made again.
	DriftCreated DriftAction = "Created"
	// DriftConfigured says that the fields were put right.
	DriftConfigured DriftAction = "Configured"
	// DriftReplaced says that a RoleBinding, whose roleRef cannot be changed, was
	// replaced.
	DriftReplaced DriftAction = "Replaced"
)
