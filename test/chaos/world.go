package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// What the namespaces are labelled with, and the baselines select by.
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

// baselineYAML is each baseline. Both floor and strict deny, so that no namespace is
// ever without; which of them governs changes with their priorities. What extra gave is
// removed with it. trial only audits. The level that strict asks for is enforced when the
// pods meet it, those of the others at once.
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

// selects says which namespaces a baseline governs something in.
var isSelectedBy = map[string]func(labels map[string]string) bool{
	floorBaseline:  func(labels map[string]string) bool { return labels[governedLabel] == labelTrue },
	strictBaseline: func(labels map[string]string) bool { return labels[tierLabel] == strictBaseline },
	extraBaseline:  func(labels map[string]string) bool { return labels[extraLabel] == labelTrue },
}

const labelTrue = "true"

// wantedYAML is what each baseline that enforces gives a namespace, written down by
// hand: what the operator's own code would say is not asked.
var expectedYAML = map[string]string{
	floorBaseline: `
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {name: security-baseline-default-deny, labels: {securitybaseline.io/control: Network}}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {name: security-baseline-allow-dns, labels: {securitybaseline.io/control: Network}}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
  - ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
    to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchExpressions: [{key: k8s-app, operator: In, values: [kube-dns, node-local-dns]}]}
    - ipBlock: {cidr: 169.254.0.0/16, except: [169.254.169.254/32, 169.254.0.23/32, 169.254.42.42/32]}
---
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {name: security-baseline-from-gateway, labels: {securitybaseline.io/control: Network}}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: gateway}}}], ports: [{protocol: TCP, port: 8080}]}]
---
kind: RoleBinding
apiVersion: rbac.authorization.k8s.io/v1
metadata: {name: security-baseline-team, labels: {securitybaseline.io/control: RBAC}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: team}]
---
kind: ServiceAccount
apiVersion: v1
metadata: {name: default, labels: {securitybaseline.io/control: ServiceAccounts}}
automountServiceAccountToken: false
---
kind: LimitRange
apiVersion: v1
metadata: {name: security-baseline-limits, labels: {securitybaseline.io/control: Resources}}
spec: {limits: [{type: Container, default: {memory: 256Mi}, defaultRequest: {memory: 64Mi}}]}
---
kind: Namespace
apiVersion: v1
metadata:
  labels:
    pod-security.kubernetes.io/enforce: baseline
    pod-security.kubernetes.io/enforce-version: latest
    podsecurity.securitybaseline.io/baseline: floor
    securitybaseline.io/control: PodSecurity
`,
	strictBaseline: `
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {name: security-baseline-default-deny, labels: {securitybaseline.io/control: Network}}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {name: security-baseline-allow-same-namespace, labels: {securitybaseline.io/control: Network}}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{podSelector: {}}]}]
  egress: [{to: [{podSelector: {}}]}]
---
kind: RoleBinding
apiVersion: rbac.authorization.k8s.io/v1
metadata: {name: security-baseline-team, labels: {securitybaseline.io/control: RBAC}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: team}]
---
kind: Namespace
apiVersion: v1
metadata:
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/enforce-version: latest
    pod-security.kubernetes.io/audit: restricted
    pod-security.kubernetes.io/audit-version: latest
    pod-security.kubernetes.io/warn: restricted
    pod-security.kubernetes.io/warn-version: latest
    podsecurity.securitybaseline.io/baseline: strict
    securitybaseline.io/control: PodSecurity
`,
	extraBaseline: `
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {name: security-baseline-default-deny, labels: {securitybaseline.io/control: Network}}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {name: security-baseline-allow-dns, labels: {securitybaseline.io/control: Network}}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
  - ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
    to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchExpressions: [{key: k8s-app, operator: In, values: [kube-dns, node-local-dns]}]}
    - ipBlock: {cidr: 169.254.0.0/16, except: [169.254.169.254/32, 169.254.0.23/32, 169.254.42.42/32]}
---
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {name: security-baseline-from-mesh, labels: {securitybaseline.io/control: Network}}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: mesh}}}]}]
---
kind: ResourceQuota
apiVersion: v1
metadata: {name: security-baseline-quota, labels: {securitybaseline.io/control: Resources}}
spec: {hard: {pods: "100"}}
`,
}

// controlLabel is how the objects above say which control they are of.
const controlLabel = "securitybaseline.io/control"

// wanted is what each baseline gives under each control.
var expectedObjects = func() map[string]map[string][]client.Object {
	all := map[string]map[string][]client.Object{}
	for name, text := range expectedYAML {
		all[name] = map[string][]client.Object{}
		documents := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			object, err := decode(document)
			if err != nil {
				panic(fmt.Sprintf("what baseline %s gives: %v", name, err))
			}
			control := object.GetLabels()[controlLabel]
			all[name][control] = append(all[name][control], object)
		}
	}
	return all
}()

// enforcing are the baselines that govern something in a namespace, the first one
// first: that of the highest priority, then the oldest, then by name.
func enforcingBaselines(baselines []*v1alpha1.SecurityBaseline, labels map[string]string) []*v1alpha1.SecurityBaseline {
	var all []*v1alpha1.SecurityBaseline
	for _, baseline := range baselines {
		if is := isSelectedBy[baseline.Name]; is != nil && is(labels) && baseline.DeletionTimestamp.IsZero() {
			all = append(all, baseline)
		}
	}
	slices.SortFunc(all, func(a, b *v1alpha1.SecurityBaseline) int {
		return cmp.Or(cmp.Compare(b.Spec.Priority, a.Spec.Priority), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return all
}
