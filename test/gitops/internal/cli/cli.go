// Package cli has what both commands share: flags, input files and output.
package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// Parse parses the flags. It exits with status 2 if a required flag is missing.
func Parse(required ...string) {
	flag.Parse()
	for _, name := range required {
		if flag.Lookup(name).Value.String() != "" {
			continue
		}
		fmt.Fprintf(os.Stderr, "flag --%s is required\n", name)
		flag.Usage()
		os.Exit(2)
	}
}

// Kubeconfig reads a kubeconfig. The client has no rate limit.
func Kubeconfig(path string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS = -1
	return config, nil
}

// Manifests returns the YAML files of a directory as one stream of documents.
func Manifests(dir string) ([]byte, error) {
	// A missing directory must be an error. As an empty one, it would prune everything.
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing the manifests: %w", err)
	}
	var files [][]byte
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".yaml" {
			continue
		}
		file, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading a manifest: %w", err)
		}
		files = append(files, file)
	}
	return bytes.Join(files, []byte("\n---\n")), nil
}

// Unmarshal decodes a YAML or JSON file into a value. Unknown fields are an error.
func Unmarshal(path string, into any) error {
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(file, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// MergePatch returns the JSON merge patch that changes from into to.
func MergePatch(from, to []byte) (json.RawMessage, error) {
	patch, err := jsonpatch.CreateMergePatch(from, to)
	if err != nil {
		return nil, fmt.Errorf("comparing: %w", err)
	}
	return patch, nil
}

// Exit prints the document, even after a failure, and exits.
func Exit(document any, err error) {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	if err := errors.Join(err, encoder.Encode(document)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
