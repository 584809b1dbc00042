// Package cluster runs a real Kubernetes control plane on this machine: etcd,
// kube-apiserver and kube-controller-manager on free loopback ports, with their own CA
// and with RBAC. There are no nodes, so pods stay Pending.
//
// envtest alone is not enough, because it does not run kube-controller-manager.
//
// A supervisor owns the control plane. It is this executable, started again. When its
// standard input closes, it stops all processes and removes all files. Its standard input
// closes whenever the parent exits, even after a panic, a timeout or kill -9.
package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// supervisorEnv makes an executable that calls Main a supervisor. The arguments of the
// supervisor are flags of kube-apiserver.
const supervisorEnv = "SECURITYBASELINE_TEST_SUPERVISE"

// Cluster is a running control plane.
type Cluster struct {
	// Admin is the client configuration of a member of system:masters.
	Admin *rest.Config
	// EtcdURL is the URL of etcd. It needs no authentication.
	EtcdURL string

	dir      string
	lifeline io.WriteCloser
	answers  *bufio.Reader
	process  *exec.Cmd
}

// Main must be the first call in main or TestMain of each executable that calls Start.
// In the supervisor it does not return.
func Main() {
	if os.Getenv(supervisorEnv) == "" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := supervise(ctx, os.Stdin, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "control plane:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Start starts a control plane and waits until it serves. It needs the binaries of make
// controlplane, in the directory KUBEBUILDER_ASSETS or in bin/k8s. flags are additional
// flags of kube-apiserver, in the form --name=value.
func Start(ctx context.Context, flags ...string) (*Cluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this executable: %w", err)
	}
	process := exec.CommandContext(ctx, self, flags...)
	process.Env = append(os.Environ(), supervisorEnv+"=1")
	process.Stderr = os.Stderr
	// With its own process group, the supervisor does not receive Ctrl-C. The parent does;
	// when it exits, the lifeline closes.
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err := process.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("creating the stdin pipe of the supervisor: %w", err)
	}
	process.Cancel = lifeline.Close
	stdout, err := process.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("creating the stdout pipe of the supervisor: %w", err)
	}
	if err := process.Start(); err != nil {
		return nil, fmt.Errorf("starting the supervisor: %w", err)
	}
	c := &Cluster{lifeline: lifeline, answers: bufio.NewReader(stdout), process: process}

	line, err := c.answers.ReadString('\n')
	if err != nil {
		return nil, errors.Join(errors.New("the control plane did not start"), c.Stop())
	}
	c.EtcdURL, c.dir, _ = strings.Cut(strings.TrimSpace(line), " ")
	c.Admin, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the admin's kubeconfig: %w", err), c.Stop())
	}
	// The API server has its own limits: priority and fairness.
	c.Admin.QPS = -1
	return c, nil
}

// Stop stops the control plane and waits until all its processes have exited and its
// files are removed.
func (c *Cluster) Stop() error {
	// The supervisor may have exited already. Then Wait returns its error.
	_ = c.lifeline.Close()
	// A done context stops the supervisor too, so it is not an error.
	if err := c.process.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("stopping the control plane: %w", err)
	}
	return nil
}

// Kubeconfig returns the path of the admin's kubeconfig.
func (c *Cluster) Kubeconfig() string {
	return filepath.Join(c.dir, adminKubeconfig)
}

// Kubectl returns a kubectl command that runs as the admin.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(assetsDir(), "kubectl"), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "HOME="+c.dir)
	return command
}
