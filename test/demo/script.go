package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/securitybaseline/operator/test/cluster"
)

// waitTimeout is how long the script waits for an expected result.
const waitTimeout = 60 * time.Second

// script runs kubectl and prints its commands and their output. After the first failure,
// it does nothing more.
type script struct {
	ctx     context.Context
	cluster *cluster.Cluster
	manager *cluster.Manager
	err     error
}

func (s *script) explain(text string) {
	if s.err == nil {
		fmt.Printf("\n# %s\n", text)
	}
}

// kubectl runs a command that must succeed.
func (s *script) kubectl(args ...string) {
	if s.err != nil {
		return
	}
	out, err := s.run(args)
	printCommand(args, out)
	if err != nil {
		s.err = fmt.Errorf("kubectl %s: %w", args[0], err)
	}
}

// expectRejected runs a command that the API server must reject for this reason.
func (s *script) expectRejected(reason string, args ...string) {
	if s.err != nil {
		return
	}
	out, err := s.run(args)
	printCommand(args, out)
	if err == nil || !strings.Contains(out, reason) {
		s.err = fmt.Errorf("kubectl %s: got %q, want a rejection with %q", args[0], out, reason)
	}
}

// expect runs a command without printing it. The output must contain want.
func (s *script) expect(want string, args ...string) {
	if s.err != nil {
		return
	}
	if out, err := s.run(args); err != nil || !strings.Contains(out, want) {
		s.err = fmt.Errorf("kubectl %s: got %q, want %q", strings.Join(args, " "), out, want)
	}
}

// expectEventually repeats a command until its output contains want. It prints the last
// output.
func (s *script) expectEventually(want string, args ...string) {
	s.repeatUntil(want, func(err error) bool { return err == nil }, args)
}

// expectEventuallyRejected repeats a command that changes nothing, until the API server
// rejects it for this reason. The API server applies a new policy after a short
// delay.
func (s *script) expectEventuallyRejected(reason string, args ...string) {
	s.repeatUntil(reason, func(err error) bool { return err != nil }, args)
}

// repeatUntil repeats a command until accept returns true for its error and its output
// contains want.
func (s *script) repeatUntil(want string, accept func(error) bool, args []string) {
	if s.err != nil {
		return
	}
	var out string
	err := wait.PollUntilContextTimeout(s.ctx, 100*time.Millisecond, waitTimeout, true, func(context.Context) (bool, error) {
		var err error
		out, err = s.run(args)
		return accept(err) && strings.Contains(out, want), nil
	})
	printCommand(args, out)
	if err != nil {
		s.err = fmt.Errorf("kubectl %s: got %q, want %q: %w", args[0], out, want, err)
	}
}

// scrape prints the operator's metrics with names that have the prefix. It reads them as
// a ServiceAccount.
func (s *script) scrape(account, prefix string) {
	if s.err != nil {
		return
	}
	token, err := s.run([]string{"create", "token", account})
	if err != nil {
		s.err = fmt.Errorf("kubectl create token: %w: %s", err, token)
		return
	}
	status, body, err := s.manager.Scrape(s.ctx, token)
	if err != nil {
		s.err = fmt.Errorf("requesting metrics: %w", err)
		return
	}
	fmt.Printf("\n$ curl -sk -H \"Authorization: Bearer $(kubectl create token %s)\" https://%s/metrics | grep ^%s\n", account, s.manager.MetricsAddress, prefix)
	found := false
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, prefix) {
			fmt.Print(line)
			found = true
		}
	}
	if !found {
		s.err = fmt.Errorf("metrics with prefix %s: got none (status %d), want at least one", prefix, status)
	}
}

// run runs kubectl in the root of the checkout and returns its output.
func (s *script) run(args []string) (string, error) {
	command := s.cluster.Kubectl(s.ctx, args...)
	command.Dir = cluster.Root()
	out, err := command.CombinedOutput()
	return string(out), err
}

func printCommand(args []string, out string) {
	quoted := make([]string, 0, len(args))
	for _, arg := range args {
		if strings.ContainsAny(arg, ` {}"[]*`) {
			arg = "'" + arg + "'"
		}
		quoted = append(quoted, arg)
	}
	fmt.Printf("\n$ kubectl %s\n%s", strings.Join(quoted, " "), out)
	if !strings.HasSuffix(out, "\n") {
		fmt.Println()
	}
}

// snapshot returns what a baseline can change, by name: the labels of namespaces, and
// all NetworkPolicies and RoleBindings.
func (s *script) snapshot() map[string]any {
	if s.err != nil {
		return nil
	}
	out, err := s.cluster.Kubectl(s.ctx, "get", "namespaces,networkpolicies,rolebindings", "--all-namespaces", "-o", "json").Output()
	if err != nil {
		s.err = fmt.Errorf("taking a snapshot: %w", err)
		return nil
	}
	var list struct{ Items []unstructured.Unstructured }
	if err := json.Unmarshal(out, &list); err != nil {
		s.err = fmt.Errorf("reading a snapshot: %w", err)
		return nil
	}
	snapshot := map[string]any{}
	for _, item := range list.Items {
		snapshot[item.GetKind()+" "+item.GetNamespace()+"/"+item.GetName()] = []any{item.GetLabels(), item.GetAnnotations(), item.Object["spec"], item.Object["subjects"]}
	}
	return snapshot
}

func (s *script) expectSame(before, after map[string]any) {
	if diff := cmp.Diff(before, after); s.err == nil && diff != "" {
		s.err = fmt.Errorf("snapshot differs (-want +got):\n%s", diff)
	}
}
