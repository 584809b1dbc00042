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

// patience is how long the script waits for what must come.
const waitTimeout = 60 * time.Second

// script runs kubectl and prints what it runs and what that prints. After the
// first failure it does nothing more.
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

// refused runs a command that the API server must refuse for that reason.
func (s *script) expectRejected(reason string, args ...string) {
	if s.err != nil {
		return
	}
	out, err := s.run(args)
	printCommand(args, out)
	if err == nil || !strings.Contains(out, reason) {
		s.err = fmt.Errorf("kubectl %s was to be refused because it %s", args[0], reason)
	}
}

// expect checks without showing that a command's output contains something.
func (s *script) expect(want string, args ...string) {
	if s.err != nil {
		return
	}
	if out, err := s.run(args); err != nil || !strings.Contains(out, want) {
		s.err = fmt.Errorf("kubectl %s was to print %q: %s", strings.Join(args, " "), want, out)
	}
}

// eventually repeats a command until its output contains something, and shows
// the last.
func (s *script) expectEventually(want string, args ...string) {
	s.repeatUntil("was to print", want, func(err error) bool { return err == nil }, args)
}

// untilRefused repeats a command, which changes nothing, until the API server
// refuses it for that reason: it takes a moment to heed a rule.
func (s *script) expectEventuallyRejected(reason string, args ...string) {
	s.repeatUntil("was to be refused because it", reason, func(err error) bool { return err != nil }, args)
}

// until repeats a command until it ends so and its output contains something.
func (s *script) repeatUntil(what, want string, ends func(error) bool, args []string) {
	if s.err != nil {
		return
	}
	var out string
	err := wait.PollUntilContextTimeout(s.ctx, 100*time.Millisecond, waitTimeout, true, func(context.Context) (bool, error) {
		var err error
		out, err = s.run(args)
		return ends(err) && strings.Contains(out, want), nil
	})
	printCommand(args, out)
	if err != nil {
		s.err = fmt.Errorf("kubectl %s %s %q: %w", args[0], what, want, err)
	}
}

// scrape shows the samples of the operator's metrics whose names begin so, as a
// ServiceAccount reads them.
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
		s.err = fmt.Errorf("asking for metrics: %w", err)
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
		s.err = fmt.Errorf("no metric begins with %s: status %d", prefix, status)
	}
}

// run runs kubectl in the directory of the checkout and returns all that it
// prints.
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

// snapshot returns the labels of every namespace, and every policy and binding,
// by name: what a baseline may touch.
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
		s.err = fmt.Errorf("not everything is as it was (-before +after):\n%s", diff)
	}
}
