package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SecurityBaseline says what hardened means for the namespaces that it selects.
// The operator makes it true there, keeps it true, and reports what drifted.
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
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",fieldPath=".metadata",message="metadata.name must have at most 63 characters, because it becomes the value of a label on what the baseline gives; choose a shorter name"
type SecurityBaseline struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What hardened means.
	// +required
	Spec SecurityBaselineSpec `json:"spec"`

	// What the operator has found and done.
	//
	// Its default tells tools that wait by kstatus that a new baseline has not
	// been looked at yet.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status SecurityBaselineStatus `json:"status,omitempty"`
}

// SecurityBaselineList is a list of SecurityBaselines.
//
// +kubebuilder:object:root=true
type SecurityBaselineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SecurityBaseline `json:"items"`
}

// SecurityBaselineSpec says which namespaces a baseline governs and how. A
// control is in force only where its section is present.
//
// +kubebuilder:validation:XValidation:rule="has(self.podSecurity) || has(self.network) || has(self.rbac) || has(self.serviceAccounts) || has(self.resources) || has(self.images) || has(self.workloads) || has(self.guard)",message="spec declares no control, so it would do nothing; add at least one of podSecurity, network, rbac, serviceAccounts, resources, images, workloads, guard"
type SecurityBaselineSpec struct {
	// Enforce, the default, makes it so. Audit writes nothing into any namespace
	// and reports what Enforce would change there; it does not take the place of
	// a baseline that enforces.
	// +optional
	// +kubebuilder:default=Enforce
	Mode Mode `json:"mode,omitempty"`

	// Which baseline governs a control where several select a namespace and
	// declare it: the one with the highest priority, then the oldest, then the
	// first by name. 0 unless stated.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=-2147483648
	// +kubebuilder:validation:Maximum=2147483647
	Priority int32 `json:"priority,omitempty"`

	// The namespaces to govern, by their labels; {} selects every namespace.
	// Namespaces of the cluster itself (kube-system, ...) are never governed.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, !format.qualifiedName().validate(e.key).hasValue())",message="matchExpressions must have valid label keys, such as app or example.com/app"
	NamespaceSelector LabelSelector `json:"namespaceSelector"`

	// Names of namespaces to leave alone although they are selected.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="excludeNamespaces must hold the names of namespaces; for patterns, use namespaceSelector and labels"
	ExcludeNamespaces []string `json:"excludeNamespaces,omitempty"`

	// What happens, when this baseline is deleted, to the objects and labels that
	// it gave: Retain, the default, keeps them, so that deleting one object by
	// mistake does not open a cluster; Remove removes exactly these.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// The Pod Security Standards that pods must meet.
	// +optional
	PodSecurity *PodSecurity `json:"podSecurity,omitempty"`

	// Which traffic is denied, and what is allowed all the same.
	// +optional
	Network *Network `json:"network,omitempty"`

	// Who may do what in each governed namespace, and who in the whole cluster.
	// +optional
	RBAC *RBAC `json:"rbac,omitempty"`

	// What pods get of the API without asking for it.
	// +optional
	ServiceAccounts *ServiceAccounts `json:"serviceAccounts,omitempty"`

	// How much each governed namespace, and a container in it, may use.
	// +optional
	Resources *Resources `json:"resources,omitempty"`

	// Which images may run.
	// +optional
	Images *Images `json:"images,omitempty"`

	// What pods must state.
	// +optional
	Workloads *Workloads `json:"workloads,omitempty"`

	// Who may change what the operator wrote.
	// +optional
	Guard *Guard `json:"guard,omitempty"`

	// Where people ask who were refused something: a channel, an address. It ends
	// every such message.
	// +optional
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule="!self.contains('\\n')",message="contact must be one line: it ends the message of a refusal"
	Contact string `json:"contact,omitempty"`

	// Namespaces in which some controls of this baseline are not in force, for a
	// reason and, if stated, for a time.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Exceptions []Exception `json:"exceptions,omitempty"`
}

