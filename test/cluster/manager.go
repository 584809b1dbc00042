package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// BuildManager builds the operator from this checkout into a directory and returns
// the executable.
func BuildManager(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "manager")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd")
	build.Dir = Root()
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the operator: %w\n%s", err, out)
	}
	return path, nil
}

// Manager is the operator's executable at work: a process of its own, as the
// operator's ServiceAccount.
type Manager struct {
	// Metrics is where it serves them, over HTTPS.
	MetricsAddress string
	// Log is the file of its log.
	LogFile string

	process *exec.Cmd
}

// StartManager starts an executable with these flags besides those of a cluster
// without nodes. There is no node here for its Deployment to run on.
func (c *Cluster) StartManager(ctx context.Context, executable, log string, flags ...string) (*Manager, error) {
	config, err := c.OperatorConfig(ctx)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := c.WriteKubeconfig("operator.kubeconfig", config)
	if err != nil {
		return nil, err
	}
	metrics, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the process has its own
	m := &Manager{MetricsAddress: metrics, LogFile: log}
	m.process = exec.CommandContext(ctx, executable, append([]string{
		"--kubeconfig=" + kubeconfig, "--health-probe-bind-address=0", "--metrics-bind-address=" + metrics,
	}, flags...)...)
	m.process.Env = append(os.Environ(), "POD_NAMESPACE="+OperatorNamespace)
	m.process.Stdout, m.process.Stderr = file, file
	m.process.Cancel = func() error { return m.process.Process.Signal(syscall.SIGTERM) }
	if err := m.process.Start(); err != nil {
		return nil, fmt.Errorf("starting the operator: %w", err)
	}
	return m, nil
}

// PID is that of the process.
func (m *Manager) PID() int { return m.process.Process.Pid }

// Signal sends the process a signal.
func (m *Manager) Signal(signal os.Signal) error { return m.process.Process.Signal(signal) }

// Stop ends the process in good order and waits until it has ended.
func (m *Manager) Stop() error { return m.end(syscall.SIGTERM) }

// Kill ends it as a crash would.
func (m *Manager) Kill() error { return m.end(syscall.SIGKILL) }

func (m *Manager) end(signal os.Signal) error {
	if err := m.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending the operator: %w", err)
	}
	_ = m.process.Wait() // how it ended is its own business
	return nil
}

// Scrape returns the status and the body of what it answers to whoever asks for its
// metrics with this token.
func (m *Manager) Scrape(ctx context.Context, token string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+m.MetricsAddress+"/metrics", nil)
	if err != nil {
		return 0, "", err
	}
	if token = strings.TrimSpace(token); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	// The certificate is one that the operator made for itself.
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

// FreeAddress returns an address on loopback on which nobody listens.
func FreeAddress() (string, error) {
	port, err := freePort()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}
