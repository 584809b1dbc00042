// Command generate inserts the snippets of snippets.tmpl into the policies. It runs in
// config/policies: see policies.go.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"sigs.k8s.io/yaml"
)

// crd is the file that controller-gen generates from the API types.
const crd = "../crd/bases/securitybaseline.io_securitybaselines.yaml"

// generated matches what the generator inserted before: the indentation, the name of the
// snippet with its arguments, and the inserted lines up to the end marker.
var generated = regexp.MustCompile(`(?ms)^( *)# generated from snippets\.tmpl: ([^\n]+)\n(.*?)^ *# end generated\n`)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generating policies:", err)
		os.Exit(1)
	}
}

func run() error {
	maxRoleBindings, err := readMaxRoleBindings()
	if err != nil {
		return err
	}
	functions := template.FuncMap{"maxRoleBindings": func() int { return maxRoleBindings }}
	snippets, err := template.New("").Funcs(functions).ParseFiles("snippets.tmpl")
	if err != nil {
		return err
	}
	files, err := filepath.Glob("*.yaml")
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := insertSnippets(file, snippets); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// definition is the part of a CustomResourceDefinition that the generator reads.
type definition struct {
	Spec struct {
		Versions []struct {
			Schema struct {
				OpenAPIV3Schema schema `json:"openAPIV3Schema"`
			} `json:"schema"`
		} `json:"versions"`
	} `json:"spec"`
}

type schema struct {
	Properties map[string]schema `json:"properties"`
	MaxItems   int               `json:"maxItems"`
}

// readMaxRoleBindings returns how many spec.rbac.roleBindings the CRD allows.
func readMaxRoleBindings() (int, error) {
	data, err := os.ReadFile(crd)
	if err != nil {
		return 0, err
	}
	var parsed definition
	if err := yaml.Unmarshal(data, &parsed); err != nil {
		return 0, fmt.Errorf("%s: %w", crd, err)
	}
	spec := parsed.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	maxItems := spec.Properties["rbac"].Properties["roleBindings"].MaxItems
	if maxItems == 0 {
		return 0, fmt.Errorf("%s: spec.rbac.roleBindings has no maxItems", crd)
	}
	return maxItems, nil
}

// insertSnippets replaces the generated parts of a policy.
func insertSnippets(file string, snippets *template.Template) error {
	policy, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var failed error
	updated := generated.ReplaceAllFunc(policy, func(part []byte) []byte {
		match := generated.FindSubmatch(part)
		indent := string(match[1])
		call := strings.Fields(string(match[2]))
		var snippet bytes.Buffer
		if err := snippets.ExecuteTemplate(&snippet, call[0], call[1:]); err != nil {
			failed = err
			return part
		}
		lines := fmt.Sprintf("\n# generated from snippets.tmpl: %s%s\n# end generated", match[2], snippet.String())
		return []byte(strings.TrimPrefix(strings.ReplaceAll(lines, "\n", "\n"+indent), "\n") + "\n")
	})
	if failed != nil || bytes.Equal(policy, updated) {
		return failed
	}
	return os.WriteFile(file, updated, 0o644)
}
