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

// BuildManager builds the operator from this checkout into dir and returns the path of
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

// Manager is an operator that runs as a separate process, with the operator's
// ServiceAccount.
type Manager struct {
	// MetricsAddress is the address of its metrics endpoint, which uses HTTPS.
	MetricsAddress string
	// LogFile is the path of its log.
	LogFile string

	process *exec.Cmd
}

// StartManager starts an executable of the operator with these flags, and with the flags
// that it needs outside a cluster. It logs to the file log.
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
	defer func() { _ = file.Close() }() // the process has its own descriptor
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

// PID returns the process ID.
func (m *Manager) PID() int { return m.process.Process.Pid }

// Signal sends a signal to the process.
func (m *Manager) Signal(signal os.Signal) error { return m.process.Process.Signal(signal) }

// Stop shuts the process down gracefully and waits until it has exited.
func (m *Manager) Stop() error { return m.end(syscall.SIGTERM) }

// Kill kills the process, like a crash, and waits until it has exited.
func (m *Manager) Kill() error { return m.end(syscall.SIGKILL) }

func (m *Manager) end(signal os.Signal) error {
	if err := m.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping the operator: %w", err)
	}
	_ = m.process.Wait() // the exit code does not matter
	return nil
}

// Scrape requests the metrics with a bearer token. It returns the HTTP status and the
// body.
func (m *Manager) Scrape(ctx context.Context, token string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+m.MetricsAddress+"/metrics", nil)
	if err != nil {
		return 0, "", err
	}
	if token = strings.TrimSpace(token); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	// The operator uses a self-signed certificate.
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

// FreeAddress returns a loopback address with a free port.
func FreeAddress() (string, error) {
	port, err := freePort()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}