// Mode says whether a baseline is made so or only compared with what is there.
//
// +kubebuilder:validation:Enum=Enforce;Audit
type Mode string

const (
	// ModeEnforce makes it so.
	ModeEnforce Mode = "Enforce"
	// ModeAudit only reports what Enforce would change.
	ModeAudit Mode = "Audit"
)

// Audits says whether the baseline only reports what it would change.
func (s *SecurityBaselineSpec) IsAudit() bool {
	return s.Mode == ModeAudit
}

// Exception takes controls of the baseline that declares it out of namespaces,
// as if the baseline did not declare them there. Another baseline that declares
// them governs: an exception from one rule book is not one from all.
type Exception struct {
	// The exception's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="exceptions[].name must be lowercase letters, digits or '-', beginning and ending with a letter or digit"
	Name string `json:"name"`

	// The names of the namespaces.
	// +required
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="exceptions[].namespaces must hold the names of namespaces; there are no patterns, so that it is plain what is excepted"
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="exceptions[].namespaces is empty; name the namespaces that are excepted"
	Namespaces []string `json:"namespaces"`

	// The controls that are not in force there.
	// +required
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="exceptions[].controls is empty; name the controls that are not to be in force"
	Controls []ControlName `json:"controls"`

	// Why, for those who read it in a year.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="size(self) >= 10",message="exceptions[].reason must have at least 10 characters; say why, for those who read it in a year"
	Reason string `json:"reason"`

	// When the controls are in force again, to the second and with a time zone,
	// such as 2030-01-31T18:00:00Z (RFC 3339). Never, if absent. The operator writes
	// it down in UTC, in which its year must have four digits, too.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=25
	// +kubebuilder:validation:Pattern=`^[1-8][0-9]{3}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$|^9[0-9]{3}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+]([01][0-9]|2[0-3]):[0-5][0-9])$`
	ExpirationTime *metav1.Time `json:"expirationTime,omitempty"`
}

// InForce says whether the exception has not expired.
func (e *Exception) IsActive(now time.Time) bool {
	return e.ExpirationTime == nil || now.Before(e.ExpirationTime.Time)
}

// DeletionPolicy says what becomes of what a baseline gave when it is deleted.
//
// +kubebuilder:validation:Enum=Retain;Remove
type DeletionPolicy string

const (
	// DeletionRetain keeps what the baseline gave.
	DeletionRetain DeletionPolicy = "Retain"
	// DeletionRemove removes exactly what the baseline gave.
	DeletionRemove DeletionPolicy = "Remove"
)

// PodSecurity are the levels of the Pod Security Standards that Kubernetes' own
// admission holds pods to, as labels on each governed namespace. A level is a
// floor: a namespace that its owner labelled stricter keeps its label.
// https://kubernetes.io/docs/concepts/security/pod-security-standards/
//
// +kubebuilder:validation:XValidation:rule="has(self.enforce) || has(self.audit) || has(self.warn)",message="podSecurity states no level; add at least one of enforce, audit, warn"
// +kubebuilder:validation:XValidation:rule="!has(self.rollout) || self.rollout != 'WhenClean' || has(self.enforce)",message="podSecurity.rollout WhenClean needs a level to roll out; add podSecurity.enforce"
type PodSecurity struct {
	// Pods below this level are refused.
	// +optional
	Enforce PodSecurityLevel `json:"enforce,omitempty"`

	// Pods below this level are written to the API server's audit log.
	// +optional
	Audit PodSecurityLevel `json:"audit,omitempty"`

	// Whoever creates pods below this level is warned.
	// +optional
	Warn PodSecurityLevel `json:"warn,omitempty"`

	// The version of the standards: that of a Kubernetes minor release, or
	// latest, which is the default.
	// +optional
	// +kubebuilder:default=latest
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self == 'latest' || self.matches('^v1[.](0|[1-9][0-9]*)$')",message="podSecurity.version must be latest or the minor version of a Kubernetes release, such as v1.36"
	Version string `json:"version,omitempty"`

	// How enforce reaches a namespace whose running pods do not meet it. Immediate,
	// the default, sets it at once: these pods go on running, but could not be
	// made again. WhenClean sets the highest level that they meet, and raises it
	// when they meet more; audit and warn are set at once.
	// +optional
	// +kubebuilder:default=Immediate
	Rollout Rollout `json:"rollout,omitempty"`
}

