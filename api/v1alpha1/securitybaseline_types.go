package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SecurityBaseline defines the security controls that apply to the namespaces
// that it selects. The operator applies the controls, reverts drift and reports
// what it finds.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=sb,categories=security
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Namespaces",type=integer,JSONPath=`.status.namespaces.governed`
// +kubebuilder:printcolumn:name="Compliant",type=integer,JSONPath=`.status.namespaces.compliant`
// +kubebuilder:printcolumn:name="Drifted",type=integer,JSONPath=`.status.namespaces.drifted`
// +kubebuilder:printcolumn:name="Violating",type=integer,priority=1,JSONPath=`.status.namespaces.violating`
// +kubebuilder:printcolumn:name="Contested",type=integer,priority=1,JSONPath=`.status.namespaces.contested`
// +kubebuilder:printcolumn:name="Excepted",type=integer,priority=1,JSONPath=`.status.namespaces.excepted`
// +kubebuilder:printcolumn:name="Failed",type=integer,priority=1,JSONPath=`.status.namespaces.failed`
// +kubebuilder:printcolumn:name="Violations",type=integer,priority=1,JSONPath=`.status.violationsTotal`
// +kubebuilder:printcolumn:name="Cluster Admin",type=string,priority=1,JSONPath=`.status.clusterAdmin.state`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Last Drift",type=date,JSONPath=`.status.lastDrift.detectionTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",fieldPath=".metadata",message="metadata.name must have at most 63 characters, because it is the value of a label on the objects that the operator manages; choose a shorter name"
type SecurityBaseline struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata.
	// https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec defines which namespaces the baseline selects and which controls it
	// declares.
	// +required
	Spec SecurityBaselineSpec `json:"spec"`

	// status reports what the operator observes. The default observedGeneration of
	// -1 tells tools that use kstatus that the operator has not evaluated a new
	// baseline yet.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status SecurityBaselineStatus `json:"status,omitzero"`
}

// SecurityBaselineList is a list of SecurityBaselines.
//
// +kubebuilder:object:root=true
type SecurityBaselineList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard list metadata.
	metav1.ListMeta `json:"metadata,omitempty"`

	// items are the SecurityBaselines.
	Items []SecurityBaseline `json:"items"`
}

// SecurityBaselineSpec defines which namespaces a baseline selects and which
// controls it declares. A control is declared if its section is present.
//
// +kubebuilder:validation:XValidation:rule="CONTROLS",message="spec declares no control, so it would do nothing; add at least one of CONTROLS"
type SecurityBaselineSpec struct {
	// mode selects whether the baseline is enforced (Enforce, the default) or only
	// evaluated and reported (Audit). In Audit mode, the operator changes nothing
	// in the selected namespaces; their BaselineReports list what Enforce would
	// change. A baseline in Audit mode never overrides a baseline that enforces.
	// +optional
	// +kubebuilder:default=Enforce
	Mode Mode `json:"mode,omitempty"`

	// priority decides which baseline governs a control if several baselines
	// select a namespace and declare that control. The baseline with the highest
	// priority governs; if priorities are equal, the oldest baseline does, and
	// then the first by name. Baselines are never merged. Defaults to 0.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=-2147483648
	// +kubebuilder:validation:Maximum=2147483647
	Priority int32 `json:"priority,omitempty"`

	// namespaceSelector selects the namespaces to govern by their labels; {}
	// selects every namespace. System namespaces, such as kube-system, are never
	// governed. Example: {matchLabels: {env: production}}.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, !format.qualifiedName().validate(e.key).hasValue())",message="matchExpressions must have valid label keys, such as app or example.com/app"
	NamespaceSelector LabelSelector `json:"namespaceSelector"`

	// excludeNamespaces lists the names of namespaces that the baseline does not
	// govern, although namespaceSelector selects them. Example: [monitoring].
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="excludeNamespaces must hold the names of namespaces; for patterns, use namespaceSelector and labels"
	ExcludeNamespaces []string `json:"excludeNamespaces,omitempty"`

	// deletionPolicy selects what happens to the objects and labels of this
	// baseline when you delete it. Retain, the default, keeps them, so that
	// deleting a baseline by mistake does not open the cluster. Remove removes
	// exactly these objects and labels.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// podSecurity sets the Pod Security Standards that pods must meet.
	// +optional
	PodSecurity *PodSecurity `json:"podSecurity,omitempty"`

	// network denies traffic by default and allows exceptions to that.
	// +optional
	Network *Network `json:"network,omitempty"`

	// rbac grants roles in each governed namespace and limits who may be bound to
	// cluster-admin.
	// +optional
	RBAC *RBAC `json:"rbac,omitempty"`

	// serviceAccounts configures the ServiceAccount named default of each governed
	// namespace.
	// +optional
	ServiceAccounts *ServiceAccounts `json:"serviceAccounts,omitempty"`

	// resources limits how much each governed namespace, and each container in it,
	// can use.
	// +optional
	Resources *Resources `json:"resources,omitempty"`

	// images restricts which images pods can use.
	// +optional
	Images *Images `json:"images,omitempty"`

	// workloads sets what pods and pod templates must specify.
	// +optional
	Workloads *Workloads `json:"workloads,omitempty"`

	// guard protects the objects and labels that the operator manages from changes
	// by others.
	// +optional
	Guard *Guard `json:"guard,omitempty"`

	// contact tells users where to ask for help after a request was denied, for
	// example "#platform" or an email address. It ends the message of each denied
	// request.
	// +optional
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule="!self.contains('\\n')",message="contact must be one line, because it ends the message of each denied request"
	Contact string `json:"contact,omitempty"`

	// exceptions turn controls of this baseline off in some namespaces, with a
	// reason and an optional expiration time.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Exceptions []Exception `json:"exceptions,omitempty"`
}

// Mode selects whether a baseline is enforced or only evaluated and reported.
//
// +kubebuilder:validation:Enum=Enforce;Audit
type Mode string

const (
	// ModeEnforce applies the baseline and reverts drift.
	ModeEnforce Mode = "Enforce"
	// ModeAudit only reports what ModeEnforce would change.
	ModeAudit Mode = "Audit"
)

// IsAudit reports whether the baseline is in Audit mode.
func (s *SecurityBaselineSpec) IsAudit() bool {
	return s.Mode == ModeAudit
}

// DeletionPolicy selects what happens to the managed objects and labels of a
// baseline when the baseline is deleted.
//
// +kubebuilder:validation:Enum=Retain;Remove
type DeletionPolicy string

const (
	// DeletionRetain keeps the managed objects and labels.
	DeletionRetain DeletionPolicy = "Retain"
	// DeletionRemove removes exactly the managed objects and labels.
	DeletionRemove DeletionPolicy = "Remove"
)
