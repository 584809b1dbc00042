package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ControlName names a control wherever one is named: in exceptions, reports,
// status and metrics.
//
// +kubebuilder:validation:Enum=PodSecurity;Network;RBAC;ServiceAccounts;Resources;Images;Workloads;Guard
type ControlName string

const (
	// ControlPodSecurity is spec.podSecurity.
	ControlPodSecurity ControlName = "PodSecurity"
	// ControlNetwork is spec.network.
	ControlNetwork ControlName = "Network"
	// ControlRBAC is spec.rbac.
	ControlRBAC ControlName = "RBAC"
	// ControlServiceAccounts is spec.serviceAccounts.
	ControlServiceAccounts ControlName = "ServiceAccounts"
	// ControlResources is spec.resources.
	ControlResources ControlName = "Resources"
	// ControlImages is spec.images.
	ControlImages ControlName = "Images"
	// ControlWorkloads is spec.workloads.
	ControlWorkloads ControlName = "Workloads"
	// ControlGuard is spec.guard.
	ControlGuard ControlName = "Guard"
)

// State says how a control, or a namespace as a whole, compares to its baseline.
//
// +kubebuilder:validation:Enum=Compliant;Excepted;Violating;Drifted;Contested;Conflict;Failed
type State string

const (
	// StateCompliant says that everything is as the baseline says, or stricter.
	StateCompliant State = "Compliant"
	// StateExcepted says that an exception takes the control out of the namespace.
	StateExcepted State = "Excepted"
	// StateViolating says that something is there that the baseline forbids and the
	// operator does not touch: pods that the wanted pod-security level rejects, a
	// NetworkPolicy that undoes the default-deny, a binding to cluster-admin.
	StateViolating State = "Violating"
	// StateDrifted says that something differs and is not healed yet or, in Audit
	// mode, not at all.
	StateDrifted State = "Drifted"
	// StateContested says that somebody keeps changing back what the operator puts
	// right.
	StateContested State = "Contested"
	// StateConflict says that an object of a name that the baseline needs exists
	// and the operator did not make it. It is left alone.
	StateConflict State = "Conflict"
	// StateFailed says that the API server refused what the baseline asks for.
	StateFailed State = "Failed"
)

// Condition types of a SecurityBaseline. Reconciling and Stalled are present
// only while they hold, as kstatus asks, so that GitOps tools read health from
// them.
// https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
const (
	// ConditionReady is True when every selected namespace has been evaluated at
	// this generation and nothing failed.
	ConditionReady = "Ready"
	// ConditionDrifted is True while something differs from the baseline: what is
	// not put right yet, what somebody keeps changing back and, in Audit mode, all
	// that Enforce would change.
	ConditionDrifted = "Drifted"
	// ConditionCompliant is True when every governed namespace is compliant.
	ConditionCompliant = "Compliant"
	// ConditionReconciling is present while namespaces remain to be evaluated,
	// or what the baseline gave is being removed.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present while something was refused that will not
	// mend itself.
	ConditionStalled = "Stalled"
	// ConditionNewNamespacesHardened is True when a namespace that the baseline selects gets
	// its labels at its creation, inside the API server. It is present only if the
	// baseline enforces something by labels.
	ConditionNewNamespacesHardened = "NewNamespacesHardened"
)

