// Package policies holds the admission policies as YAML.
package policies

import "embed"

// Files are the policies. Their CEL is static: what differs from one baseline to
// another it reads from the SecurityBaseline, which is their parameter.
//
//go:embed images.yaml label-new-namespaces.yaml protect-managed-objects.yaml protect-namespace-labels.yaml require-bind-permission.yaml restrict-cluster-admin.yaml wait-for-default-deny.yaml workloads.yaml
var Files embed.FS
