package v1alpha1

import "strings"

const (
	// ObjectNamePrefix begins the name of every object that the operator creates in a
	// governed namespace.
	ObjectNamePrefix = "security-baseline-"

	// BaselineLabel is on every managed object. Its value is the name of the
	// SecurityBaseline that the object belongs to.
	BaselineLabel = "securitybaseline.io/baseline"

	// ControlLabel is on every managed object. Its value is the ControlName that the
	// object belongs to.
	ControlLabel = "securitybaseline.io/control"

	// ManagedByLabel is on every managed object, for tools that show what manages an
	// object.
	// https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedByValue is the value of ManagedByLabel.
	ManagedByValue = "securitybaseline-operator"

	// DefaultDenyReadyLabel is on every namespace whose default-deny policy exists, if
	// network.waitForDefaultDeny is set. It allows pods to be created.
	DefaultDenyReadyLabel = "network.securitybaseline.io/default-deny-ready"

	// CreationLabelsAnnotation is on a namespace from its creation until the operator
	// takes ownership of the labels that the API server set at creation. Its value is
	// the keys of these labels, separated by commas.
	CreationLabelsAnnotation = "securitybaseline.io/labels-set-at-creation"

	// AggregateLabel with the value "true" adds the rules of a ClusterRole to those of
	// the operator, for example to permit it to bind more roles.
	AggregateLabel = "rbac.securitybaseline.io/aggregate-to-operator"

	// Finalizer keeps a deleted SecurityBaseline with deletionPolicy: Remove until its
	// managed objects are removed or belong to another baseline.
	Finalizer = "securitybaseline.io/finalizer"

	// FieldManager is the field manager of the operator's writes. By it, managedFields
	// shows which fields the operator owns.
	FieldManager = "securitybaseline-operator"

	// ReportName is the name of the BaselineReport in each governed namespace.
	ReportName = "security-baseline"
)

// GoverningBaselineLabel returns the key of the namespace label whose value is the
// name of the baseline that governs the control there. A control that acts at
// admission applies to the namespaces that have this label.
func GoverningBaselineLabel(control ControlName) string {
	return strings.ToLower(string(control)) + "." + GroupVersion.Group + "/baseline"
}
