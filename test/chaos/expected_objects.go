package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// expectedYAML holds the objects that each enforcing baseline creates in a namespace.
// They are written by hand, so that the check does not depend on the operator's code.
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

// controlLabel is the control that an expected object belongs to.
const controlLabel = "securitybaseline.io/control"

// expectedObjects holds the expected objects by baseline and control.
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
				panic(fmt.Sprintf("reading the expected objects of baseline %s: %v", name, err))
			}
			control := object.GetLabels()[controlLabel]
			all[name][control] = append(all[name][control], object)
		}
	}
	return all
}()