// Reasons of the conditions of a SecurityBaseline.
const (
	// ReasonEvaluated: every selected namespace is evaluated at this generation.
	ReasonEvaluated = "Evaluated"
	// ReasonEvaluating: some selected namespaces are not evaluated at this
	// generation yet.
	ReasonEvaluating = "Evaluating"
	// ReasonNothingGoverned: no namespace is selected, or every control that the
	// baseline declares is governed by another baseline.
	ReasonNoNamespaceGoverned = "NoNamespaceGoverned"
	// ReasonWriteRejected: the API server refused something in a namespace.
	ReasonWriteRejected = "WriteRejected"
	// ReasonObjectConflict: an object that the operator did not make is in the way.
	ReasonObjectConflict = "ObjectConflict"
	// ReasonDriftFound: something differs from the baseline and is not healed.
	ReasonDriftDetected = "DriftDetected"
	// ReasonContested: somebody keeps changing back what the operator puts right.
	ReasonContested = "Contested"
	// ReasonViolationsFound: something is there that the baseline forbids and the operator
	// does not touch.
	ReasonViolationsFound = "ViolationsFound"
	// ReasonNoDrift: nothing differs from the baseline.
	ReasonNoDrift = "NoDrift"
	// ReasonAsDeclared: every governed namespace is as the baseline says.
	ReasonAllCompliant = "AllCompliant"
	// ReasonInvalidSelector: spec.namespaceSelector selects nothing because it is
	// not a valid selector, in a way that the CRD could not tell.
	ReasonInvalidSelector = "InvalidSelector"
	// ReasonPolicyReady: the admission policy and its binding are in place.
	ReasonPolicyReady = "PolicyReady"
	// ReasonPolicyNotReady: the admission policy or its binding is not in place yet.
	ReasonPolicyNotReady = "PolicyNotReady"
	// ReasonMutatingAdmissionUnavailable: the API server has no MutatingAdmissionPolicy v1.
	ReasonMutatingAdmissionUnavailable = "MutatingAdmissionUnavailable"
	// ReasonRemovingManagedObjects: the baseline is being deleted and what it gave with it.
	ReasonRemovingManagedObjects = "RemovingManagedObjects"
)

// SecurityBaselineStatus is what the operator has found and done. Its size does
// not grow with the cluster.
type SecurityBaselineStatus struct {
	// The generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Ready, Drifted, Compliant; NewNamespacesHardened, if the baseline labels new namespaces;
	// Reconciling and Stalled while they hold.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// How many namespaces are in which state.
	// +optional
	Namespaces NamespaceCounts `json:"namespaces"`

	// How many namespaces are in which state, for each declared control.
	// +optional
	// +listType=map
	// +listMapKey=name
	Controls []ControlCounts `json:"controls,omitempty"`

	// What is not compliant: at most 20, sorted by namespace.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Violations []Violation `json:"violations,omitempty"`

	// How many are not compliant, listed or not.
	// +optional
	ViolationsTotal int32 `json:"violationsTotal,omitempty"`

	// The newest drift.
	// +optional
	LastDrift *NamespacedDrift `json:"lastDrift,omitempty"`

	// How many drifts were seen in the namespaces that exist now.
	// +optional
	DriftsTotal int64 `json:"driftsTotal,omitempty"`

	// How many pods run, in all namespaces, that the wanted pod-security level
	// rejects, as far as the API server names them.
	// +optional
	ViolatingPodsTotal int32 `json:"violatingPodsTotal,omitempty"`

	// The baseline's exceptions; absent if it has none.
	// +optional
	Exceptions *ExceptionStatus `json:"exceptions,omitempty"`

	// What is worth knowing of the cluster as a whole although it is compliant: at
	// most 20, of at most 256 bytes each.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Findings []string `json:"findings,omitempty"`

	// How it is with rbac.clusterAdmin in the whole cluster; absent, if the baseline
	// does not declare it or another one governs it.
	// +optional
	ClusterAdmin *ClusterAdminStatus `json:"clusterAdmin,omitempty"`

	// What the admission policies, whose parameter the baseline is, need to know
	// besides the spec.
	// +optional
	Admission *AdmissionStatus `json:"admission,omitempty"`
}

// ClusterAdminStatus says how it is with who may do everything.
type ClusterAdminStatus struct {
	// Compliant, Violating, or Failed where the policy could not be put in place.
	State State `json:"state"`

	// How many bindings grant everything to somebody who is not allowed to hold it.
	// +optional
	ViolatingBindingsTotal int32 `json:"violatingBindingsTotal"`
}

