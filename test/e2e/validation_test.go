package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// apply says what kubectl apply says of a baseline of this name and spec,
// without making it.
func apply(t *testing.T, name, spec string) (string, error) {
	manifest := fmt.Sprintf("apiVersion: securitybaseline.io/v1alpha1\nkind: SecurityBaseline\nmetadata:\n  name: %s\nspec:\n%s\n", name, spec)
	command := local.Kubectl(t.Context(), "apply", "--dry-run=server", "-f", "-")
	command.Stdin = strings.NewReader(manifest)
	out, err := command.CombinedOutput()
	return string(out), err
}

// indented indents a spec that is written at the margin.
func indented(spec string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ")
}

func TestKubectlApplyRefuses(t *testing.T) {
	const policies = "namespaceSelector: {}\nnetwork:\n  policies:\n"
	const bindings = "namespaceSelector: {}\nrbac:\n  roleBindings:\n"
	const exceptions = "namespaceSelector: {}\nnetwork: {defaultDeny: [Ingress]}\nexceptions:\n"
	for _, test := range []struct {
		name     string
		baseline string // "refused" if empty
		spec     string
		want     []string // the field, and what to do
	}{
		{
			name: "no control section at all",
			spec: "namespaceSelector: {}",
			want: []string{"spec:", "declares no control", "add at least one of podSecurity, network, rbac"},
		},
		{
			name: "no namespaceSelector",
			spec: "podSecurity: {enforce: baseline}",
			want: []string{"spec.namespaceSelector: Required value"},
		},
		{
			name:     "a name that is too long for a label",
			baseline: strings.Repeat("n", 64),
			spec:     "namespaceSelector: {}\npodSecurity: {enforce: baseline}",
			want:     []string{"metadata", "at most 63 characters", "choose a shorter name"},
		},
		{
			name: "an unknown field",
			spec: "namespaceSelector: {}\npodSecurity: {enforced: baseline}",
			want: []string{`unknown field "spec.podSecurity.enforced"`},
		},
		{
			name: "an unknown deletionPolicy",
			spec: "namespaceSelector: {}\ndeletionPolicy: Orphan\npodSecurity: {enforce: baseline}",
			want: []string{`spec.deletionPolicy: Unsupported value: "Orphan": supported values: "Retain", "Remove"`},
		},
		{
			name: "a selector whose operator has no values",
			spec: "namespaceSelector: {matchExpressions: [{key: env, operator: In}]}\npodSecurity: {enforce: baseline}",
			want: []string{"spec.namespaceSelector.matchExpressions[0]", "In and NotIn need values"},
		},
		{
			name: "a selector with an unknown operator",
			spec: "namespaceSelector: {matchExpressions: [{key: env, operator: Is, values: [prod]}]}\npodSecurity: {enforce: baseline}",
			want: []string{`spec.namespaceSelector.matchExpressions[0].operator: Unsupported value: "Is"`},
		},
		{
			name: "a selector with an invalid label key",
			spec: "namespaceSelector: {matchLabels: {\"a b\": c}}\npodSecurity: {enforce: baseline}",
			want: []string{"spec.namespaceSelector", "valid label keys"},
		},
		{
			name: "a selector with an invalid label value",
			spec: "namespaceSelector: {matchLabels: {a: \"b c\"}}\npodSecurity: {enforce: baseline}",
			want: []string{"spec.namespaceSelector.matchLabels.a"},
		},
		{
			name: "an excluded namespace that cannot be one",
			spec: "namespaceSelector: {}\nexcludeNamespaces: [Team_A]\npodSecurity: {enforce: baseline}",
			want: []string{"spec.excludeNamespaces[0]", "must hold the names of namespaces"},
		},

		{
			name: "a podSecurity without levels",
			spec: "namespaceSelector: {}\npodSecurity: {version: latest}",
			want: []string{"spec.podSecurity:", "add at least one of enforce, audit, warn"},
		},
		{
			name: "an unknown level",
			spec: "namespaceSelector: {}\npodSecurity: {enforce: strict}",
			want: []string{`spec.podSecurity.enforce: Unsupported value: "strict": supported values: "privileged", "baseline", "restricted"`},
		},
		{
			name: "a version that is neither latest nor v1.N",
			spec: "namespaceSelector: {}\npodSecurity: {enforce: baseline, version: \"1.36\"}",
			want: []string{"spec.podSecurity.version", "must be latest or the minor version of a Kubernetes release, such as v1.36"},
		},
		{
			name: "a version with a patch level",
			spec: "namespaceSelector: {}\npodSecurity: {enforce: baseline, version: v1.36.3}",
			want: []string{"spec.podSecurity.version", "must be latest or the minor version"},
		},

		{
			name: "a rollout of no level",
			spec: "namespaceSelector: {}\npodSecurity: {warn: baseline, rollout: WhenClean}",
			want: []string{"spec.podSecurity:", "WhenClean needs a level to roll out; add podSecurity.enforce"},
		},
		{
			name: "an unknown rollout",
			spec: "namespaceSelector: {}\npodSecurity: {enforce: baseline, rollout: Slowly}",
			want: []string{`spec.podSecurity.rollout: Unsupported value: "Slowly": supported values: "Immediate", "WhenClean"`},
		},
		{
			name: "an unknown mode",
			spec: "mode: Warn\nnamespaceSelector: {}\npodSecurity: {enforce: baseline}",
			want: []string{`spec.mode: Unsupported value: "Warn": supported values: "Enforce", "Audit"`},
		},

		{
			name: "an exception without a reason",
			spec: exceptions + "  - {name: a, namespaces: [x], controls: [Network]}",
			want: []string{"spec.exceptions[0].reason: Required value"},
		},
		{
			name: "an exception with hardly a reason",
			spec: exceptions + "  - {name: a, namespaces: [x], controls: [Network], reason: because}",
			want: []string{"spec.exceptions[0].reason", "must have at least 10 characters; say why"},
		},
		{
			name: "an exception of a control that does not exist",
			spec: exceptions + "  - {name: a, namespaces: [x], controls: [Networks], reason: the gateway moves}",
			want: []string{`spec.exceptions[0].controls[0]: Unsupported value: "Networks": supported values: "PodSecurity", "Network", "RBAC"`},
		},
		{
			name: "an exception of no control",
			spec: exceptions + "  - {name: a, namespaces: [x], controls: [], reason: the gateway moves}",
			want: []string{"spec.exceptions[0].controls", "name the controls that are not to be in force"},
		},
		{
			name: "an exception for no namespace",
			spec: exceptions + "  - {name: a, namespaces: [], controls: [Network], reason: the gateway moves}",
			want: []string{"spec.exceptions[0].namespaces", "name the namespaces that are excepted"},
		},
		{
			name: "an exception for a pattern",
			spec: exceptions + "  - {name: a, namespaces: [team-*], controls: [Network], reason: the gateway moves}",
			want: []string{"spec.exceptions[0].namespaces[0]", "there are no patterns"},
		},
		{
			name: "an exception that expires on no day",
			spec: exceptions + "  - {name: a, namespaces: [x], controls: [Network], reason: the gateway moves, expirationTime: tomorrow}",
			want: []string{"spec.exceptions[0].expirationTime", `must be of type date-time`},
		},
		{
			name: "an exception that expires in a time that Go does not read",
			spec: exceptions + "  - {name: a, namespaces: [x], controls: [Network], reason: the gateway moves, expires: \"2030-01-01T00:00:00+99:00\"}",
			want: []string{"spec.exceptions[0].expirationTime"},
		},
		{
			name: "an exception that expires within a second",
			spec: exceptions + "  - {name: a, namespaces: [x], controls: [Network], reason: the gateway moves, expires: \"2030-01-01T00:00:00.499Z\"}",
			want: []string{"spec.exceptions[0].expirationTime"},
		},
		{
			name: "an exception that expires on a day that does not exist",
			spec: exceptions + "  - {name: a, namespaces: [x], controls: [Network], reason: the gateway moves, expires: \"2030-02-31T00:00:00Z\"}",
			want: []string{"spec.exceptions[0].expirationTime"},
		},
		{
			name: "a priority that is no int32",
			spec: "priority: 3000000000\nnamespaceSelector: {}\nnetwork: {defaultDeny: [Ingress]}",
			want: []string{"spec.priority"},
		},
		{
			name: "two exceptions with one name",
			spec: exceptions + "  - &a {name: a, namespaces: [x], controls: [Network], reason: the gateway moves}\n  - *a",
			want: []string{`spec.exceptions[1]: Duplicate value: {"name":"a"}`},
		},

		{
			name: "a network that says nothing",
			spec: "namespaceSelector: {}\nnetwork: {}",
			want: []string{"spec.network:", "add defaultDeny, policies or both"},
		},
		{
			name: "an empty defaultDeny",
			spec: "namespaceSelector: {}\nnetwork: {defaultDeny: []}",
			want: []string{"spec.network.defaultDeny", "name Ingress, Egress or both, or leave defaultDeny out"},
		},
		{
			name: "an unknown direction",
			spec: "namespaceSelector: {}\nnetwork: {defaultDeny: [Inbound]}",
			want: []string{`spec.network.defaultDeny[0]: Unsupported value: "Inbound": supported values: "Ingress", "Egress"`},
		},
		{
			name: "a direction twice",
			spec: "namespaceSelector: {}\nnetwork: {defaultDeny: [Egress, Egress]}",
			want: []string{`spec.network.defaultDeny[1]: Duplicate value: "Egress"`},
		},
		{
			name: "a DNS allowance where egress is not denied",
			spec: "namespaceSelector: {}\nnetwork: {defaultDeny: [Ingress], allow: {dns: true}}",
			want: []string{"spec.network", "network.allow.dns needs Egress in network.defaultDeny"},
		},
		{
			name: "a same-namespace allowance where nothing is denied",
			spec: policies + "  - {name: a, spec: {policyTypes: [Ingress]}}\n  allow: {sameNamespace: true}",
			want: []string{"spec.network", "network.allow.sameNamespace needs network.defaultDeny"},
		},
		{
			name: "two allowances with one name",
			spec: policies + "  - {name: a, spec: {policyTypes: [Ingress]}}\n  - {name: a, spec: {policyTypes: [Egress]}}",
			want: []string{`spec.network.policies[1]: Duplicate value: {"name":"a"}`},
		},
		{
			name: "an allowance whose name would not make a valid object name",
			spec: policies + "  - {name: From_Ingress, spec: {policyTypes: [Ingress]}}",
			want: []string{"spec.network.policies[0].name", "must be lowercase letters, digits", "security-baseline-NAME"},
		},
		{
			name: "an allowance whose name is too long with our prefix",
			spec: policies + "  - {name: " + strings.Repeat("a", 236) + ", spec: {policyTypes: [Ingress]}}",
			want: []string{"spec.network.policies[0].name: Too long: may not be more than 235"},
		},
		{
			name: "an allowance with a name of the operator's own",
			spec: policies + "  - {name: default-deny, spec: {policyTypes: [Ingress]}}",
			want: []string{"spec.network.policies[0].name", "choose another"},
		},
		{
			name: "ingress rules that policyTypes leaves out",
			spec: policies + "  - {name: a, spec: {policyTypes: [Egress], ingress: [{}]}}",
			want: []string{"spec.network.policies[0].spec", "add Ingress to policyTypes or remove the rules"},
		},
		{
			name: "egress rules that policyTypes leaves out",
			spec: policies + "  - {name: a, spec: {policyTypes: [Ingress], egress: [{}]}}",
			want: []string{"spec.network.policies[0].spec", "add Egress to policyTypes or remove the rules"},
		},
		{
			name: "a peer that is nobody",
			spec: policies + "  - {name: a, spec: {ingress: [{from: [{}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].from[0]", "must state podSelector, namespaceSelector or ipBlock"},
		},
		{
			name: "a peer that is an ipBlock and a selector",
			spec: policies + "  - {name: a, spec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].from[0]", "make two peers of it"},
		},
		{
			name: "an ipBlock that is no range",
			spec: policies + "  - {name: a, spec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.1}}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].from[0].ipBlock.cidr", "add /32 or /128"},
		},
		{
			name: "an except outside of its ipBlock",
			spec: policies + "  - {name: a, spec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [192.168.0.0/16]}}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].from[0].ipBlock", "within ipBlock.cidr and smaller"},
		},
		{
			name: "an except that is no range",
			spec: policies + "  - {name: a, spec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.2.3]}}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].from[0].ipBlock.except[0]", "ipBlock.except must hold address ranges"},
		},
		{
			name: "an ipBlock with bits beyond its prefix",
			spec: policies + "  - {name: a, spec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/8}}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].from[0].ipBlock.cidr", "without bits beyond the prefix"},
		},
		{
			name: "an except with bits beyond its prefix",
			spec: policies + "  - {name: a, spec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.1.1/16]}}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].from[0].ipBlock.except[0]", "without bits beyond the prefix"},
		},
		{
			name: "an except that is its ipBlock",
			spec: policies + "  - {name: a, spec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].from[0].ipBlock", "within ipBlock.cidr and smaller"},
		},
		{
			name: "an except that is its ipBlock in another spelling",
			spec: policies + "  - {name: a, spec: {ingress: [{from: [{ipBlock: {cidr: \"2001:db8::/64\", except: [\"2001:DB8:0::/64\"]}}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].from[0].ipBlock.except[0]", "shortest form"},
		},
		{
			name: "a policy that selects pods by an invalid label key",
			spec: policies + "  - {name: a, spec: {podSelector: {matchLabels: {\"a b\": c}}}}",
			want: []string{"spec.network.policies[0].spec.podSelector.matchLabels", "valid label keys"},
		},
		{
			name: "a peer that is selected by an invalid label key",
			spec: policies + "  - {name: a, spec: {ingress: [{from: [{podSelector: {matchLabels: {Example.com/app: c}}}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].from[0].podSelector.matchLabels", "valid label keys"},
		},
		{
			name: "a peer that is selected by an invalid expression",
			spec: policies + "  - {name: a, spec: {ingress: [{from: [{podSelector: {matchExpressions: [{key: \"a b\", operator: Exists}]}}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].from[0].podSelector.matchExpressions[0].key"},
		},
		{
			name: "a port out of range",
			spec: policies + "  - {name: a, spec: {ingress: [{ports: [{port: 70000}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].ports[0].port", "from 1 to 65535"},
		},
		{
			name: "a port's name that cannot be one",
			spec: policies + "  - {name: a, spec: {ingress: [{ports: [{port: HTTP}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].ports[0].port", "lowercase letters"},
		},
		{
			name: "a range of ports that ends before it begins",
			spec: policies + "  - {name: a, spec: {ingress: [{ports: [{port: 90, endPort: 80}]}]}}",
			want: []string{"spec.network.policies[0].spec.ingress[0].ports[0]", "endPort needs a numeric port"},
		},
		{
			name: "an unknown protocol",
			spec: policies + "  - {name: a, spec: {ingress: [{ports: [{protocol: ICMP}]}]}}",
			want: []string{`ports[0].protocol: Unsupported value: "ICMP"`},
		},
		{
			name: "an rbac without bindings",
			spec: "namespaceSelector: {}\nrbac: {roleBindings: []}",
			want: []string{"spec.rbac.roleBindings", "add a binding or leave it out"},
		},
		{
			name: "an rbac that says nothing",
			spec: "namespaceSelector: {}\nrbac: {}",
			want: []string{"spec.rbac:", "add roleBindings, clusterAdmin or both"},
		},
		{
			name: "a gate without a default-deny",
			spec: "namespaceSelector: {}\nnetwork: {waitForDefaultDeny: true, policies: [{name: a, spec: {policyTypes: [Ingress]}}]}",
			want: []string{"spec.network:", "add network.defaultDeny"},
		},
		{
			name: "images that ask for nothing",
			spec: "namespaceSelector: {}\nimages: {requireDigest: false}",
			want: []string{"spec.images:", "add allowedRegistries, requireDigest or both"},
		},
		{
			name: "no registry",
			spec: "namespaceSelector: {}\nimages: {allowedRegistries: []}",
			want: []string{"spec.images.allowedRegistries:", "name a registry or leave it out"},
		},
		{
			name: "a registry with a scheme",
			spec: "namespaceSelector: {}\nimages: {allowedRegistries: ['https://registry.example.com']}",
			want: []string{"spec.images.allowedRegistries[0]:", "no scheme, no tag and no '*'"},
		},
		{
			name: "a pattern of registries",
			spec: "namespaceSelector: {}\nimages: {allowedRegistries: ['registry.example.com/*']}",
			want: []string{"spec.images.allowedRegistries[0]:", "no scheme, no tag and no '*'"},
		},
		{
			name: "a registry without a host",
			spec: "namespaceSelector: {}\nimages: {allowedRegistries: [library/nginx]}",
			want: []string{"spec.images.allowedRegistries[0]:", "docker.io/library, not library"},
		},
		{
			name: "docker.io by its old name",
			spec: "namespaceSelector: {}\nimages: {allowedRegistries: [index.docker.io/library]}",
			want: []string{"spec.images.allowedRegistries[0]:", "write docker.io"},
		},
		{
			name: "an unknown action",
			spec: "namespaceSelector: {}\nimages: {requireDigest: true, action: Block}",
			want: []string{`spec.images.action: Unsupported value: "Block"`},
		},
		{
			name: "workloads that ask for nothing",
			spec: "namespaceSelector: {}\nworkloads: {}",
			want: []string{"spec.workloads:", "set requireLimits, readOnlyRootFilesystem or forbidDefaultServiceAccount to true"},
		},
		{
			name: "a token that is mounted",
			spec: "namespaceSelector: {}\nserviceAccounts: {automountDefaultToken: true}",
			want: []string{"spec.serviceAccounts.automountDefaultToken:", "leave serviceAccounts out"},
		},
		{
			name: "resources that say nothing",
			spec: "namespaceSelector: {}\nresources: {}",
			want: []string{"spec.resources:", "add limitRange, quota or both"},
		},
		{
			name: "a LimitRange whose min is larger than its max",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, min: {cpu: 2}, max: {cpu: 1500m}}]}}",
			want: []string{"spec.resources.limitRange.limits[0]:", "min is larger than max"},
		},
		{
			name: "a LimitRange whose default is larger than its max",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, default: {memory: 2Gi}, max: {memory: 1024Mi}}]}}",
			want: []string{"spec.resources.limitRange.limits[0]:", "default is larger than max; lower default or raise max"},
		},
		{
			name: "a LimitRange whose defaultRequest is larger than its default",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, defaultRequest: {cpu: 1}, default: {cpu: 100m}}]}}",
			want: []string{"spec.resources.limitRange.limits[0]:", "defaultRequest is larger than default, which is the limit"},
		},
		{
			name: "a quota of a scope that does not exist",
			spec: "namespaceSelector: {}\nresources: {quota: {hard: {pods: 4}, scopes: [Foo]}}",
			want: []string{"spec.resources.quota.scopes[0]:", "Unsupported value", "NotBestEffort"},
		},
		{
			name: "a quota of scopes that exclude each other",
			spec: "namespaceSelector: {}\nresources: {quota: {hard: {pods: 4}, scopes: [Terminating, NotTerminating]}}",
			want: []string{"spec.resources.quota:", "scopes names two that exclude each other"},
		},
		{
			name: "a quota of what pods without requests request",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, defaultRequest: {cpu: 1}}]}, quota: {hard: {requests.cpu: 4}, scopes: [BestEffort]}}",
			want: []string{"spec.resources.quota:", "hard can only count pods"},
		},
		{
			name: "a quota of cpu without a LimitRange",
			spec: "namespaceSelector: {}\nresources: {quota: {hard: {cpu: 4}}}",
			want: []string{"spec.resources:", "pods that state none would be refused; add resources.limitRange with a defaultRequest of cpu for type Container"},
		},
		{
			name: "a quota of memory with a LimitRange of cpu",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, defaultRequest: {cpu: 1}}]}, quota: {hard: {requests.memory: 4Gi}}}",
			want: []string{"spec.resources:", "add resources.limitRange with a defaultRequest of memory for type Container"},
		},
		{
			name: "a quota of cpu limits with a LimitRange of requests",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, defaultRequest: {cpu: 1}}]}, quota: {hard: {limits.cpu: 4}}}",
			want: []string{"spec.resources:", "add resources.limitRange with a default of cpu for type Container"},
		},
		{
			name: "a quota of memory limits with a LimitRange of pods",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Pod, max: {memory: 1Gi}}]}, quota: {hard: {limits.memory: 4Gi}}}",
			want: []string{"spec.resources:", "add resources.limitRange with a default of memory for type Container"},
		},
		{
			name: "defaults for pods as a whole",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Pod, default: {cpu: 1}}]}}",
			want: []string{"spec.resources.limitRange.limits[0]:", "put them under type Container"},
		},
		{
			name: "a quantity that no client can read",
			spec: "namespaceSelector: {}\nresources: {quota: {hard: {pods: \"1e1.5\"}}}",
			want: []string{"spec.resources.quota.hard.pods", "should match"},
		},
		{
			name: "a quantity that takes hours to read",
			spec: "namespaceSelector: {}\nresources: {quota: {hard: {pods: \"1e999999\"}}}",
			want: []string{"spec.resources.quota.hard.pods", "should match"},
		},
		{
			name: "a quantity of less than nothing",
			spec: "namespaceSelector: {}\nresources: {quota: {hard: {pods: -1}}}",
			want: []string{"spec.resources.quota.hard.pods", "should be greater than or equal to 0"},
		},
		{
			name: "a quota of half a pod",
			spec: "namespaceSelector: {}\nresources: {quota: {hard: {pods: 500m}}}",
			want: []string{"spec.resources.quota.hard:", "in whole numbers"},
		},
		{
			name: "a quota of what Kubernetes does not count",
			spec: "namespaceSelector: {}\nresources: {quota: {hard: {deployments: 4}}}",
			want: []string{"spec.resources.quota.hard:", "such as pods, requests.cpu", "count/deployments.apps"},
		},
		{
			name: "a quota of services of a scope of pods",
			spec: "namespaceSelector: {}\nresources: {quota: {hard: {services: 4}, scopes: [NotTerminating]}}",
			want: []string{"spec.resources.quota:", "scopes are about pods", "leave scopes or the others out"},
		},
		{
			name: "a quota of services of a selector of pods",
			spec: "namespaceSelector: {}\nresources: {quota: {hard: {services: 4}, scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: Exists}]}}}",
			want: []string{"spec.resources.quota:", "scopeSelector is about pods"},
		},
		{
			name: "a quota selected by a scope that does not exist",
			spec: "namespaceSelector: {}\nresources: {quota: {hard: {pods: 4}, scopeSelector: {matchExpressions: [{scopeName: Foo, operator: Exists}]}}}",
			want: []string{"scopeSelector.matchExpressions[0].scopeName: Unsupported value"},
		},
		{
			name: "a quota selected by a scope with values that has none",
			spec: "namespaceSelector: {}\nresources: {quota: {hard: {pods: 4}, scopeSelector: {matchExpressions: [{scopeName: BestEffort, operator: In, values: [a]}]}}}",
			want: []string{"scopeSelector.matchExpressions[0]:", "only PriorityClass has values"},
		},
		{
			name: "a LimitRange of what containers do not use",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, max: {pods: 4}}]}}",
			want: []string{"spec.resources.limitRange.limits[0].max:", "such as cpu, memory"},
		},
		{
			name: "a LimitRange of containers with storage",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, max: {storage: 1Gi}}]}}",
			want: []string{"spec.resources.limitRange.limits[0]:", "of type PersistentVolumeClaim can only hold storage"},
		},
		{
			name: "a LimitRange whose default is smaller than its min",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, min: {cpu: 1}, default: {cpu: 500m}}]}}",
			want: []string{"spec.resources.limitRange.limits[0]:", "default is smaller than min"},
		},
		{
			name: "a LimitRange whose defaultRequest is larger than its max",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, max: {ephemeral-storage: 1Gi}, defaultRequest: {ephemeral-storage: 2Gi}}]}}",
			want: []string{"spec.resources.limitRange.limits[0]:", "defaultRequest is larger than max"},
		},
		{
			name: "a LimitRange whose defaultRequest is smaller than its min",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, min: {cpu: 1}, defaultRequest: {cpu: 500m}}]}}",
			want: []string{"spec.resources.limitRange.limits[0]:", "defaultRequest is smaller than min"},
		},
		{
			name: "a LimitRange by which devices are requested but not limited",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, max: {example.com/gpu: 2}, defaultRequest: {example.com/gpu: 1}}]}}",
			want: []string{"spec.resources.limitRange.limits[0]:", "make defaultRequest and default, or max, equal"},
		},
		{
			name: "a LimitRange whose ratio is less than 1",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, maxLimitRequestRatio: {cpu: 500m}}]}}",
			want: []string{"spec.resources.limitRange.limits[0]:", "maxLimitRequestRatio is less than 1"},
		},
		{
			name: "a LimitRange whose ratio no limit could reach",
			spec: "namespaceSelector: {}\nresources: {limitRange: {limits: [{type: Container, min: {cpu: 1}, max: {cpu: 2}, maxLimitRequestRatio: {cpu: 3}}]}}",
			want: []string{"spec.resources.limitRange.limits[0]:", "maxLimitRequestRatio is larger than max divided by min"},
		},
		{
			name: "an exception that expires, in UTC, in a year of five digits",
			spec: exceptions + "  - {name: a, namespaces: [x], controls: [Network], reason: the gateway moves, expires: \"9999-12-31T23:59:59-01:00\"}",
			want: []string{"spec.exceptions[0].expirationTime"},
		},
		{
			name: "a contact of two lines",
			spec: "namespaceSelector: {}\ncontact: \"a\\nb\"\nguard: {}",
			want: []string{"spec.contact:", "must be one line"},
		},
		{
			name: "two bindings with one name",
			spec: bindings + "  - {name: a, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: User, name: u}]}\n" +
				"  - {name: a, roleRef: {kind: ClusterRole, name: edit}, subjects: [{kind: User, name: u}]}",
			want: []string{`spec.rbac.roleBindings[1]: Duplicate value: {"name":"a"}`},
		},
		{
			name: "a binding whose name would not make a valid object name",
			spec: bindings + "  - {name: a/b, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: User, name: u}]}",
			want: []string{"spec.rbac.roleBindings[0].name", "must be lowercase letters, digits"},
		},
		{
			name: "a binding whose name is too long with our prefix",
			spec: bindings + "  - {name: " + strings.Repeat("a", 236) + ", roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: User, name: u}]}",
			want: []string{"spec.rbac.roleBindings[0].name: Too long"},
		},
		{
			name: "a binding to cluster-admin",
			spec: bindings + "  - {name: a, roleRef: {kind: ClusterRole, name: cluster-admin}, subjects: [{kind: User, name: u}]}",
			want: []string{"spec.rbac.roleBindings[0].roleRef", "must not be cluster-admin", "bind admin, edit, view or a ClusterRole of your own"},
		},
		{
			name: "a binding to what is no role",
			spec: bindings + "  - {name: a, roleRef: {kind: Group, name: view}, subjects: [{kind: User, name: u}]}",
			want: []string{`spec.rbac.roleBindings[0].roleRef.kind: Unsupported value: "Group": supported values: "Role", "ClusterRole"`},
		},
		{
			name: "a binding that names nobody",
			spec: bindings + "  - {name: a, roleRef: {kind: ClusterRole, name: view}}",
			want: []string{"spec.rbac.roleBindings[0]", "add subjects, subjectsFrom or both"},
		},
		{
			name: "a ServiceAccount without a namespace",
			spec: bindings + "  - {name: a, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: ServiceAccount, name: ci}]}",
			want: []string{"spec.rbac.roleBindings[0].subjects[0]", "needs a namespace; add the one"},
		},
		{
			name: "a ServiceAccount whose name bears its namespace",
			spec: bindings + "  - {name: a, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: ServiceAccount, name: \"ci:bot\", namespace: ci}]}",
			want: []string{"spec.rbac.roleBindings[0].subjects[0]", "without its namespace"},
		},
		{
			name: "a user in a namespace",
			spec: bindings + "  - {name: a, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: User, name: u, namespace: ci}]}",
			want: []string{"spec.rbac.roleBindings[0].subjects[0]", "has no namespace; remove it"},
		},
		{
			name: "a subject of the wrong apiGroup",
			spec: bindings + "  - {name: a, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: User, name: u, apiGroup: apps}]}",
			want: []string{"spec.rbac.roleBindings[0].subjects[0]", "apiGroup must be rbac.authorization.k8s.io"},
		},
		{
			name: "a subject of an unknown kind",
			spec: bindings + "  - {name: a, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: Robot, name: u}]}",
			want: []string{`subjects[0].kind: Unsupported value: "Robot"`},
		},
		{
			name: "a subject among Kubernetes' own, chosen by a label",
			spec: bindings + "  - {name: a, roleRef: {kind: ClusterRole, name: view}, subjectsFrom: [{kind: Group, prefix: \"system:\", label: team}]}",
			want: []string{"spec.rbac.roleBindings[0].subjectsFrom[0].prefix", "must not begin with system:"},
		},
		{
			name: "a subject from what is no label",
			spec: bindings + "  - {name: a, roleRef: {kind: ClusterRole, name: view}, subjectsFrom: [{kind: Group, label: \"a b\"}]}",
			want: []string{"spec.rbac.roleBindings[0].subjectsFrom[0].label", "must be the key of a label"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			name := test.baseline
			if name == "" {
				name = "refused"
			}
			out, err := apply(t, name, indented(test.spec))
			if err == nil {
				t.Fatalf("it was accepted: %s", out)
			}
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in the message:\n%s", want, out)
				}
			}
		})
	}
}