// Rollout says when a pod-security level is enforced.
//
// +kubebuilder:validation:Enum=Immediate;WhenClean
type Rollout string

const (
	// RolloutImmediate enforces at once.
	RolloutImmediate Rollout = "Immediate"
	// RolloutWhenClean enforces what the running pods meet.
	RolloutWhenClean Rollout = "WhenClean"
)

// PodSecurityLevel is a level of the Pod Security Standards.
//
// +kubebuilder:validation:Enum=privileged;baseline;restricted
type PodSecurityLevel string

// Network says which traffic is denied in each governed namespace and what is
// allowed all the same. It becomes NetworkPolicies, which the cluster's network
// plugin must support to have any effect.
//
// +kubebuilder:validation:XValidation:rule="has(self.defaultDeny) || (has(self.policies) && size(self.policies) > 0)",message="network says nothing; add defaultDeny, policies or both"
// +kubebuilder:validation:XValidation:rule="!has(self.waitForDefaultDeny) || !self.waitForDefaultDeny || has(self.defaultDeny)",message="network.waitForDefaultDeny needs a default-deny policy to wait for; add network.defaultDeny"
// +kubebuilder:validation:XValidation:rule="!has(self.allow) || !has(self.allow.sameNamespace) || !self.allow.sameNamespace || has(self.defaultDeny)",message="network.allow.sameNamespace needs network.defaultDeny: where nothing is denied, an allowance would itself deny the rest"
// +kubebuilder:validation:XValidation:rule="!has(self.allow) || !has(self.allow.dns) || !self.allow.dns || (has(self.defaultDeny) && 'Egress' in self.defaultDeny)",message="network.allow.dns needs Egress in network.defaultDeny: where egress is not denied, an allowance would itself deny the rest"
// +kubebuilder:validation:XValidation:rule="(has(self.blockMetadataService) && !self.blockMetadataService) || !has(self.policies) || self.policies.all(p, !has(p.spec.egress) || p.spec.egress.all(r, !has(r.to) || r.to.all(peer, !has(peer.ipBlock) || !(peer.ipBlock.cidr in ['169.254.169.254/32', '169.254.0.23/32', '169.254.42.42/32', '100.100.100.200/32', '192.0.0.192/32', 'fd00:ec2::254/128', 'fd20:ce::254/128', 'fd00:c1::a9fe:a9fe/128', 'fd00:42::42/128', 'fd00:a9fe:a9fe::1/128', 'fe80::a9fe:a9fe/128']))))",message="network.policies allows a cloud metadata address by itself, which blockMetadataService takes away; drop that ipBlock or set network.blockMetadataService to false"
// +kubebuilder:validation:XValidation:rule="(has(self.blockMetadataService) && !self.blockMetadataService) || !has(self.policies) || self.policies.all(p, !has(p.spec.ingress) || p.spec.ingress.all(r, !has(r.from) || r.from.all(peer, !has(peer.ipBlock) || !(peer.ipBlock.cidr in ['169.254.169.254/32', '169.254.0.23/32', '169.254.42.42/32', '100.100.100.200/32', '192.0.0.192/32', 'fd00:ec2::254/128', 'fd20:ce::254/128', 'fd00:c1::a9fe:a9fe/128', 'fd00:42::42/128', 'fd00:a9fe:a9fe::1/128', 'fe80::a9fe:a9fe/128']))))",message="network.policies allows a cloud metadata address by itself, which blockMetadataService takes away; drop that ipBlock or set network.blockMetadataService to false"
type Network struct {
	// The directions, Ingress, Egress or both, in which every pod is denied all
	// traffic that no NetworkPolicy allows.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="network.defaultDeny names no direction; name Ingress, Egress or both, or leave defaultDeny out"
	DefaultDeny []Direction `json:"defaultDeny,omitempty"`

	// The usual allowances.
	// +optional
	Allow *NetworkAllow `json:"allow,omitempty"`

	// Further allowances: complete NetworkPolicies, by name. Each becomes a
	// NetworkPolicy named security-baseline-NAME in each governed namespace.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Policies []NamedNetworkPolicy `json:"policies,omitempty"`

	// Refuse the pods of a new namespace until its default-deny policy is in
	// place; whatever makes them tries again by itself. It needs a Kubernetes with
	// MutatingAdmissionPolicy, 1.36 or later.
	// +optional
	WaitForDefaultDeny bool `json:"waitForDefaultDeny,omitempty"`

	// Cut the addresses of the clouds' metadata services, which hand out the
	// node's credentials, out of every ipBlock that contains them. A rule that
	// names no peer at all allows every address and is not changed. True unless
	// stated.
	// +optional
	// +kubebuilder:default=true
	BlockMetadataService *bool `json:"blockMetadataService,omitempty"`
}

