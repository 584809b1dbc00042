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

// Signal sends a signal to a process of the control plane: etcd, kube-apiserver or
// kube-controller-manager.
func (c *Cluster) Signal(name string, signal syscall.Signal) error {
	// The supervisor is the parent of these processes.
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", c.process.Process.Pid))
	if err != nil {
		return err
	}
	for _, file := range files {
		children, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has exited
		}
		for child := range strings.FieldsSeq(string(children)) {
			// The kernel truncates names to 15 characters.
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
	return fmt.Errorf("no process of the control plane is named %s", name)
}

// StartAPIServer starts kube-apiserver after it was killed, or restarts it. It waits
// until kube-apiserver serves and does not affect the other processes.
func (c *Cluster) StartAPIServer() error {
	if _, err := fmt.Fprintln(c.lifeline, startAPIServer); err != nil {
		return fmt.Errorf("sending a command to the supervisor: %w", err)
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
