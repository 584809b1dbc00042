package v1alpha1

// ControlRBAC is the control of spec.rbac.
const ControlRBAC ControlName = "RBAC"

// RBAC grants roles in each governed namespace with roleBindings, and limits
// who may be bound to cluster-admin in the whole cluster with clusterAdmin.
//
// +kubebuilder:validation:XValidation:rule="has(self.roleBindings) || has(self.clusterAdmin)",message="rbac has no effect; add roleBindings, clusterAdmin or both"
type RBAC struct {
	// roleBindings lists bindings by name. The operator creates each one as a
	// RoleBinding named security-baseline-NAME in each governed namespace. To
	// write them, you need permission to bind their roles. The maximum is 24,
	// because the API server limits how many authorization checks an admission
	// policy can make.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=24
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="rbac.roleBindings is empty; add a binding or remove roleBindings"
	RoleBindings []NamedRoleBinding `json:"roleBindings,omitempty"`

	// clusterAdmin limits who may be bound to cluster-admin, or to any other role
	// with all verbs on all resources. It applies to the whole cluster, whatever
	// namespaces the baseline selects. One baseline governs it: of the baselines
	// that declare it, the one with the highest priority, then the oldest, then
	// the first by name.
	// +optional
	ClusterAdmin *ClusterAdmin `json:"clusterAdmin,omitempty"`
}

// NamedRoleBinding grants a role in each governed namespace.
//
// +kubebuilder:validation:XValidation:rule="(has(self.subjects) && size(self.subjects) > 0) || (has(self.subjectsFrom) && size(self.subjectsFrom) > 0)",message="the binding has no subject; add subjects, subjectsFrom or both"
type NamedRoleBinding struct {
	// name identifies the binding. The RoleBinding is named
	// security-baseline-NAME. Example: on-call.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=235
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="rbac.roleBindings[].name must consist of lowercase letters, digits, '-' or '.', and must begin and end with a letter or digit, because the RoleBinding is named security-baseline-NAME"
	Name string `json:"name,omitempty"`

	// roleRef is the role to grant. The operator itself needs permission to bind
	// it.
	// +required
	RoleRef RoleRef `json:"roleRef,omitzero"`

	// subjects lists the users, groups and ServiceAccounts that get the role.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Subjects []Subject `json:"subjects,omitempty"`

	// subjectsFrom lists users and groups that get the role and that a label of
	// each namespace names. If the label is absent or empty, it adds no subject.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	SubjectsFrom []SubjectFrom `json:"subjectsFrom,omitempty"`
}

// RoleRef is the role that a binding grants.
//
// +kubebuilder:validation:XValidation:rule="self.kind != 'ClusterRole' || self.name != 'cluster-admin'",message="roleRef must not be cluster-admin, which allows everything in the namespace, including changes to the operator's own objects; bind admin, edit, view or a ClusterRole of your own"
type RoleRef struct {
	// apiGroup is the API group of the role. Defaults to
	// rbac.authorization.k8s.io, the only allowed value.
	// +optional
	// +kubebuilder:default="rbac.authorization.k8s.io"
	// +kubebuilder:validation:Enum="rbac.authorization.k8s.io"
	APIGroup string `json:"apiGroup,omitempty"`

	// kind is ClusterRole, or Role for a Role with that name in each governed
	// namespace.
	// +required
	// +kubebuilder:validation:Enum=Role;ClusterRole
	Kind string `json:"kind,omitempty"`

	// name is the name of the role, such as view.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self != '.' && self != '..' && !self.contains('/') && !self.contains('%')",message="roleRef.name must be the name of a role, without '/' and '%'"
	Name string `json:"name,omitempty"`
}

// Subject is a user, a group or a ServiceAccount.
//
// +kubebuilder:validation:XValidation:rule="self.kind != 'ServiceAccount' || has(self.namespace)",message="a subject of kind ServiceAccount needs a namespace; add the namespace of the ServiceAccount"
// +kubebuilder:validation:XValidation:rule="self.kind == 'ServiceAccount' || !has(self.namespace)",message="a subject of kind User or Group must not have a namespace; remove it"
// +kubebuilder:validation:XValidation:rule="self.kind != 'ServiceAccount' || !format.dns1123Subdomain().validate(self.name).hasValue()",message="the name of a subject of kind ServiceAccount must be the name of a ServiceAccount, without its namespace"
// +kubebuilder:validation:XValidation:rule="!has(self.apiGroup) || (self.kind == 'ServiceAccount' ? size(self.apiGroup) == 0 : self.apiGroup == 'rbac.authorization.k8s.io')",message="apiGroup must be rbac.authorization.k8s.io for User and Group and empty for ServiceAccount; you can omit it"
type Subject struct {
	// apiGroup is rbac.authorization.k8s.io for a User or Group and empty for a
	// ServiceAccount. You can omit it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	APIGroup *string `json:"apiGroup,omitempty"`

	// kind is User, Group or ServiceAccount.
	// +required
	// +kubebuilder:validation:Enum=User;Group;ServiceAccount
	Kind string `json:"kind,omitempty"`

	// name is the name of the user, group or ServiceAccount.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`

	// namespace is the namespace of the ServiceAccount. It is required for the
	// kind ServiceAccount and forbidden for the other kinds.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace,omitempty"`
}

// SubjectFrom is a subject that a label of the namespace names. For example,
// with the kind Group, the prefix "oidc:" and the label team, a namespace with
// the label team=payments grants the role to the group oidc:payments. Users who
// can label a namespace can therefore choose the subject.
type SubjectFrom struct {
	// kind is User or Group.
	// +required
	// +kubebuilder:validation:Enum=User;Group
	Kind string `json:"kind,omitempty"`

	// prefix is put before the value of the label. Defaults to no prefix.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('system:')",message="subjectsFrom[].prefix must not begin with system:, because a label could then choose one of Kubernetes' own users and groups"
	Prefix string `json:"prefix,omitempty"`

	// label is the key of the label on the namespace, such as team or
	// example.com/team.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="subjectsFrom[].label must be the key of a label, such as team or example.com/team"
	Label string `json:"label,omitempty"`
}
