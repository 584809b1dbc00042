package metrics

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Every client chooses its own field manager. It must not be able to create any number of time
// series.
func TestBoundedSet_AdmitsNamesUpToItsLimit(t *testing.T) {
	set := boundedSet{max: 2, names: sets.New[string]()}
	for i, step := range []struct{ name, want string }{
		{name: "kubectl-edit", want: "kubectl-edit"},
		{name: "helm", want: "helm"},
		{name: "third", want: otherManagers},
		{name: "kubectl-edit", want: "kubectl-edit"},
		{name: "fourth", want: otherManagers},
	} {
		if got := set.admit(step.name); got != step.want {
			t.Errorf("step %d: %s is counted as %s, want %s", i, step.name, got, step.want)
		}
	}
}
