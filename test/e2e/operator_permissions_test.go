package e2e

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/securitybaseline/operator/test/cluster"
)

// wholeSuite says whether every test runs.
func isWholeSuite() bool {
	for _, name := range []string{"test.run", "test.skip", "test.bench", "test.fuzz"} {
		if set := flag.Lookup(name); set != nil && set.Value.String() != "" {
			return false
		}
	}
	return true
}

// onlyWhatIsNeeded returns an error unless the whole suite needed each permission of
// the operator's ClusterRole, and it was refused no other. What it may list it
// needs where an API server does not send what there is with a watch: test/install.
func checkPermissions(audit *cluster.Audit) error {
	permissions, err := cluster.Permissions("rbac/role.yaml")
	if err != nil {
		return err
	}
	permissions = slices.DeleteFunc(permissions, func(permission cluster.Permission) bool { return permission.Verb == "list" })
	unused, refused, err := audit.Compare(permissions)
	if err != nil {
		return err
	}
	if len(unused) > 0 || len(refused) > 0 {
		return fmt.Errorf("the operator has permissions that no test needs: %s; and it was refused: %s; see docs/security.md",
			strings.Join(unused, ", "), strings.Join(refused, ", "))
	}
	fmt.Fprintf(os.Stderr, "the operator needed each of its %d permissions and was refused nothing\n", len(permissions))
	return nil
}
