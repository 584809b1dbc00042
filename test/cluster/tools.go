package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Tool is a command of a tool that make test-tools builds into bin/, with the
// cluster's admin for those that talk to one.
func (c *Cluster) Tool(ctx context.Context, name string, args ...string) *exec.Cmd {
	command := Tool(ctx, name, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "HOME="+c.dir)
	return command
}

// Tool is a command of a tool that make test-tools builds into bin/.
func Tool(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(Root(), "bin", name), args...)
}

// Manager builds the operator from this checkout into a directory and returns the
// executable.
func Manager(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "manager")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd")
	build.Dir = Root()
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the operator: %w\n%s", err, out)
	}
	return path, nil
}
