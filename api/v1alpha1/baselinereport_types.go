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
// +kubebuilder:printcolumn:name="Drifts",type=integer,JSONPath=`.summary.driftsTotal`
// +kubebuilder:printcolumn:name="Last Drift",type=date,JSONPath=`.summary.lastDriftTime`
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
	// +listType=atomic
	ObservedBaselines []ObservedBaseline `json:"observedBaselines,omitempty"`

	// The controls in force, those that are audited and those that are excepted,
	// and how they compare.
	// +optional
	// +listType=atomic
	Controls []ControlReport `json:"controls,omitempty"`

	// The last 20 drifts, newest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Drifts []Drift `json:"drifts,omitempty"`
}

// Observes says whether the report is about a namespace that the baseline of
// this name selects.
func (r *BaselineReportData) HasObserved(baseline string) bool {
	return slices.ContainsFunc(r.ObservedBaselines, func(observed ObservedBaseline) bool { return observed.Name == baseline })
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
	DriftsTotal int64 `json:"driftsTotal"`
	// When the newest drift was seen.
	// +optional
	LastDriftTime *metav1.Time `json:"lastDriftTime,omitempty"`
}

// ObservedBaseline is a baseline that selects the namespace.
type ObservedBaseline struct {
	Name string `json:"name"`
	// The generation of its spec that was evaluated.
	Generation int64 `json:"generation"`
}

// ControlReport is how one control of one baseline compares.
type ControlReport struct {
	Name ControlName `json:"name"`

	// The baseline that governs the control here, audits it or excepts this
	// namespace from it.
	Baseline string `json:"baseline"`

	// Enforce or Audit: the baseline's mode.
	// +optional
	Mode Mode `json:"mode,omitempty"`

	State State `json:"state"`

	// What is wrong and what to do about it.
	// +optional
	Message string `json:"message,omitempty"`

	// What is worth knowing although it is compliant.
	// +optional
	// +listType=atomic
	Findings []string `json:"findings,omitempty"`

	// In Audit mode: what Enforce would do, at most 50 objects.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Changes []Change `json:"changes,omitempty"`

	// How many objects Enforce would change, listed or not.
	// +optional
	ChangesTotal int32 `json:"changesTotal,omitempty"`

	// The exception that takes the control out of this namespace.
	// +optional
	Exception *ActiveException `json:"exception,omitempty"`

	// How the pods that run here compare to the wanted pod-security level.
	// +optional
	PodSecurity *PodSecurityReport `json:"podSecurity,omitempty"`

	// What was put in place: the operator's ledger. What differs from it while
	// the baseline asks for the same was changed by someone: it is drift.
	// +optional
	// +listType=atomic
	Inventory []InventoryEntry `json:"inventory,omitempty"`

	// How many drifts of this control were seen since the baseline governs it.
	// +optional
	DriftsTotal int64 `json:"driftsTotal,omitempty"`
}

// Governs says whether the entry is of the baseline that governs the control
// here: it neither audits nor excepts.
func (c *ControlReport) IsGoverning() bool {
	return c.Mode != ModeAudit && c.State != StateExcepted
}

// Change is what Enforce would do to one object.
type Change struct {
	// The object, as Kind/name.
	Object string `json:"object"`

	Action ChangeAction `json:"action"`

	// The fields that differ; none where the object would be created or removed.
	// +optional
	// +listType=atomic
	Fields []FieldDifference `json:"fields,omitempty"`
}

// ChangeAction is what Enforce would do.
//
// +kubebuilder:validation:Enum=Create;Configure;Replace;Remove
type ChangeAction string

const (
	// ChangeCreate says that the object is missing.
	ChangeCreate ChangeAction = "Create"
	// ChangeConfigure says that fields differ.
	ChangeConfigure ChangeAction = "Configure"
	// ChangeReplace says that a RoleBinding grants another role, which cannot be
	// changed.
	ChangeReplace ChangeAction = "Replace"
	// ChangeRemove says that a baseline gave the object and this one does not want
	// it.
	ChangeRemove ChangeAction = "Remove"
)

