package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// BaselineReport reports which controls apply to its namespace, whether the
// namespace complies, and what drifted. Only the operator writes it; its name
// is always security-baseline. It is also the operator's inventory: the
// operator sums the status of each SecurityBaseline from the reports.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=br,categories=security
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.state`
// +kubebuilder:printcolumn:name="Baselines",type=string,JSONPath=`.summary.baselines`
// +kubebuilder:printcolumn:name="Controls",type=string,JSONPath=`.summary.compliantControls`
// +kubebuilder:printcolumn:name="Drifts",type=integer,JSONPath=`.summary.driftsTotal`
// +kubebuilder:printcolumn:name="Last Drift",type=date,JSONPath=`.summary.lastDriftTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'security-baseline'",message="a BaselineReport must be named security-baseline; the operator writes one in each namespace"
type BaselineReport struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata.
	// https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	BaselineReportData `json:",inline"`
}

// BaselineReportData is the content of a report.
type BaselineReportData struct {
	// state is the worst state of all controls.
	// +optional
	State State `json:"state,omitempty"`

	// summary is what kubectl get shows.
	// +optional
	Summary ReportSummary `json:"summary,omitzero"`

	// observedBaselines lists the baselines that select this namespace, with the
	// generation that the operator evaluated.
	// +optional
	// +listType=atomic
	ObservedBaselines []ObservedBaseline `json:"observedBaselines,omitempty"`

	// controls lists the controls that apply, those that are audited and those
	// that are excepted, with their state.
	// +optional
	// +listType=atomic
	Controls []ControlReport `json:"controls,omitempty"`

	// drifts lists the last 20 drifts, newest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Drifts []Drift `json:"drifts,omitempty"`
}

// HasObserved reports whether observedBaselines contains the named baseline.
func (r *BaselineReportData) HasObserved(baseline string) bool {
	return slices.ContainsFunc(r.ObservedBaselines, func(observed ObservedBaseline) bool { return observed.Name == baseline })
}

// BaselineReportList is a list of BaselineReports.
//
// +kubebuilder:object:root=true
type BaselineReportList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard list metadata.
	metav1.ListMeta `json:"metadata,omitempty"`

	// items are the BaselineReports.
	Items []BaselineReport `json:"items"`
}

// ReportSummary is what kubectl get shows of a report.
type ReportSummary struct {
	// baselines are the names of the baselines that have an entry in controls,
	// separated by commas.
	// +optional
	Baselines string `json:"baselines,omitempty"`

	// compliantControls is the number of compliant controls and the number of all
	// controls, such as 3/4.
	// +optional
	CompliantControls string `json:"compliantControls,omitempty"`

	// driftsTotal is the number of drifts that were detected, whether or not
	// drifts lists them.
	// +optional
	DriftsTotal int64 `json:"driftsTotal"`

	// lastDriftTime is when the most recent drift was detected.
	// +optional
	LastDriftTime *metav1.Time `json:"lastDriftTime,omitempty"`
}

// ObservedBaseline is a baseline that selects the namespace.
type ObservedBaseline struct {
	// name is the name of the baseline.
	// +required
	Name string `json:"name"`

	// generation is the generation of the baseline's spec that the operator
	// evaluated.
	// +required
	Generation int64 `json:"generation"`
}

