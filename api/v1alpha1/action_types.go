package v1alpha1

// The API server itself enforces these controls, with ValidatingAdmissionPolicies
// that have the baseline as their parameter.
// https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/

// Action is what the API server does with a request that violates a rule. In
// Audit mode, the API server always warns and audits.
//
// +kubebuilder:validation:Enum=Deny;Warn;Audit
type Action string

const (
	// ActionDeny denies the request.
	ActionDeny Action = "Deny"
	// ActionWarn allows the request and warns the user who made it.
	ActionWarn Action = "Warn"
	// ActionAudit allows the request and records it in the API server's audit log.
	ActionAudit Action = "Audit"
)