// Direction is a direction of traffic, seen from a pod.
//
// +kubebuilder:validation:Enum=Ingress;Egress
type Direction string

const (
	// DirectionIngress is traffic to a pod.
	DirectionIngress Direction = "Ingress"
	// DirectionEgress is traffic from a pod.
	DirectionEgress Direction = "Egress"
)

// NetworkAllow are the usual allowances.
type NetworkAllow struct {
	// Let every pod ask the cluster's DNS. True unless stated, where egress is
	// denied.
	// +optional
	DNS *bool `json:"dns,omitempty"`

	// Let the pods of a namespace talk to each other, in the denied directions.
	// +optional
	SameNamespace bool `json:"sameNamespace,omitempty"`
}

// NamedNetworkPolicy is one allowance.
type NamedNetworkPolicy struct {
	// The allowance's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=235
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="network.policies[].name must be lowercase letters, digits, '-' or '.', beginning and ending with a letter or digit, because the NetworkPolicy is named security-baseline-NAME"
	// +kubebuilder:validation:XValidation:rule="!(self in ['default-deny', 'allow-dns', 'allow-same-namespace'])",message="network.policies[].name must not be default-deny, allow-dns or allow-same-namespace: the operator's own policies have these names; choose another"
	Name string `json:"name"`

	// The allowance itself.
	// +required
	Spec NetworkPolicySpec `json:"spec"`
}

// RBAC says who may do what: in each governed namespace by roleBindings, in the
// whole cluster by clusterAdmin.
//
// +kubebuilder:validation:XValidation:rule="has(self.roleBindings) || has(self.clusterAdmin)",message="rbac says nothing; add roleBindings, clusterAdmin or both"
type RBAC struct {
	// Bindings, by name. Each becomes a RoleBinding named security-baseline-NAME
	// in each governed namespace. Whoever writes them must be allowed to bind the
	// roles. At most 24: admission can ask the authorizer no more often.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=24
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="rbac.roleBindings is empty; add a binding or leave it out"
	RoleBindings []NamedRoleBinding `json:"roleBindings,omitempty"`

	// Who may be bound to cluster-admin, or to any other role with all verbs on
	// all resources. One baseline governs it for the whole cluster, whatever
	// namespaces it selects: of those that declare it the one with the highest
	// priority, then the oldest, then the first by name.
	// +optional
	ClusterAdmin *ClusterAdmin `json:"clusterAdmin,omitempty"`
}

