package v1alpha1

// Condition types of a SecurityBaseline. Reconciling and Stalled are present only
// while they are true, as kstatus requires, so that GitOps tools can derive health
// from them.
// https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
const (
	// ConditionReady is True if the operator has evaluated every selected namespace at
	// this generation and nothing failed.
	ConditionReady = "Ready"
	// ConditionDrifted is True while something differs from the baseline: drift that
	// is not reverted yet, drift that another author repeatedly causes and, in Audit
	// mode, everything that Enforce would change.
	ConditionDrifted = "Drifted"
	// ConditionCompliant is True if every governed namespace is compliant.
	ConditionCompliant = "Compliant"
	// ConditionReconciling is present while namespaces remain to be evaluated, or
	// while the operator removes the managed objects of a deleted baseline.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present while the operator cannot make progress without a
	// change by a user, for example because the API server rejected an object.
	ConditionStalled = "Stalled"
	// ConditionNewNamespacesHardened is True if the API server sets the baseline's
	// labels on a new namespace while it creates the namespace. The condition is
	// present only if the baseline enforces something with labels.
	ConditionNewNamespacesHardened = "NewNamespacesHardened"
)

// Reasons of the conditions of a SecurityBaseline.
const (
	// ReasonEvaluated means that every selected namespace is evaluated at this
	// generation.
	ReasonEvaluated = "Evaluated"
	// ReasonEvaluating means that some selected namespaces are not evaluated at this
	// generation yet.
	ReasonEvaluating = "Evaluating"
	// ReasonNoNamespaceGoverned means that the baseline selects no namespace, or that
	// other baselines govern every control that it declares.
	ReasonNoNamespaceGoverned = "NoNamespaceGoverned"
	// ReasonWriteRejected means that the API server rejected a write in a namespace.
	ReasonWriteRejected = "WriteRejected"
	// ReasonObjectConflict means that an object with a name that the baseline needs
	// exists and the operator did not create it.
	ReasonObjectConflict = "ObjectConflict"
	// ReasonDriftDetected means that something differs from the baseline and is not
	// reverted.
	ReasonDriftDetected = "DriftDetected"
	// ReasonContested means that another author repeatedly undoes what the operator
	// reverts.
	ReasonContested = "Contested"
	// ReasonViolationsFound means that a namespace contains something that the
	// baseline forbids and the operator does not change.
	ReasonViolationsFound = "ViolationsFound"
	// ReasonNoDrift means that nothing differs from the baseline.
	ReasonNoDrift = "NoDrift"
	// ReasonAllCompliant means that every governed namespace matches the baseline.
	ReasonAllCompliant = "AllCompliant"
	// ReasonInvalidSelector means that spec.namespaceSelector is invalid in a way that
	// the CRD cannot detect. It selects nothing.
	ReasonInvalidSelector = "InvalidSelector"
	// ReasonPolicyReady means that the admission policy and its binding exist.
	ReasonPolicyReady = "PolicyReady"
	// ReasonPolicyNotReady means that the admission policy or its binding does not
	// exist yet.
	ReasonPolicyNotReady = "PolicyNotReady"
	// ReasonMutatingAdmissionUnavailable means that the API server does not serve
	// MutatingAdmissionPolicy v1.
	ReasonMutatingAdmissionUnavailable = "MutatingAdmissionUnavailable"
	// ReasonRemovingManagedObjects means that the baseline is being deleted and the
	// operator removes its managed objects.
	ReasonRemovingManagedObjects = "RemovingManagedObjects"
)
