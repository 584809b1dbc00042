package install

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/test/cluster"
)

var (
	// row is one of the table of permissions.
	row    = regexp.MustCompile("(?m)^\\| (`[a-z`, ]+) \\| (`.*`) \\| `([a-z_/]+\\.go)`: `(.*)` \\|$")
	quoted = regexp.MustCompile("`([^`]+)`")
)

// The table in docs/security.md has each permission that the operator is given, and a
// line of code that is there.
func TestPermissionsTable_ExplainsEveryPermission(t *testing.T) {
	docs, err := os.ReadFile(filepath.Join(cluster.Root(), "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	explained := sets.New[string]()
	for _, cells := range row.FindAllStringSubmatch(string(docs), -1) {
		for _, verb := range quoted.FindAllStringSubmatch(cells[1], -1) {
			for _, resource := range quoted.FindAllStringSubmatch(cells[2], -1) {
				explained.Insert(verb[1] + " " + resource[1])
			}
		}
		code, err := os.ReadFile(filepath.Join(cluster.Root(), cells[3]))
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(string(code), cells[4]) {
			t.Errorf("%s has no line %s", cells[3], cells[4])
		}
	}
	permissions, err := cluster.Permissions("rbac/role.yaml", "rbac/leader_election_role.yaml", "rbac/metrics_auth_role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	given := sets.New[string]()
	for _, permission := range permissions {
		given.Insert(permission.String())
		if slices.Contains([]string{permission.Verb, permission.Group, permission.Resource}, "*") || permission.Resource == "secrets" {
			t.Errorf("the operator may %s", permission)
		}
	}
	if diff := cmp.Diff(sets.List(given), sets.List(explained)); diff != "" {
		t.Errorf("permissions that it has and the table has (-has +table):\n%s", diff)
	}
}
