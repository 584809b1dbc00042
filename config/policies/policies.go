// Package policies holds the admission policies as YAML.
package policies

import "embed"

// Files are the policies. Their CEL is static: what differs from one baseline to
// another it reads from the SecurityBaseline, which is their parameter.
//
//go:embed authors.yaml born.yaml cluster-admin.yaml gate.yaml guard.yaml guard-namespaces.yaml images.yaml workloads.yaml
var Files embed.FS
