package v1alpha1

// ControlPodSecurity is the control of spec.podSecurity.
const ControlPodSecurity ControlName = "PodSecurity"

// PodSecurity sets the levels of the Pod Security Standards that Kubernetes'
// Pod Security admission checks pods against, as labels on each governed
// namespace. A level is a minimum: if the owner of a namespace set a stricter
// label, the operator keeps it.
// https://kubernetes.io/docs/concepts/security/pod-security-standards/
//
// +kubebuilder:validation:XValidation:rule="has(self.enforce) || has(self.audit) || has(self.warn)",message="podSecurity sets no level; add at least one of enforce, audit, warn"
// +kubebuilder:validation:XValidation:rule="!has(self.rollout) || self.rollout != 'WhenClean' || has(self.enforce)",message="podSecurity.rollout WhenClean needs a level to roll out; add podSecurity.enforce"
type PodSecurity struct {
	// enforce is the level that pods must meet: privileged, baseline or
	// restricted. The API server rejects pods below it.
	// +optional
	Enforce PodSecurityLevel `json:"enforce,omitempty"`

	// audit is the level below which the API server records pods in its audit log.
	// +optional
	Audit PodSecurityLevel `json:"audit,omitempty"`

	// warn is the level below which the API server warns the user who creates
	// pods.
	// +optional
	Warn PodSecurityLevel `json:"warn,omitempty"`

	// version is the version of the Pod Security Standards: latest, the default,
	// or the minor version of a Kubernetes release, such as v1.36.
	// +optional
	// +kubebuilder:default=latest
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self == 'latest' || self.matches('^v1[.](0|[1-9][0-9]*)$')",message="podSecurity.version must be latest or the minor version of a Kubernetes release, such as v1.36"
	Version string `json:"version,omitempty"`

	// rollout selects how enforce takes effect in a namespace whose running pods
	// do not meet it. Immediate, the default, sets the level immediately: the pods
	// keep running but cannot be recreated. WhenClean sets the highest level that
	// the running pods meet, and raises it when they meet a higher one. In both
	// cases, audit and warn are set immediately.
	// +optional
	// +kubebuilder:default=Immediate
	Rollout Rollout `json:"rollout,omitempty"`
}

// Rollout selects when a Pod Security level is enforced.
//
// +kubebuilder:validation:Enum=Immediate;WhenClean
type Rollout string

const (
	// RolloutImmediate enforces the level immediately.
	RolloutImmediate Rollout = "Immediate"
	// RolloutWhenClean enforces the highest level that the running pods meet.
	RolloutWhenClean Rollout = "WhenClean"
)

// PodSecurityLevel is a level of the Pod Security Standards.
//
// +kubebuilder:validation:Enum=privileged;baseline;restricted
type PodSecurityLevel string
