package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Signal sends a process of the control plane a signal: etcd, kube-apiserver or
// kube-controller-manager.
func (c *Cluster) Signal(name string, signal syscall.Signal) error {
	// The supervisor is their parent.
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", c.process.Process.Pid))
	if err != nil {
		return err
	}
	for _, file := range files {
		children, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for child := range strings.FieldsSeq(string(children)) {
			// The kernel knows names by their first 15 characters.
			command, err := os.ReadFile(filepath.Join("/proc", child, "comm"))
			if err != nil || strings.TrimSpace(string(command)) != name[:min(len(name), 15)] {
				continue
			}
			pid, err := strconv.Atoi(child)
			if err != nil {
				return err
			}
			return syscall.Kill(pid, signal)
		}
	}
	return fmt.Errorf("the control plane has no process %s", name)
}

// StartAPIServer starts kube-apiserver, which was killed, or restarts it, and waits
// until it serves. It does not concern the other processes.
func (c *Cluster) StartAPIServer() error {
	if _, err := fmt.Fprintln(c.lifeline, startAPIServer); err != nil {
		return fmt.Errorf("asking the supervisor: %w", err)
	}
	answer, err := c.answers.ReadString('\n')
	if err != nil {
		return fmt.Errorf("waiting for the supervisor: %w", err)
	}
	if answer = strings.TrimSpace(answer); answer != "" {
		return errors.New(answer)
	}
	return nil
}
