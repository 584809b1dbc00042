package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fleet keeps replicas of the operator running, as the kubelet would.
type fleet struct {
	shared sharedDir
	log    string

	mutex      sync.Mutex
	running    map[int]*exec.Cmd
	exits      int
	isStopping bool
	group      sync.WaitGroup
}

func startFleet(replicas int, shared sharedDir, log string) (*fleet, error) {
	f := &fleet{shared: shared, log: log, running: map[int]*exec.Cmd{}}
	if err := f.setClock(0); err != nil {
		return nil, err
	}
	for range replicas {
		f.group.Go(f.keepReplica)
	}
	return f, nil
}

// keepReplica restarts one replica whenever it exits.
func (f *fleet) keepReplica() {
	for {
		process, err := f.startReplica()
		if err != nil {
			if !errors.Is(err, errStopping) {
				fmt.Fprintln(os.Stderr, "starting an operator:", err)
			}
			return
		}
		_ = process.Wait() // the replica was usually killed
		f.mutex.Lock()
		delete(f.running, process.Process.Pid)
		f.exits++
		f.mutex.Unlock()
	}
}

var errStopping = errors.New("the fleet is stopping")

func (f *fleet) startReplica() (*exec.Cmd, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.isStopping {
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
	defer func() { _ = log.Close() }() // the process has its own descriptor
	process := exec.Command(self)
	process.Env = append(os.Environ(), operatorEnv+"="+string(f.shared))
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		return nil, err
	}
	f.running[process.Process.Pid] = process
	return process, nil
}

// leader returns the PID of the replica that was elected last, or 0 if it is not
// running.
func (f *fleet) leader() int {
	data, err := os.ReadFile(f.shared.leaderPath())
	pid, parseErr := strconv.Atoi(string(data))
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if err != nil || parseErr != nil || f.running[pid] == nil {
		return 0
	}
	return pid
}

// otherThan returns the PID of a running replica other than this one, or 0.
func (f *fleet) otherThan(pid int) int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for other := range f.running {
		if other != pid {
			return other
		}
	}
	return 0
}

// signal sends a signal to a replica. It reports whether the replica was running.
func (f *fleet) signal(pid int, signal syscall.Signal) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	process := f.running[pid]
	return process != nil && process.Process.Signal(signal) == nil
}

// setClock sets the offset of the operators' clock.
func (f *fleet) setClock(ahead time.Duration) error {
	next := f.shared.clockOffsetPath() + ".next"
	if err := os.WriteFile(next, []byte(strconv.FormatInt(int64(ahead), 10)), 0o600); err != nil {
		return err
	}
	return os.Rename(next, f.shared.clockOffsetPath())
}

// stop terminates all replicas and waits for them.
func (f *fleet) stop() {
	f.mutex.Lock()
	f.isStopping = true
	for _, process := range f.running {
		_ = process.Process.Signal(syscall.SIGCONT)
		_ = process.Process.Signal(syscall.SIGTERM)
	}
	f.mutex.Unlock()
	f.group.Wait()
}

// forbiddenInLog matches messages that no operator may log.
var forbiddenInLog = regexp.MustCompile(`WARNING: DATA RACE|panic|fatal error`)

// checkLog returns an error if the operators' log contains a data race or a panic.
func (f *fleet) checkLog() error {
	data, err := os.ReadFile(f.log)
	if err != nil {
		return err
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if forbiddenInLog.MatchString(line) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if len(lines) > 0 {
		return fmt.Errorf("the operators' log contains:\n%s", strings.Join(lines, "\n"))
	}
	return nil
}