// NamedRoleBinding grants a role in each governed namespace.
//
// +kubebuilder:validation:XValidation:rule="(has(self.subjects) && size(self.subjects) > 0) || (has(self.subjectsFrom) && size(self.subjectsFrom) > 0)",message="the binding names nobody; add subjects, subjectsFrom or both"
type NamedRoleBinding struct {
	// The binding's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=235
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="rbac.roleBindings[].name must be lowercase letters, digits, '-' or '.', beginning and ending with a letter or digit, because the RoleBinding is named security-baseline-NAME"
	Name string `json:"name"`

	// The role that is granted. The operator itself must be allowed to bind it.
	// +required
	RoleRef RoleRef `json:"roleRef"`

	// Who it is granted to.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Subjects []Subject `json:"subjects,omitempty"`

	// Who it is granted to, named by a label of each namespace. Where the label
	// is absent or empty, nobody.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	SubjectsFrom []SubjectFrom `json:"subjectsFrom,omitempty"`
}

// RoleRef names the role that a binding grants.
//
// +kubebuilder:validation:XValidation:rule="self.kind != 'ClusterRole' || self.name != 'cluster-admin'",message="roleRef must not be cluster-admin, which may do anything in the namespace, the operator's own objects included; bind admin, edit, view or a ClusterRole of your own"
type RoleRef struct {
	// +optional
	// +kubebuilder:default="rbac.authorization.k8s.io"
	// +kubebuilder:validation:Enum="rbac.authorization.k8s.io"
	APIGroup string `json:"apiGroup,omitempty"`

	// ClusterRole, or Role: one of that name in each governed namespace.
	// +required
	// +kubebuilder:validation:Enum=Role;ClusterRole
	Kind string `json:"kind"`

	// The role's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self != '.' && self != '..' && !self.contains('/') && !self.contains('%')",message="roleRef.name must be the name of a role: no '/' and no '%'"
	Name string `json:"name"`
}

// Subject is a user, a group or a ServiceAccount.
//
// +kubebuilder:validation:XValidation:rule="self.kind != 'ServiceAccount' || has(self.namespace)",message="a subject of kind ServiceAccount needs a namespace; add the one that the ServiceAccount lives in"
// +kubebuilder:validation:XValidation:rule="self.kind == 'ServiceAccount' || !has(self.namespace)",message="a subject of kind User or Group has no namespace; remove it"
// +kubebuilder:validation:XValidation:rule="self.kind != 'ServiceAccount' || !format.dns1123Subdomain().validate(self.name).hasValue()",message="the name of a subject of kind ServiceAccount must be the name of a ServiceAccount, without its namespace"
// +kubebuilder:validation:XValidation:rule="!has(self.apiGroup) || (self.kind == 'ServiceAccount' ? size(self.apiGroup) == 0 : self.apiGroup == 'rbac.authorization.k8s.io')",message="apiGroup must be rbac.authorization.k8s.io for User and Group and empty for ServiceAccount; it may be left out"
type Subject struct {
	// +optional
	// +kubebuilder:validation:MaxLength=253
	APIGroup *string `json:"apiGroup,omitempty"`

	// +required
	// +kubebuilder:validation:Enum=User;Group;ServiceAccount
	Kind string `json:"kind"`

	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// The ServiceAccount's namespace.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace,omitempty"`
}

// SubjectFrom is a subject whose name comes from a label of the namespace: with
// kind Group, prefix "oidc:" and label team, a namespace labelled team=payments
// grants to the group oidc:payments. Whoever may label a namespace chooses who.
type SubjectFrom struct {
	// +required
	// +kubebuilder:validation:Enum=User;Group
	Kind string `json:"kind"`

	// What comes before the label's value.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('system:')",message="subjectsFrom[].prefix must not begin with system:, which names Kubernetes' own users and groups; a label would choose among them"
	Prefix string `json:"prefix,omitempty"`

	// The key of the namespace's label.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="subjectsFrom[].label must be the key of a label, such as team or example.com/team"
	Label string `json:"label"`
}
