// Package policies embeds the admission policies, which are YAML files.
package policies

import "embed"

// Files contains one YAML file for each policy, and kustomization.yaml. The CEL of a policy
// is the same for all baselines: it reads the SecurityBaseline, which is the policy's
// parameter.
//
//go:generate go run ./internal/generate
//go:embed *.yaml
var Files embed.FS
