package e2e

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/securitybaseline/operator/test/cluster"
)

// isWholeSuite reports whether every test runs.
func isWholeSuite() bool {
	for _, name := range []string{"test.run", "test.skip", "test.bench", "test.fuzz"} {
		if set := flag.Lookup(name); set != nil && set.Value.String() != "" {
			return false
		}
	}
	return true
}

// checkPermissions returns an error unless the suite used each permission of the operator's
// ClusterRole, and the operator was denied no other. It needs the permissions to list on an
// older API server, which test/install checks.
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
		return fmt.Errorf("permissions of the operator: got unused %s and denied %s, want none; see docs/security.md",
			strings.Join(unused, ", "), strings.Join(refused, ", "))
	}
	fmt.Fprintf(os.Stderr, "the operator used each of its %d permissions and was denied nothing\n", len(permissions))
	return nil
}
