package install

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// permissionsHeader begins the table of permissions in docs/security.md. Each row has
// verbs, resources, and the file and the symbol that need them:
//
//	| `create`, `patch` | `rolebindings.rbac.authorization.k8s.io` | `controllers/enforcement/apply.go`: `Enforcer.create` |
const permissionsHeader = "| permission | of | needed by |"

var (
	quoted     = regexp.MustCompile("`([^`]+)`")
	neededBy   = regexp.MustCompile("^`([^`]+\\.go)`: `([^`]+)`$")
	identifier = regexp.MustCompile(`^[\pL_][\pL\pN_]*(\.[\pL_][\pL\pN_]*)?$`)
)

// permissionRow is a row of the table of permissions.
type permissionRow struct {
	permissions  []string
	file, symbol string
}

// parsePermissionsTable returns the rows of the table in a document.
func parsePermissionsTable(document string) ([]permissionRow, error) {
	_, table, found := strings.Cut(document, permissionsHeader+"\n|---|---|---|\n")
	if !found {
		return nil, fmt.Errorf("the document has no table that begins with %q", permissionsHeader)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var rows []permissionRow
	for line := range strings.SplitSeq(strings.TrimSpace(table), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 3 {
			return nil, fmt.Errorf("the row %q has %d columns, want 3", line, len(cells))
		}
		needed := neededBy.FindStringSubmatch(cells[2])
		if needed == nil {
			return nil, fmt.Errorf("the third column of the row %q must be a file and a symbol, such as `controllers/enforcement/apply.go`: `Enforcer.create`", line)
		}
		row := permissionRow{file: needed[1], symbol: needed[2]}
		for _, verb := range quoted.FindAllStringSubmatch(cells[0], -1) {
			for _, resource := range quoted.FindAllStringSubmatch(cells[1], -1) {
				row.permissions = append(row.permissions, verb[1]+" "+resource[1])
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// checkSymbol returns an error unless a Go file declares a symbol: a function, as name,
// or a method, as Type.name.
func checkSymbol(path, symbol string) error {
	if !identifier.MatchString(symbol) {
		return fmt.Errorf("%q is neither the name of a function nor Type.Method", symbol)
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("reading the file that should declare %s: %w", symbol, err)
	}
	for _, declaration := range file.Decls {
		if function, ok := declaration.(*ast.FuncDecl); ok && declaredName(function) == symbol {
			return nil
		}
	}
	return fmt.Errorf("%s declares no function or method %s", path, symbol)
}

// declaredName returns the name of a function, or Type.Method of a method.
func declaredName(function *ast.FuncDecl) string {
	if function.Recv == nil || len(function.Recv.List) != 1 {
		return function.Name.Name
	}
	receiver := function.Recv.List[0].Type
	if pointer, ok := receiver.(*ast.StarExpr); ok {
		receiver = pointer.X
	}
	switch generic := receiver.(type) {
	case *ast.IndexExpr:
		receiver = generic.X
	case *ast.IndexListExpr:
		receiver = generic.X
	}
	if named, ok := receiver.(*ast.Ident); ok {
		return named.Name + "." + function.Name.Name
	}
	return function.Name.Name
}

// TestPermissionsTable_ExplainsEveryPermission checks that the table in docs/security.md
// has each permission of the operator and no other, and that the code that needs a
// permission exists.
func TestPermissionsTable_ExplainsEveryPermission(t *testing.T) {
	document, err := os.ReadFile(filepath.Join(cluster.Root(), "docs", "security.md"))
	testutil.Must(t, err)
	rows, err := parsePermissionsTable(string(document))
	testutil.Must(t, err)
	explained := sets.New[string]()
	for _, row := range rows {
		explained.Insert(row.permissions...)
		if err := checkSymbol(filepath.Join(cluster.Root(), row.file), row.symbol); err != nil {
			t.Errorf("docs/security.md, %s: %v", strings.Join(row.permissions, ", "), err)
		}
	}
	permissions, err := cluster.Permissions("rbac/role.yaml", "rbac/leader_election_role.yaml", "rbac/metrics_auth_role.yaml")
	testutil.Must(t, err)
	granted := sets.New[string]()
	for _, permission := range permissions {
		granted.Insert(permission.String())
		if slices.Contains([]string{permission.Verb, permission.Group, permission.Resource}, "*") || permission.Resource == "secrets" {
			t.Errorf("permissions of the operator: got %s, want no wildcard and no Secrets", permission)
		}
	}
	testutil.Equal(t, "the permissions in docs/security.md", sets.List(explained), sets.List(granted))
}

func TestParsePermissionsTable(t *testing.T) {
	const header = "# Security\n\n" + permissionsHeader + "\n|---|---|---|\n"
	rows, err := parsePermissionsTable(header + "| `list`, `watch` | `pods`, `nodes` | `a/b.go`: `T.m` |\n| `get` | `pods` | `c.go`: `f` |\n\nMore | text | here\n")
	testutil.Must(t, err)
	if len(rows) != 2 {
		t.Fatalf("rows: got %+v, want 2", rows)
	}
	testutil.Equal(t, "permissions", rows[0].permissions, []string{"list pods", "list nodes", "watch pods", "watch nodes"})
	testutil.Equal(t, "file and symbol", []string{rows[0].file, rows[0].symbol, rows[1].file, rows[1].symbol}, []string{"a/b.go", "T.m", "c.go", "f"})
	for name, document := range map[string]string{
		"no table":           "# Security\n",
		"two columns":        header + "| `get` | `pods` |\n",
		"a quoted line only": header + "| `get` | `pods` | `r.live.Get(ctx, key, live)` |\n",
		"no symbol":          header + "| `get` | `pods` | `a/b.go` |\n",
	} {
		t.Run(name, func(t *testing.T) {
			if rows, err := parsePermissionsTable(document); err == nil {
				t.Errorf("got %+v and no error, want an error", rows)
			}
		})
	}
}

func TestCheckSymbol(t *testing.T) {
	path := filepath.Join(t.TempDir(), "code.go")
	const code = "package code\n\nfunc plain() {}\n\nfunc (v value) method() {}\n\nfunc (p *pointer) method() {}\n\nfunc (g *generic[T]) method() {}\n\nvar variable = 1\n"
	testutil.Must(t, os.WriteFile(path, []byte(code), 0o600))
	for _, symbol := range []string{"plain", "value.method", "pointer.method", "generic.method"} {
		if err := checkSymbol(path, symbol); err != nil {
			t.Errorf("%s: got %v, want no error", symbol, err)
		}
	}
	for symbol, want := range map[string]string{
		"method":          "declares no function or method method",
		"value.other":     "declares no function or method value.other",
		"other.method":    "declares no function or method other.method",
		"variable":        "declares no function or method variable",
		"return nil, err": "is neither the name of a function nor Type.Method",
	} {
		if err := checkSymbol(path, symbol); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", symbol, err, want)
		}
	}
	if err := checkSymbol(path+".missing", "plain"); err == nil {
		t.Error("a missing file: got no error, want one")
	}
}