// ControlReport is the state of one control of one baseline.
type ControlReport struct {
	// name is the name of the control.
	// +required
	Name ControlName `json:"name"`

	// baseline is the name of the baseline that governs the control in this
	// namespace, audits it, or excepts the namespace from it.
	// +required
	Baseline string `json:"baseline"`

	// mode is the mode of the baseline, Enforce or Audit.
	// +optional
	Mode Mode `json:"mode,omitempty"`

	// state is the state of the control.
	// +required
	State State `json:"state"`

	// message describes what is wrong and what to do about it.
	// +optional
	Message string `json:"message,omitempty"`

	// findings lists observations that are not violations.
	// +optional
	// +listType=atomic
	Findings []string `json:"findings,omitempty"`

	// changes lists, in Audit mode, what Enforce would do, for at most 50 objects.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Changes []Change `json:"changes,omitempty"`

	// changesTotal is the number of objects that Enforce would change, whether or
	// not changes lists them.
	// +optional
	ChangesTotal int32 `json:"changesTotal,omitempty"`

	// exception is the exception that turns the control off in this namespace.
	// +optional
	Exception *ActiveException `json:"exception,omitempty"`

	// podSecurity compares the running pods with the expected Pod Security level.
	// +optional
	PodSecurity *PodSecurityReport `json:"podSecurity,omitempty"`

	// inventory lists the managed objects as the operator applied them. If an
	// object differs from its entry while the baseline is unchanged, the
	// difference is drift.
	// +optional
	// +listType=atomic
	Inventory []InventoryEntry `json:"inventory,omitempty"`

	// driftsTotal is the number of drifts of this control that were detected since
	// the baseline governs it.
	// +optional
	DriftsTotal int64 `json:"driftsTotal,omitempty"`
}

// IsGoverning reports whether the entry belongs to the baseline that governs
// the control, rather than to one that audits it or excepts the namespace.
func (c *ControlReport) IsGoverning() bool {
	return c.Mode != ModeAudit && c.State != StateExcepted
}

// Change is what Enforce would do to one object.
type Change struct {
	// object is the object, as Kind/name.
	// +required
	Object string `json:"object"`

	// action is what Enforce would do: Create, Configure, Replace or Remove.
	// +required
	Action ChangeAction `json:"action"`

	// fields lists the fields that differ. It is empty if Enforce would create or
	// remove the object.
	// +optional
	// +listType=atomic
	Fields []FieldDifference `json:"fields,omitempty"`
}

// ChangeAction is what Enforce would do to an object.
//
// +kubebuilder:validation:Enum=Create;Configure;Replace;Remove
type ChangeAction string

const (
	// ChangeCreate means that the object is missing.
	ChangeCreate ChangeAction = "Create"
	// ChangeConfigure means that fields differ.
	ChangeConfigure ChangeAction = "Configure"
	// ChangeReplace means that a RoleBinding grants another role. Its roleRef cannot
	// be changed.
	ChangeReplace ChangeAction = "Replace"
	// ChangeRemove means that the object belongs to a baseline but this baseline does
	// not declare it.
	ChangeRemove ChangeAction = "Remove"
)

// FieldDifference is a field whose value differs from the baseline.
type FieldDifference struct {
	// path is the path of the field.
	// +required
	Path string `json:"path"`

	// expected is the value that the baseline declares, as JSON of at most 256
	// bytes; strings have no quotes. For a list, it contains only the elements
	// that are missing. It is empty if the field must be absent.
	// +optional
	Expected string `json:"expected,omitempty"`

	// actual is the value that the operator found, in the same format. For a list,
	// it contains only the elements that are not expected.
	// +optional
	Actual string `json:"actual,omitempty"`
}

// ActiveException is an exception that turns a control off in a namespace.
type ActiveException struct {
	// name is the name of the exception.
	// +required
	Name string `json:"name"`

	// reason explains why the exception exists.
	// +required
	Reason string `json:"reason"`

	// expirationTime is when the control applies again. If it is absent, the
	// exception never expires.
	// +optional
	ExpirationTime *metav1.Time `json:"expirationTime,omitempty"`
}

// InventoryEntry is an object as the operator applied it.
type InventoryEntry struct {
	// object is the object, as Kind/name.
	// +required
	Object string `json:"object"`

	// uid is the UID of the object. A recreated object with the same name has
	// another UID.
	// +required
	UID types.UID `json:"uid"`

	// revision is a fingerprint of what the operator applied.
	// +required
	Revision string `json:"revision"`
}