// AdmissionStatus is what admission policies cannot find out by themselves. They
// read one object only: the baseline.
type AdmissionStatus struct {
	// The user that the operator is: the guard lets it through.
	Operator string `json:"operator"`

	// The keys of the labels by which any baseline selects namespaces or names
	// subjects: the guard protects them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	GuardedLabels []string `json:"guardedLabels,omitempty"`

	// The namespaces that are never governed, so that none of them is given
	// anything at its birth.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	ProtectedNamespaces []string `json:"protectedNamespaces,omitempty"`

	// The baselines with precedence over this one, and what they select: a new
	// namespace gets from this one only what none of them governs.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	HigherPrecedence []HigherPrecedenceBaseline `json:"higherPrecedence,omitempty"`

	// The names of the exceptions that are in force.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	Exceptions []string `json:"exceptions,omitempty"`

	// The roles with all verbs on all resources: of ClusterRoles the name, of Roles
	// namespace/name. Present if this baseline governs rbac.clusterAdmin or audits
	// it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=200
	PrivilegedRoles []string `json:"privilegedRoles,omitempty"`
}

// Preceding is a baseline with precedence.
type HigherPrecedenceBaseline struct {
	Name string `json:"name"`

	// What it governs of what this one declares too.
	// +listType=set
	Controls []ControlName `json:"controls"`

	// What its selector requires of a namespace's labels: all of it.
	// +optional
	// +listType=atomic
	Requirements []metav1.LabelSelectorRequirement `json:"requirements,omitempty"`

	// The namespaces that it excludes.
	// +optional
	// +listType=set
	ExcludeNamespaces []string `json:"excludeNamespaces,omitempty"`
}

// ExceptionStatus says how it is with a baseline's exceptions.
type ExceptionStatus struct {
	// How many are in force.
	Active int32 `json:"active"`

	// How many have expired; they may be removed.
	Expired int32 `json:"expired"`

	// How many of those in force name a namespace that the baseline does not
	// select, or a control that it does not declare: a typing error, perhaps.
	Unmatched int32 `json:"unmatched"`

	// Which these are and why: at most 20, of at most 256 bytes each.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Findings []string `json:"findings,omitempty"`

	// Events were emitted for what was due until then.
	// +optional
	LastAnnouncedTime *metav1.Time `json:"lastAnnouncedTime,omitempty"`
}

// StateCounts counts by State.
type StateCounts struct {
	// +optional
	Compliant int32 `json:"compliant"`
	// +optional
	Excepted int32 `json:"excepted"`
	// +optional
	Violating int32 `json:"violating"`
	// +optional
	Drifted int32 `json:"drifted"`
	// +optional
	Contested int32 `json:"contested"`
	// +optional
	Conflict int32 `json:"conflict"`
	// +optional
	Failed int32 `json:"failed"`
	// Not evaluated yet at this generation.
	// +optional
	Pending int32 `json:"pending"`
	// Selected, but another baseline governs.
	// +optional
	Overridden int32 `json:"overridden"`
}

// NamespaceCounts counts namespaces.
type NamespaceCounts struct {
	// In how many namespaces this baseline governs at least one control, those
	// that are not evaluated yet included.
	// +optional
	Governed int32 `json:"governed"`

	StateCounts `json:",inline"`
}

// ControlCounts counts namespaces for one control.
type ControlCounts struct {
	Name ControlName `json:"name"`

	StateCounts `json:",inline"`
}

// Violation is a control that is not compliant in a namespace, or in the cluster
// as a whole.
type Violation struct {
	// The namespace; absent, if it is about the whole cluster.
	// +optional
	Namespace string      `json:"namespace,omitempty"`
	Control   ControlName `json:"control"`
	State     State       `json:"state"`
	// What is wrong and what to do, at most 256 bytes. The namespace's report
	// has the rest.
	// +optional
	Message string `json:"message,omitempty"`
}

// NamespacedDrift is a Drift and where it was.
type NamespacedDrift struct {
	Namespace string `json:"namespace"`
	Drift     `json:",inline"`
}
