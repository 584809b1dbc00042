package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// State is the result of comparing a control, or a whole namespace, with its
// baseline.
//
// +kubebuilder:validation:Enum=Compliant;Excepted;Violating;Drifted;Contested;Conflict;Failed
type State string

const (
	// StateCompliant means that everything matches the baseline or is stricter.
	StateCompliant State = "Compliant"
	// StateExcepted means that an exception turns the control off in the namespace.
	StateExcepted State = "Excepted"
	// StateViolating means that the namespace contains something that the baseline
	// forbids and the operator does not change: pods that the expected Pod Security
	// level rejects, a NetworkPolicy that undoes the default-deny policy, or a
	// binding to cluster-admin.
	StateViolating State = "Violating"
	// StateDrifted means that something differs from the baseline and is not
	// reverted yet or, in Audit mode, is not reverted at all.
	StateDrifted State = "Drifted"
	// StateContested means that another author repeatedly undoes what the operator
	// reverts.
	StateContested State = "Contested"
	// StateConflict means that an object with a name that the baseline needs exists
	// and the operator did not create it. The operator does not change the object.
	StateConflict State = "Conflict"
	// StateFailed means that the API server rejected what the operator wrote.
	StateFailed State = "Failed"
)

// SecurityBaselineStatus reports what the operator observes. Its size does not
// grow with the size of the cluster.
type SecurityBaselineStatus struct {
	// conditions are Ready, Drifted and Compliant; NewNamespacesHardened if the
	// baseline labels new namespaces; and Reconciling and Stalled while they are
	// true.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status describes.
	// It is -1 before the first evaluation.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// namespaces counts the selected namespaces by state.
	// +optional
	Namespaces NamespaceCounts `json:"namespaces"`

	// controls counts the selected namespaces by state, for each declared control.
	// +optional
	// +listType=map
	// +listMapKey=name
	Controls []ControlCounts `json:"controls,omitempty"`

	// violations lists at most 20 controls that are not compliant, sorted by
	// namespace.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Violations []Violation `json:"violations,omitempty"`

	// violationsTotal is the number of controls that are not compliant, whether or
	// not violations lists them.
	// +optional
	ViolationsTotal int32 `json:"violationsTotal,omitempty"`

	// lastDrift is the most recent drift.
	// +optional
	LastDrift *NamespacedDrift `json:"lastDrift,omitempty"`

	// driftsTotal is the number of drifts that were detected in the namespaces
	// that exist now.
	// +optional
	DriftsTotal int64 `json:"driftsTotal,omitempty"`

	// violatingPodsTotal is the number of running pods, in all namespaces, that
	// the expected Pod Security level rejects. It counts the pods that the API
	// server names.
	// +optional
	ViolatingPodsTotal int32 `json:"violatingPodsTotal,omitempty"`

	// exceptions summarizes spec.exceptions. It is absent if the baseline has
	// none.
	// +optional
	Exceptions *ExceptionStatus `json:"exceptions,omitempty"`

	// findings lists observations about the whole cluster that are not violations,
	// at most 20 of at most 256 bytes each.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Findings []string `json:"findings,omitempty"`

	// clusterAdmin summarizes compliance with spec.rbac.clusterAdmin. It is absent
	// if the baseline does not declare it or another baseline governs it.
	// +optional
	ClusterAdmin *ClusterAdminStatus `json:"clusterAdmin,omitempty"`

	// admission is what the admission policies, which have the baseline as their
	// parameter, need in addition to the spec.
	// +optional
	Admission *AdmissionStatus `json:"admission,omitempty"`
}

// ClusterAdminStatus summarizes compliance with spec.rbac.clusterAdmin in the
// whole cluster.
type ClusterAdminStatus struct {
	// state is Compliant or Violating, or Failed if the operator could not create
	// the admission policy.
	// +required
	State State `json:"state"`

	// violatingBindingsTotal is the number of bindings that grant all permissions
	// to a subject that is not allowed.
	// +optional
	ViolatingBindingsTotal int32 `json:"violatingBindingsTotal"`
}

