package cluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

// Tool returns a command of a tool that make test-tools builds into bin/. The command
// runs as the cluster's admin.
func (c *Cluster) Tool(ctx context.Context, name string, args ...string) *exec.Cmd {
	command := Tool(ctx, name, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "HOME="+c.dir)
	return command
}

// Tool returns a command of a tool that make test-tools builds into bin/.
func Tool(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(Root(), "bin", name), args...)
}
