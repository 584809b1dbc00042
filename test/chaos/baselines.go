package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// Labels of the namespaces, by which the baselines select.
const (
	governedLabel = "chaos.example.com/governed"
	tierLabel     = "chaos.example.com/tier"
	extraLabel    = "chaos.example.com/extra"
)

// Names of the baselines.
const (
	floorBaseline  = "floor"
	strictBaseline = "strict"
	extraBaseline  = "extra"
	trialBaseline  = "trial"
)

// baselineYAML holds the baselines by name. floor and strict both require default-deny
// policies, so that no namespace is ever without one; their priorities change. extra is
// deleted with deletionPolicy Remove. trial only audits. The level of strict is enforced
// once the pods meet it, the levels of the others immediately.
var baselineYAML = map[string]string{
	floorBaseline: `
apiVersion: securitybaseline.io/v1alpha1
kind: SecurityBaseline
metadata: {name: floor}
spec:
  namespaceSelector: {matchLabels: {chaos.example.com/governed: "true"}}
  podSecurity: {enforce: baseline}
  network:
    defaultDeny: [Ingress, Egress]
    policies:
    - name: from-gateway
      spec:
        ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: gateway}}}], ports: [{port: 8080}]}]
  rbac:
    roleBindings:
    - {name: team, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: Group, name: team}]}
  serviceAccounts: {automountDefaultToken: false}
  resources:
    limitRange: {limits: [{type: Container, default: {memory: 256Mi}, defaultRequest: {memory: 64Mi}}]}
`,
	strictBaseline: `
apiVersion: securitybaseline.io/v1alpha1
kind: SecurityBaseline
metadata: {name: strict}
spec:
  priority: 10
  namespaceSelector: {matchLabels: {chaos.example.com/tier: strict}}
  podSecurity: {enforce: restricted, rollout: WhenClean}
  network:
    defaultDeny: [Ingress, Egress]
    allow: {dns: false, sameNamespace: true}
  rbac:
    roleBindings:
    - {name: team, roleRef: {kind: ClusterRole, name: edit}, subjects: [{kind: Group, name: team}]}
`,
	extraBaseline: `
apiVersion: securitybaseline.io/v1alpha1
kind: SecurityBaseline
metadata: {name: extra}
spec:
  priority: 20
  deletionPolicy: Remove
  namespaceSelector: {matchLabels: {chaos.example.com/extra: "true"}}
  network:
    defaultDeny: [Ingress, Egress]
    policies:
    - name: from-mesh
      spec: {ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: mesh}}}]}]}
  resources:
    quota: {hard: {pods: "100"}}
`,
	trialBaseline: `
apiVersion: securitybaseline.io/v1alpha1
kind: SecurityBaseline
metadata: {name: trial}
spec:
  mode: Audit
  priority: 99
  namespaceSelector: {matchLabels: {chaos.example.com/governed: "true"}}
  podSecurity: {enforce: restricted}
  network: {defaultDeny: [Ingress]}
`,
}

// isSelectedBy reports, for each enforcing baseline, whether it selects a namespace with
// these labels.
var isSelectedBy = map[string]func(labels map[string]string) bool{
	floorBaseline:  func(labels map[string]string) bool { return labels[governedLabel] == labelTrue },
	strictBaseline: func(labels map[string]string) bool { return labels[tierLabel] == strictBaseline },
	extraBaseline:  func(labels map[string]string) bool { return labels[extraLabel] == labelTrue },
}

const labelTrue = "true"

// enforcingBaselines returns the enforcing baselines that select a namespace with these
// labels, the one with the highest precedence first: by priority, then age, then name.
func enforcingBaselines(baselines []*v1alpha1.SecurityBaseline, labels map[string]string) []*v1alpha1.SecurityBaseline {
	var all []*v1alpha1.SecurityBaseline
	for _, baseline := range baselines {
		if selects := isSelectedBy[baseline.Name]; selects != nil && selects(labels) && baseline.DeletionTimestamp.IsZero() {
			all = append(all, baseline)
		}
	}
	slices.SortFunc(all, func(a, b *v1alpha1.SecurityBaseline) int {
		return cmp.Or(cmp.Compare(b.Spec.Priority, a.Spec.Priority), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// governingBaseline returns the name of the baseline that governs a control in a
// namespace, or "".
func governingBaseline(enforcing []*v1alpha1.SecurityBaseline, control, namespace string, now time.Time) string {
	for _, baseline := range enforcing {
		if _, declared := expectedObjects[baseline.Name][control]; declared && !isExcepted(baseline, control, namespace, now) {
			return baseline.Name
		}
	}
	return ""
}

// isExcepted reports whether an active exception excludes the control in the namespace.
func isExcepted(baseline *v1alpha1.SecurityBaseline, control, namespace string, now time.Time) bool {
	return slices.ContainsFunc(baseline.Spec.Exceptions, func(exception v1alpha1.Exception) bool {
		return slices.Contains(exception.Namespaces, namespace) && slices.Contains(exception.Controls, v1alpha1.ControlName(control)) &&
			(exception.ExpirationTime == nil || now.Before(exception.ExpirationTime.Time))
	})
}

// controlNames are the controls that the baselines declare.
var controlNames = []string{"PodSecurity", "Network", "RBAC", "ServiceAccounts", "Resources"}

// isGoverningAnyControl reports whether a baseline governs a control in the namespace.
func isGoverningAnyControl(baseline string, enforcing []*v1alpha1.SecurityBaseline, namespace string, now time.Time) bool {
	return slices.ContainsFunc(controlNames, func(control string) bool { return governingBaseline(enforcing, control, namespace, now) == baseline })
}
