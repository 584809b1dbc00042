package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/securitybaseline/operator/controllers"
	"github.com/securitybaseline/operator/test/cluster"
)

// The operators are this same executable, started again, so that the race detector
// is on in them if it is on here, and so that their clock can be set. They differ from
// cmd in their flags, and in a lease that is short enough to be lost often.
const (
	operatorEnv   = "SECURITYBASELINE_CHAOS_OPERATOR"
	leaseDuration = 4 * time.Second
	renewDeadline = 3 * time.Second
	retryPeriod   = 500 * time.Millisecond
)

// operatorMain does not return in an operator.
func operatorMain() {
	dir := os.Getenv(operatorEnv)
	if dir == "" {
		return
	}
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	if err := operate(files(dir)); err != nil {
		fmt.Fprintln(os.Stderr, "the operator ends:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// files is the directory that the operators share with their fleet.
type files string

func (f files) kubeconfig() string { return filepath.Join(string(f), "kubeconfig") }

// clock holds how far their clock is ahead, in nanoseconds.
func (f files) clock() string { return filepath.Join(string(f), "clock") }

// leader holds the process that was last elected.
func (f files) leader() string { return filepath.Join(string(f), "leader") }

func operate(shared files) error {
	config, err := clientcmd.BuildConfigFromFlags("", shared.kubeconfig())
	if err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	mgr, err := controllers.NewManager(config, ctrl.Options{
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		LeaderElection:                true,
		LeaderElectionNamespace:       cluster.OperatorNamespace,
		LeaderElectionID:              "leader.securitybaseline.io",
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 new(leaseDuration),
		RenewDeadline:                 new(renewDeadline),
		RetryPeriod:                   new(retryPeriod),
	}, controllers.Options{Clock: cluster.Clock(clock(ctx, shared)), ProtectedNamespaces: []string{cluster.OperatorNamespace}})
	if err != nil {
		return err
	}
	go func() {
		<-mgr.Elected()
		_ = os.WriteFile(shared.leader(), []byte(strconv.Itoa(os.Getpid())), 0o600)
	}()
	return mgr.Start(ctx)
}

// clock returns a clock that is as far ahead as the file says.
func clock(ctx context.Context, shared files) func() time.Time {
	var ahead atomic.Int64
	read := func() {
		data, err := os.ReadFile(shared.clock())
		if value, invalid := strconv.ParseInt(string(data), 10, 64); err == nil && invalid == nil {
			ahead.Store(value)
		}
	}
	read()
	go func() {
		for ctx.Err() == nil {
			read()
			pause(ctx, 20*time.Millisecond)
		}
	}()
	return func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
}

// fleet keeps replicas of the operator running, as the kubelet would.
type fleet struct {
	shared files
	log    string

	mutex    sync.Mutex
	running  map[int]*exec.Cmd
	ended    int
	stopping bool
	group    sync.WaitGroup
}

func startFleet(replicas int, shared files, log string) (*fleet, error) {
	f := &fleet{shared: shared, log: log, running: map[int]*exec.Cmd{}}
	if err := f.setClock(0); err != nil {
		return nil, err
	}
	for range replicas {
		f.group.Go(f.keep)
	}
	return f, nil
}

// keep keeps one replica running.
func (f *fleet) keep() {
	for {
		process, err := f.start()
		if err != nil {
			if !errors.Is(err, errStopping) {
				fmt.Fprintln(os.Stderr, "starting an operator:", err)
			}
			return
		}
		_ = process.Wait() // killed, most of the time
		f.mutex.Lock()
		delete(f.running, process.Process.Pid)
		f.ended++
		f.mutex.Unlock()
	}
}

var errStopping = errors.New("the fleet is stopping")

func (f *fleet) start() (*exec.Cmd, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.stopping {
		return nil, errStopping
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(f.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	process := exec.Command(self)
	process.Env = append(os.Environ(), operatorEnv+"="+string(f.shared))
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		return nil, err
	}
	f.running[process.Process.Pid] = process
	return process, nil
}

// leader returns the process that was last elected; zero if that is not running.
func (f *fleet) leader() int {
	data, err := os.ReadFile(f.shared.leader())
	pid, invalid := strconv.Atoi(string(data))
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if err != nil || invalid != nil || f.running[pid] == nil {
		return 0
	}
	return pid
}

// other returns a process that runs and is not this one; zero if there is none.
func (f *fleet) other(pid int) int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for other := range f.running {
		if other != pid {
			return other
		}
	}
	return 0
}

// signal sends a replica a signal, if it is running.
func (f *fleet) signal(pid int, signal syscall.Signal) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	process := f.running[pid]
	return process != nil && process.Process.Signal(signal) == nil
}

// setClock sets the operators' clock so far ahead.
func (f *fleet) setClock(ahead time.Duration) error {
	next := f.shared.clock() + ".next"
	if err := os.WriteFile(next, []byte(strconv.FormatInt(int64(ahead), 10)), 0o600); err != nil {
		return err
	}
	return os.Rename(next, f.shared.clock())
}

// stop ends every replica.
func (f *fleet) stop() {
	f.mutex.Lock()
	f.stopping = true
	for _, process := range f.running {
		_ = process.Process.Signal(syscall.SIGCONT)
		_ = process.Process.Signal(syscall.SIGTERM)
	}
	f.mutex.Unlock()
	f.group.Wait()
}

// wrong matches what no log of an operator may say.
var wrong = regexp.MustCompile(`WARNING: DATA RACE|panic|fatal error`)

// complaints returns an error if the operators' log tells of a race or a panic.
func (f *fleet) complaints() error {
	data, err := os.ReadFile(f.log)
	if err != nil {
		return err
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if wrong.MatchString(line) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if len(lines) > 0 {
		return fmt.Errorf("the operators' log says:\n%s", strings.Join(lines, "\n"))
	}
	return nil
}
