package metrics

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Whoever changes something chooses its field manager: they must not fill the
// metrics.
func TestManagersAreCountedByNameUpToALimit(t *testing.T) {
	managers := bounded{max: 2, names: sets.New[string]()}
	for i, want := range []string{"kubectl-edit", "helm", otherManagers, "kubectl-edit", otherManagers} {
		name := []string{"kubectl-edit", "helm", "third", "kubectl-edit", fmt.Sprint(i)}[i]
		if got := managers.admit(name); got != want {
			t.Errorf("%s is counted as %s, not %s", name, got, want)
		}
	}
}