// FieldDifference is a field that differs from what the baseline asks for.
type FieldDifference struct {
	// The path of the field.
	Path string `json:"path"`

	// What the baseline asks for, as JSON of at most 256 bytes, a string bare; of
	// a list only the elements that were not found. Empty where the field is to be
	// absent.
	// +optional
	Expected string `json:"expected,omitempty"`

	// What was found, likewise: of a list only the elements that are not wanted.
	// +optional
	Actual string `json:"actual,omitempty"`
}

// ExceptionInForce is an exception that takes a control out of a namespace.
type ActiveException struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	// When the control is in force again; never, if absent.
	// +optional
	ExpirationTime *metav1.Time `json:"expirationTime,omitempty"`
}

// PodSecurityReport says how the pods that run in a namespace compare to the
// pod-security level that a baseline asks to be enforced. It is the judgement of
// the API server's own Pod Security admission.
type PodSecurityReport struct {
	// The level, and the version of the standards, that the pods were compared to,
	// such as restricted:latest.
	Level string `json:"level"`

	// The highest level, and version, whose enforcement was reached; it is not
	// lowered again while the baseline asks for it or more.
	// +optional
	Enforced string `json:"enforced,omitempty"`

	// The pods that the level rejects, in the API server's own words.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Violations []PodViolation `json:"violations,omitempty"`

	// What the API server did not look at or left out of its answer, if anything:
	// it looks at 3,000 pods for a second, and its answers hold 4,096 characters.
	// With rollout WhenClean also the workload that is being rolled out, whose pods
	// may not be there yet.
	// +optional
	Incomplete string `json:"incomplete,omitempty"`

	// Somebody changed what is enforced, and pods may have come in before it was
	// put right that the API server did not see then: it is asked again soon.
	// +optional
	Provisional bool `json:"provisional,omitempty"`
}

// PodViolation is why a level rejects pods.
type PodViolation struct {
	// One of the pods, and how many others violate the level in the same way. The
	// API server names them so.
	Pods string `json:"pods"`

	// What they violate, and by which fields.
	Reasons string `json:"reasons"`
}

// PlacedObject is an object as it was put in place.
type InventoryEntry struct {
	// The object, as Kind/name.
	Object string `json:"object"`

	// Its UID: an object of the same name that was made again is another one.
	UID types.UID `json:"uid"`

	// A fingerprint of what was asked for.
	Revision string `json:"revision"`
}

// Drift is a difference from a baseline that somebody made.
type Drift struct {
	// When the operator saw it; the last time, if it came again.
	DetectionTime metav1.Time `json:"detectionTime"`

	Control  ControlName `json:"control"`
	Baseline string      `json:"baseline"`

	// The object, as Kind/name.
	Object string `json:"object"`

	// The fields that differed; none, where the object was gone.
	// +optional
	// +listType=atomic
	Fields []FieldDifference `json:"fields,omitempty"`

	// Who changed the fields, by managedFields; empty where Kubernetes does not
	// record it, as for a deletion or a field that was removed.
	// +optional
	Manager string `json:"manager,omitempty"`

	// How: Update or Apply, or Delete where the object was gone.
	// +optional
	Operation string `json:"operation,omitempty"`

	// When, by managedFields, to the second; absent where Manager is.
	// +optional
	ChangeTime *metav1.Time `json:"changeTime,omitempty"`

	// What the operator did about it.
	Action DriftAction `json:"action"`

	// How often it came, with less than five minutes between one time and the
	// next; absent if once.
	// +optional
	Count int64 `json:"count,omitempty"`

	// The last two times before Time, newest first, if it came again.
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
	// DriftCreated says that the object was gone and was made again.
	DriftCreated DriftAction = "Created"
	// DriftConfigured says that the fields were put right.
	DriftConfigured DriftAction = "Configured"
	// DriftReplaced says that a RoleBinding, whose roleRef cannot be changed, was
	// replaced.
	DriftReplaced DriftAction = "Replaced"
	// DriftReported says that nothing was done: the baseline is in Audit mode.
	DriftReported DriftAction = "Reported"
)
