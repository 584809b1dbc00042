package v1alpha1

import "strings"

const (
	// ObjectNamePrefix begins the name of every object that the operator makes
	// in a governed namespace.
	ObjectNamePrefix = "security-baseline-"

	// BaselineLabel is on every object that the operator makes; its value is the
	// name of the SecurityBaseline that gave the object.
	BaselineLabel = "securitybaseline.io/baseline"

	// ControlLabel is on every object that the operator makes; its value is the
	// ControlName that the object belongs to.
	ControlLabel = "securitybaseline.io/control"

	// ManagedByLabel marks the objects for tools that show who manages what.
	// https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedByValue is the value of ManagedByLabel.
	ManagedByValue = "securitybaseline-operator"

	// GateLabel is on every namespace whose default-deny policy is in place, where
	// network.waitForDefaultDeny asks for it: pods may be made.
	DefaultDenyReadyLabel = "network.securitybaseline.io/default-deny-ready"

	// BornAnnotation is on a namespace from its creation until the operator has
	// taken over what the API server gave it then: the keys of these labels,
	// separated by commas.
	CreationLabelsAnnotation = "securitybaseline.io/labels-set-at-creation"

	// AggregateLabel with the value "true" adds a ClusterRole's rules to the
	// operator's: so it may be allowed to bind further roles.
	AggregateLabel = "rbac.securitybaseline.io/aggregate-to-operator"

	// Finalizer keeps a SecurityBaseline with deletionPolicy: Remove until what it
	// gave is removed or handed over.
	Finalizer = "securitybaseline.io/finalizer"

	// FieldManager is the name under which the operator writes; managedFields
	// tell by it what is the operator's and what is someone else's.
	FieldManager = "securitybaseline-operator"

	// ReportName is the name of the BaselineReport in each governed namespace.
	ReportName = "security-baseline"
)

// GovernedLabel is the key of the label on a namespace whose value is the name of
// the baseline that governs a control there. Controls that act at admission are
// in force where it is.
func GoverningBaselineLabel(control ControlName) string {
	return strings.ToLower(string(control)) + "." + GroupVersion.Group + "/baseline"
}