// Blocked, it would be cut out of itself.
func TestKubectlApplyRefusesAMetadataServiceByItself(t *testing.T) {
	for _, address := range []string{
		"169.254.169.254/32", "169.254.0.23/32", "169.254.42.42/32", "100.100.100.200/32", "192.0.0.192/32",
		"fd00:ec2::254/128", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128", "fd00:42::42/128", "fd00:a9fe:a9fe::1/128", "fe80::a9fe:a9fe/128",
	} {
		for _, rules := range []string{"policyTypes: [Egress], egress: [{to: ", "ingress: [{from: "} {
			spec := "namespaceSelector: {}\nnetwork:\n  policies:\n  - {name: a, spec: {" + rules + "[{ipBlock: {cidr: \"" + address + "\"}}]}]}}"
			if out, err := apply(t, "refused", indented(spec)); err == nil || !strings.Contains(out, "set network.blockMetadataService to false") {
				t.Errorf("%s: %s", spec, out)
			}
		}
	}
}

func TestKubectlApplyAccepts(t *testing.T) {
	const policies = "namespaceSelector: {}\nnetwork:\n  policies:\n"
	for name, spec := range map[string]string{
		"a DNS allowance that is refused where egress is not denied, switched off": "namespaceSelector: {}\nnetwork: {defaultDeny: [Ingress], allow: {dns: false}}",
		"a RoleBinding's roleRef and subjects as they stand in Kubernetes": "namespaceSelector: {}\nrbac:\n  roleBindings:\n" +
			"  - name: a\n    roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}\n" +
			"    subjects:\n    - {apiGroup: rbac.authorization.k8s.io, kind: User, name: u}\n    - {apiGroup: \"\", kind: ServiceAccount, name: ci, namespace: ci}",
		"a role with a colon in its name": "namespaceSelector: {}\nrbac:\n  roleBindings:\n" +
			"  - {name: a, roleRef: {kind: ClusterRole, name: \"system:auth-delegator\"}, subjects: [{kind: User, name: u}]}",
		"the metadata service alone, where it is not blocked": policies +
			"  - {name: a, spec: {policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 169.254.169.254/32}}]}]}}\n  blockMetadataService: false",
		"a policy that uses every field": policies + `  - name: a
    spec:
      podSelector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: NotIn, values: [db, cache]}, {key: x, operator: Exists}]}
      policyTypes: [Ingress, Egress]
      ingress:
      - ports: [{port: 80}, {port: http, protocol: TCP}, {port: 8000, endPort: 9000, protocol: SCTP}, {protocol: UDP}]
        from: [{podSelector: {}, namespaceSelector: {}}, {ipBlock: {cidr: "2001:db8::/64", except: ["2001:db8::/96"]}}]
      egress:
      - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]
      - {}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out, err := apply(t, "accepted", indented(spec)); err != nil {
				t.Fatalf("it was refused: %s", out)
			}
		})
	}
}
