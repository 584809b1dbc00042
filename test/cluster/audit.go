package cluster

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"
)

// operatorUser is the user name of the operator.
const operatorUser = "system:serviceaccount:" + OperatorNamespace + ":" + operatorServiceAccount

// auditPolicy logs each request of the operator when it is answered, and each watch also
// when it begins. If the creation of an object needs further permissions, it
// includes the request body.
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Request, users: ["` + operatorUser + `"], verbs: [create, update], resources: [
    {group: rbac.authorization.k8s.io, resources: [rolebindings]},
    {group: admissionregistration.k8s.io, resources: [validatingadmissionpolicies, mutatingadmissionpolicies]}]}
- {level: Metadata, users: ["` + operatorUser + `"]}
`

// Audit is the API server's audit log of the operator's requests.
type Audit struct{ policy, log string }

// NewAudit returns an audit log in the directory dir, and the kube-apiserver flags that
// enable it.
func NewAudit(dir string) (*Audit, []string, error) {
	audit := &Audit{policy: filepath.Join(dir, "audit-policy.yaml"), log: filepath.Join(dir, "audit.log")}
	if err := os.WriteFile(audit.policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, nil, fmt.Errorf("writing the audit policy: %w", err)
	}
	return audit, []string{"--audit-policy-file=" + audit.policy, "--audit-log-path=" + audit.log}, nil
}

// Permission is a verb on a resource. An empty Name stands for any name. For a URL that
// is not a resource, Resource is its path.
type Permission struct{ Verb, Group, Resource, Name string }

func (p Permission) String() string {
	resource := p.Resource
	if p.Group != "" {
		resource += "." + p.Group
	}
	if p.Name != "" {
		resource += "/" + p.Name
	}
	return p.Verb + " " + resource
}

// Permissions returns the permissions of the ClusterRoles in these files below config/.
func Permissions(files ...string) ([]Permission, error) {
	var all []Permission
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(Root(), "config", file))
		if err != nil {
			return nil, err
		}
		var role rbacv1.ClusterRole
		if err := yaml.Unmarshal(data, &role); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		for i := range role.Rules {
			all = append(all, permissionsOfRule(&role.Rules[i])...)
		}
	}
	return all, nil
}

func permissionsOfRule(rule *rbacv1.PolicyRule) []Permission {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	all := make([]Permission, 0, len(rule.Verbs)*len(rule.APIGroups)*len(rule.Resources)*len(names))
	for _, verb := range rule.Verbs {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, name := range names {
					all = append(all, Permission{Verb: verb, Group: group, Resource: resource, Name: name})
				}
			}
		}
	}
	return all
}

// Compare returns the permissions that no request used, and the permissions that the
// operator lacked. The audit log does not record the additional permissions that a write
// needs. permissionsOfRequest derives them from the object.
func (a *Audit) Compare(permissions []Permission) (unused, denied []string, err error) {
	used, forbidden := sets.New[Permission](), sets.New[Permission]()
	file, err := os.Open(a.log)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the audit log: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var event auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if event.ObjectRef == nil {
			continue
		}
		needed := permissionsOfRequest(&event)
		if event.Annotations["authorization.k8s.io/decision"] == "forbid" {
			forbidden.Insert(needed...)
			continue
		}
		used.Insert(needed...)
	}
	for _, permission := range permissions {
		anyName := permission
		anyName.Name = ""
		if !used.Has(permission) && !used.Has(anyName) {
			unused = append(unused, permission.String())
		}
	}
	for permission := range forbidden {
		denied = append(denied, permission.String())
	}
	slices.Sort(unused)
	slices.Sort(denied)
	return slices.Compact(unused), slices.Compact(denied), lines.Err()
}

// permissionsOfRequest returns the permissions that a request needs, with the name of
// its object and without.
func permissionsOfRequest(event *auditv1.Event) []Permission {
	object := event.ObjectRef
	permission := Permission{Verb: event.Verb, Group: object.APIGroup, Resource: object.Resource, Name: object.Name}
	if object.Subresource != "" {
		permission.Resource += "/" + object.Subresource
	}
	anyName := permission
	anyName.Name = ""
	needed := []Permission{permission, anyName}
	if event.RequestObject == nil || event.ResponseStatus == nil || event.ResponseStatus.Code >= 300 {
		return needed
	}
	var written struct {
		// A RoleBinding needs permission to bind its role.
		RoleRef rbacv1.RoleRef
		// A policy with parameters needs permission to get them.
		Spec struct{ ParamKind *metav1.TypeMeta }
	}
	if err := json.Unmarshal(event.RequestObject.Raw, &written); err != nil {
		return needed
	}
	if role := written.RoleRef; role.Name != "" {
		resource := map[string]string{"ClusterRole": "clusterroles", "Role": "roles"}[role.Kind]
		needed = append(needed, Permission{Verb: "bind", Group: role.APIGroup, Resource: resource, Name: role.Name})
	}
	if parameters := written.Spec.ParamKind; parameters != nil {
		needed = append(needed, Permission{Verb: "get", Group: parameters.GroupVersionKind().Group, Resource: strings.ToLower(parameters.Kind) + "s"})
	}
	return needed
}
