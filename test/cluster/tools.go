package cluster

import (
	"context"
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
