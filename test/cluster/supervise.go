package cluster

import (
	"bufio"
	"context"
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
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	adminKubeconfig = "admin.kubeconfig"
	startTimeout    = 2 * time.Minute
	stopTimeout     = 30 * time.Second
	// startAPIServer is the command that restarts kube-apiserver.
	startAPIServer = "start kube-apiserver"
)

// supervise runs a control plane until in closes. When it serves, it writes the URL of
// etcd and the path of its directory to out. Each line of in is a command; the response
// is a line with the error, or an empty line. flags are additional flags of
// kube-apiserver.
func supervise(ctx context.Context, in io.Reader, out io.Writer, flags []string) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	commands := make(chan string)
	go func() {
		defer cancel()
		for lines := bufio.NewScanner(in); lines.Scan(); {
			select {
			case commands <- lines.Text():
			case <-ctx.Done():
			}
		}
	}()

	dir, err := os.MkdirTemp("", "securitybaseline-controlplane-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	env, err := newEnvironment(dir, flags)
	if err != nil {
		return err
	}
	// Stop even after a failed Start: one of the two servers may be running.
	defer func() { err = errors.Join(err, env.Stop()) }()
	admin, err := env.Start()
	if err != nil {
		return fmt.Errorf("starting etcd and kube-apiserver: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, adminKubeconfig), env.KubeConfig, 0o600); err != nil {
		return err
	}
	stopManager, err := startControllerManager(ctx, env, admin, dir)
	if err != nil {
		return fmt.Errorf("starting kube-controller-manager: %w", err)
	}
	defer func() { err = errors.Join(err, stopManager()) }()

	if _, err := fmt.Fprintln(out, env.ControlPlane.Etcd.URL, dir); err != nil {
		return err
	}
	return executeCommands(ctx, env, commands, out)
}

// executeCommands runs commands and writes their responses until the context is done.
func executeCommands(ctx context.Context, env *envtest.Environment, commands <-chan string, out io.Writer) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case command := <-commands:
			response := ""
			if err := execute(env, command); err != nil {
				response = strings.ReplaceAll(err.Error(), "\n", "; ")
			}
			if _, err := fmt.Fprintln(out, response); err != nil {
				return err
			}
		}
	}
}

// execute runs a command.
func execute(env *envtest.Environment, command string) error {
	if command != startAPIServer {
		return fmt.Errorf("unknown command %q", command)
	}
	server := env.ControlPlane.GetAPIServer()
	if err := server.Stop(); err != nil { // it was killed, or stops now
		return err
	}
	return server.Start()
}

func newEnvironment(dir string, flags []string) (*envtest.Environment, error) {
	if _, err := os.Stat(filepath.Join(assetsDir(), "kube-controller-manager")); err != nil {
		return nil, fmt.Errorf("the control plane is missing; build it with make controlplane: %w", err)
	}
	env := &envtest.Environment{
		BinaryAssetsDirectory:    assetsDir(),
		ControlPlaneStartTimeout: startTimeout,
		ControlPlaneStopTimeout:  stopTimeout,
	}
	for _, sub := range []string{"pki", "etcd"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	env.ControlPlane.Etcd = &envtest.Etcd{DataDir: filepath.Join(dir, "etcd")}
	server := env.ControlPlane.GetAPIServer()
	server.CertDir = filepath.Join(dir, "pki")
	// envtest disables ServiceAccount admission because it runs no controllers. Here
	// they run.
	server.Configure().Disable("disable-admission-plugins")
	for _, flag := range flags {
		name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		server.Configure().Append(name, value)
	}
	return env, nil
}

// startControllerManager starts kube-controller-manager and waits until it is healthy.
// The returned function stops it.
func startControllerManager(ctx context.Context, env *envtest.Environment, admin *rest.Config, dir string) (func() error, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	pki := env.ControlPlane.GetAPIServer().CertDir
	ca := filepath.Join(pki, "ca.crt")
	if err := os.WriteFile(ca, admin.CAData, 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "kube-controller-manager.log"))
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(dir, adminKubeconfig)
	command := exec.Command(filepath.Join(assetsDir(), "kube-controller-manager"),
		"--kubeconfig="+kubeconfig,
		"--authentication-kubeconfig="+kubeconfig,
		"--authorization-kubeconfig="+kubeconfig,
		"--bind-address=127.0.0.1",
		"--secure-port="+strconv.Itoa(port),
		"--cert-dir="+filepath.Join(dir, "kube-controller-manager"),
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+filepath.Join(pki, "sa-signer.key"),
		"--root-ca-file="+ca,
		"--kube-api-qps=500", "--kube-api-burst=1000",
		"--concurrent-namespace-syncs=50",
	)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return nil, err
	}
	stop := func() error {
		// kube-controller-manager has no state, so it needs no graceful shutdown.
		_ = command.Process.Kill()
		_ = command.Wait()
		return log.Close()
	}

	if err := waitForHealthy(ctx, port); err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// waitForHealthy waits until the server on a local port is healthy.
func waitForHealthy(ctx context.Context, port int) error {
	health := fmt.Sprintf("https://127.0.0.1:%d/healthz", port)
	insecure, err := transport.New(&transport.Config{TLS: transport.TLSConfig{Insecure: true}})
	if err != nil {
		return err
	}
	client := &http.Client{Transport: insecure, Timeout: time.Second}
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, startTimeout, true, func(context.Context) (bool, error) {
		response, err := client.Get(health)
		if err != nil {
			return false, nil //nolint:nilerr // not serving yet
		}
		return response.StatusCode == http.StatusOK, response.Body.Close()
	})
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// assetsDir returns the directory of the control plane binaries.
func assetsDir() string {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir
	}
	return filepath.Join(Root(), "bin", "k8s")
}

// Root returns the root directory of the checkout: the closest parent of the working
// directory with a file named PROJECT.
func Root() string {
	dir, err := os.Getwd()
	if err != nil {
		return "."
	}
	for parent := dir; ; parent = filepath.Dir(parent) {
		if _, err := os.Stat(filepath.Join(parent, "PROJECT")); err == nil {
			return parent
		}
		if parent == filepath.Dir(parent) {
			return dir
		}
	}
}