// AdmissionStatus is what admission policies cannot find out themselves. They
// can read only one object, the baseline.
type AdmissionStatus struct {
	// operator is the user name of the operator. The guard allows its changes.
	// +required
	Operator string `json:"operator"`

	// guardedLabels lists the keys of the labels by which any baseline selects
	// namespaces or names subjects. The guard protects them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	GuardedLabels []string `json:"guardedLabels,omitempty"`

	// protectedNamespaces lists the namespaces that are never governed. They get
	// no labels at creation.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	ProtectedNamespaces []string `json:"protectedNamespaces,omitempty"`

	// higherPrecedence lists the baselines with a higher precedence than this one,
	// and what they select. A new namespace gets labels from this baseline only
	// for the controls that none of them governs.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	HigherPrecedence []HigherPrecedenceBaseline `json:"higherPrecedence,omitempty"`

	// exceptions lists the names of the active exceptions.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	Exceptions []string `json:"exceptions,omitempty"`

	// privilegedRoles lists the roles with all verbs on all resources: NAME for a
	// ClusterRole, NAMESPACE/NAME for a Role. It is present if this baseline
	// governs or audits rbac.clusterAdmin.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=200
	PrivilegedRoles []string `json:"privilegedRoles,omitempty"`
}

// HigherPrecedenceBaseline is a baseline with a higher precedence.
type HigherPrecedenceBaseline struct {
	// name is the name of the baseline.
	// +required
	Name string `json:"name"`

	// controls lists the controls that the baseline governs and that this baseline
	// declares as well.
	// +required
	// +listType=set
	Controls []ControlName `json:"controls"`

	// requirements are what the baseline's selector requires of the labels of a
	// namespace. A namespace must meet all of them.
	// +optional
	// +listType=atomic
	Requirements []metav1.LabelSelectorRequirement `json:"requirements,omitempty"`

	// excludeNamespaces lists the namespaces that the baseline excludes.
	// +optional
	// +listType=set
	ExcludeNamespaces []string `json:"excludeNamespaces,omitempty"`
}

// ExceptionStatus summarizes the exceptions of a baseline.
type ExceptionStatus struct {
	// active is the number of active exceptions.
	// +required
	Active int32 `json:"active"`

	// expired is the number of expired exceptions. You can remove them.
	// +required
	Expired int32 `json:"expired"`

	// unmatched is the number of active exceptions that name a namespace that the
	// baseline does not select, or a control that it does not declare. The cause
	// may be a typing error.
	// +required
	Unmatched int32 `json:"unmatched"`

	// findings lists the unmatched exceptions and the reasons, at most 20 of at
	// most 256 bytes each.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Findings []string `json:"findings,omitempty"`

	// lastAnnouncedTime is the time up to which the operator has emitted events
	// about expiring and expired exceptions.
	// +optional
	LastAnnouncedTime *metav1.Time `json:"lastAnnouncedTime,omitempty"`
}

// StateCounts counts namespaces by State.
type StateCounts struct {
	// compliant is the number of namespaces in the state Compliant.
	// +optional
	Compliant int32 `json:"compliant"`

	// excepted is the number of namespaces in the state Excepted.
	// +optional
	Excepted int32 `json:"excepted"`

	// violating is the number of namespaces in the state Violating.
	// +optional
	Violating int32 `json:"violating"`

	// drifted is the number of namespaces in the state Drifted.
	// +optional
	Drifted int32 `json:"drifted"`

	// contested is the number of namespaces in the state Contested.
	// +optional
	Contested int32 `json:"contested"`

	// conflict is the number of namespaces in the state Conflict.
	// +optional
	Conflict int32 `json:"conflict"`

	// failed is the number of namespaces in the state Failed.
	// +optional
	Failed int32 `json:"failed"`

	// pending is the number of namespaces that are not evaluated at this
	// generation yet.
	// +optional
	Pending int32 `json:"pending"`

	// overridden is the number of namespaces that the baseline selects but another
	// baseline governs.
	// +optional
	Overridden int32 `json:"overridden"`
}

// NamespaceCounts counts the selected namespaces.
type NamespaceCounts struct {
	// governed is the number of namespaces in which this baseline governs at least
	// one control. It includes namespaces that are not evaluated yet.
	// +optional
	Governed int32 `json:"governed"`

	StateCounts `json:",inline"`
}

// ControlCounts counts the selected namespaces for one control.
type ControlCounts struct {
	// name is the name of the control.
	// +required
	Name ControlName `json:"name"`

	StateCounts `json:",inline"`
}

// Violation is a control that is not compliant in a namespace or in the whole
// cluster.
type Violation struct {
	// namespace is the name of the namespace. It is absent if the violation is
	// about the whole cluster.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// control is the name of the control.
	// +required
	Control ControlName `json:"control"`

	// state is the state of the control.
	// +required
	State State `json:"state"`

	// message describes what is wrong and what to do, in at most 256 bytes. The
	// report of the namespace has the full text.
	// +optional
	Message string `json:"message,omitempty"`
}

// NamespacedDrift is a Drift and its namespace.
type NamespacedDrift struct {
	// namespace is the name of the namespace.
	// +required
	Namespace string `json:"namespace"`

	Drift `json:",inline"`
}
