// Package cluster runs a real Kubernetes control plane on this machine: etcd,
// kube-apiserver and kube-controller-manager on free loopback ports, with a CA
// of their own and RBAC on. There are no nodes, so pods stay Pending.
//
// The control plane belongs to a supervisor: this same executable, started
// again. It stops everything and removes every file when its standard input
// closes, which happens however its parent ends: normally, by a panic, a timeout
// or kill -9. So nothing is ever left behind.
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

// superviseEnv makes an executable that calls Main a supervisor; its arguments are
// flags of kube-apiserver.
const supervisorEnv = "SECURITYBASELINE_TEST_SUPERVISE"

// Cluster is a running control plane.
type Cluster struct {
	// Admin is the configuration of a member of system:masters.
	Admin *rest.Config
	// Etcd is the URL of its etcd, which asks nobody who they are.
	EtcdURL string

	dir      string
	lifeline io.WriteCloser
	answers  *bufio.Reader
	process  *exec.Cmd
}

// Main must be called first in main or TestMain of every executable that calls
// Start. In the supervisor it does not return.
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

// Start starts a control plane and waits until it serves. It needs the binaries
// that make controlplane builds, in the directory KUBEBUILDER_ASSETS or bin/k8s.
// flags are further ones of kube-apiserver, as --name=value.
func Start(ctx context.Context, flags ...string) (*Cluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this executable: %w", err)
	}
	process := exec.CommandContext(ctx, self, flags...)
	process.Env = append(os.Environ(), supervisorEnv+"=1")
	process.Stderr = os.Stderr
	// A group of its own: Ctrl-C reaches the parent only, which ends and by that
	// closes the lifeline.
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err := process.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("making the supervisor's lifeline: %w", err)
	}
	process.Cancel = lifeline.Close
	answers, err := process.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("making the supervisor's output: %w", err)
	}
	if err := process.Start(); err != nil {
		return nil, fmt.Errorf("starting the supervisor: %w", err)
	}
	c := &Cluster{lifeline: lifeline, answers: bufio.NewReader(answers), process: process}

	line, err := c.answers.ReadString('\n')
	if err != nil {
		return nil, errors.Join(errors.New("the control plane did not start"), c.Stop())
	}
	c.EtcdURL, c.dir, _ = strings.Cut(strings.TrimSpace(line), " ")
	c.Admin, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the admin's kubeconfig: %w", err), c.Stop())
	}
	// The API server's own priority and fairness limits suffice.
	c.Admin.QPS = -1
	return c, nil
}

// Stop stops the control plane and waits until nothing of it is left.
func (c *Cluster) Stop() error {
	// The supervisor may have ended already; Wait tells.
	_ = c.lifeline.Close()
	// That the context is done is one way of asking it to stop.
	if err := c.process.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("stopping the control plane: %w", err)
	}
	return nil
}

// Kubeconfig is the path of the admin's kubeconfig.
func (c *Cluster) Kubeconfig() string {
	return filepath.Join(c.dir, adminKubeconfig)
}

// Kubectl is a kubectl command as admin.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(assetsDir(), "kubectl"), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "HOME="+c.dir)
	return command
}
