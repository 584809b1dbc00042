package precedence

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newBaseline returns a baseline that selects every namespace and declares PodSecurity.
func newBaseline(name string, changes ...func(*v1alpha1.SecurityBaseline)) v1alpha1.SecurityBaseline {
	out := v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(epoch)}}
	out.Spec.PodSecurity = &v1alpha1.PodSecurity{Enforce: "baseline"}
	for _, apply := range changes {
		apply(&out)
	}
	return out
}

func priority(value int32) func(*v1alpha1.SecurityBaseline) {
	return func(b *v1alpha1.SecurityBaseline) { b.Spec.Priority = value }
}

func older(b *v1alpha1.SecurityBaseline) {
	b.CreationTimestamp = metav1.NewTime(epoch.Add(-time.Hour))
}

func deleted(b *v1alpha1.SecurityBaseline) {
	b.DeletionTimestamp = &metav1.Time{Time: epoch}
}

func networkOnly(b *v1alpha1.SecurityBaseline) {
	b.Spec.PodSecurity = nil
	b.Spec.Network = &v1alpha1.Network{}
}

func selecting(key string, value v1alpha1.LabelValue) func(*v1alpha1.SecurityBaseline) {
	return func(b *v1alpha1.SecurityBaseline) {
		b.Spec.NamespaceSelector.MatchLabels = map[string]v1alpha1.LabelValue{key: value}
	}
}

func excluding(namespace string) func(*v1alpha1.SecurityBaseline) {
	return func(b *v1alpha1.SecurityBaseline) { b.Spec.ExcludeNamespaces = []string{namespace} }
}

func auditing(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeAudit }

// withException adds an exception for PodSecurity in a namespace. A nil expires means
// that it does not expire.
func withException(name, namespace string, expires *time.Time) func(*v1alpha1.SecurityBaseline) {
	return func(b *v1alpha1.SecurityBaseline) {
		exception := v1alpha1.Exception{Name: name, Namespaces: []string{namespace}, Controls: []v1alpha1.ControlName{"PodSecurity"}}
		if expires != nil {
			exception.ExpirationTime = &metav1.Time{Time: *expires}
		}
		b.Spec.Exceptions = append(b.Spec.Exceptions, exception)
	}
}

// invalid sets a selector that does not parse.
func invalid(b *v1alpha1.SecurityBaseline) {
	b.Spec.NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
}

func TestResolve_RolesOfBaselines(t *testing.T) {
	type names = map[v1alpha1.ControlName]string
	payments := metav1.ObjectMeta{Name: "payments", Labels: map[string]string{"env": "production"}}
	for _, test := range []struct {
		name      string
		namespace metav1.ObjectMeta
		baselines []v1alpha1.SecurityBaseline
		governing names
		selecting []string
		auditing  []string // for PodSecurity
		excepting []string // exceptions for PodSecurity, as baseline/exception
		expires   time.Time
	}{
		{
			name:      "empty selector selects every namespace",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a")},
			governing: names{"PodSecurity": "a"}, selecting: []string{"a"},
		},
		{
			name:      "highest priority governs",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a", older), newBaseline("b", priority(1)), newBaseline("c", priority(-1))},
			governing: names{"PodSecurity": "b"}, selecting: []string{"b", "a", "c"},
		},
		{
			name:      "same priority, oldest governs",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a"), newBaseline("b", older)},
			governing: names{"PodSecurity": "b"}, selecting: []string{"b", "a"},
		},
		{
			name:      "same priority and age, first by name governs",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("b"), newBaseline("a")},
			governing: names{"PodSecurity": "a"}, selecting: []string{"a", "b"},
		},
		{
			name:      "each control is resolved separately",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a"), newBaseline("b", networkOnly, priority(1))},
			governing: names{"PodSecurity": "a", "Network": "b"}, selecting: []string{"b", "a"},
		},
		{
			name:      "selector matches labels",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a", selecting("env", "staging")), newBaseline("b", selecting("env", "production"))},
			governing: names{"PodSecurity": "b"}, selecting: []string{"b"},
		},
		{
			name:      "excluded namespace is not selected",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a", excluding("payments"))},
			governing: names{},
		},
		{
			name:      "deleted baseline does not govern",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a", priority(1), deleted), newBaseline("b")},
			governing: names{"PodSecurity": "b"}, selecting: []string{"b"},
		},
		{
			name:      "protected namespace of Kubernetes is not selected",
			namespace: metav1.ObjectMeta{Name: "kube-system"},
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a")},
			governing: names{},
		},
		{
			name:      "additional protected namespace is not selected",
			namespace: metav1.ObjectMeta{Name: "ours"},
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a")},
			governing: names{},
		},
		{
			name:      "terminating namespace is not selected",
			namespace: metav1.ObjectMeta{Name: "payments", DeletionTimestamp: &metav1.Time{Time: epoch}},
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a")},
			governing: names{},
		},
		{
			name:      "Audit mode with higher priority does not override",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a"), newBaseline("b", priority(1), auditing), newBaseline("c", auditing)},
			governing: names{"PodSecurity": "a"}, selecting: []string{"b", "a", "c"}, auditing: []string{"b", "c"},
		},
		{
			name:      "only baseline in Audit mode does not govern",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a", auditing)},
			governing: names{}, selecting: []string{"a"}, auditing: []string{"a"},
		},
		{
			name:      "exception applies to its own baseline only",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a", priority(1), withException("x", "payments", nil)), newBaseline("b")},
			governing: names{"PodSecurity": "b"}, selecting: []string{"a", "b"}, excepting: []string{"a/x"},
		},
		{
			name:      "exceptions for another namespace or control do not apply",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a", withException("x", "checkout", nil), func(b *v1alpha1.SecurityBaseline) {
				withException("y", "payments", nil)(b)
				b.Spec.Exceptions[1].Controls = []v1alpha1.ControlName{"Network"}
			})},
			governing: names{"PodSecurity": "a"}, selecting: []string{"a"},
		},
		{
			name:      "exception is active before its expiration",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a", withException("x", "payments", new(epoch.Add(time.Second))))},
			governing: names{}, selecting: []string{"a"}, excepting: []string{"a/x"}, expires: epoch.Add(time.Second),
		},
		{
			name:      "exception is not active at its expiration",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a", withException("x", "payments", new(epoch)))},
			governing: names{"PodSecurity": "a"}, selecting: []string{"a"},
		},
		{
			name:      "last exception to expire applies",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a",
				withException("x", "payments", new(epoch.Add(time.Hour))), withException("y", "payments", new(epoch.Add(2*time.Hour))), withException("z", "payments", new(epoch.Add(time.Minute))))},
			governing: names{}, selecting: []string{"a"}, excepting: []string{"a/y"}, expires: epoch.Add(2 * time.Hour),
		},
		{
			name:      "exception without expiration applies first",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a", withException("x", "payments", nil), withException("y", "payments", new(epoch.Add(time.Hour))))},
			governing: names{}, selecting: []string{"a"}, excepting: []string{"a/x"},
		},
		{
			name:      "first expiration of several baselines is next",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{
				newBaseline("a", priority(1), withException("x", "payments", new(epoch.Add(time.Hour)))), newBaseline("b", withException("y", "payments", new(epoch.Add(time.Minute)))),
			},
			governing: names{}, selecting: []string{"a", "b"}, excepting: []string{"a/x", "b/y"}, expires: epoch.Add(time.Minute),
		},
		{
			name:      "exception of a baseline in Audit mode",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a", auditing, withException("x", "payments", nil))},
			governing: names{}, selecting: []string{"a"}, excepting: []string{"a/x"},
		},
		{
			name:      "invalid selector selects nothing and leaves other baselines alone",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{newBaseline("a", invalid), newBaseline("b")},
			governing: names{"PodSecurity": "b"}, selecting: []string{"b"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			governance := Resolve(&metav1.PartialObjectMetadata{ObjectMeta: test.namespace}, test.baselines, ProtectedNamespaces("ours"), epoch)
			got := names{}
			for control, baseline := range governance.Governing {
				got[control] = baseline.Name
			}
			if diff := cmp.Diff(test.governing, got); diff != "" {
				t.Errorf("governing baselines differ (-want +got):\n%s", diff)
			}
			var order []string //nolint:prealloc // the expected value is nil
			for _, baseline := range governance.Selecting {
				order = append(order, baseline.Name)
			}
			if diff := cmp.Diff(test.selecting, order); diff != "" {
				t.Errorf("selecting baselines differ (-want +got):\n%s", diff)
			}
			var audits, excepts []string //nolint:prealloc // the expected values are nil
			for _, baseline := range governance.Auditing["PodSecurity"] {
				audits = append(audits, baseline.Name)
			}
			for _, exception := range governance.ActiveExceptions["PodSecurity"] {
				excepts = append(excepts, exception.Baseline.Name+"/"+exception.Name)
			}
			if diff := cmp.Diff([][]string{test.auditing, test.excepting}, [][]string{audits, excepts}); diff != "" {
				t.Errorf("auditing baselines and active exceptions differ (-want +got):\n%s", diff)
			}
			if !governance.NextExpirationTime.Equal(test.expires) {
				t.Errorf("next expiration time: got %s, want %s", governance.NextExpirationTime, test.expires)
			}
		})
	}
}

// withClusterAdmin declares rbac.clusterAdmin.
func withClusterAdmin(b *v1alpha1.SecurityBaseline) {
	b.Spec.RBAC = &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{}}
}

// missingFinalizer sets deletionPolicy Remove without the finalizer.
func missingFinalizer(b *v1alpha1.SecurityBaseline) { b.Spec.DeletionPolicy = v1alpha1.DeletionRemove }

func TestClusterAdminBaseline_HighestPrecedenceGoverns(t *testing.T) {
	for _, test := range []struct {
		name      string
		baselines []v1alpha1.SecurityBaseline
		want      string
	}{
		{name: "not declared", baselines: []v1alpha1.SecurityBaseline{newBaseline("a")}},
		{name: "highest priority", baselines: []v1alpha1.SecurityBaseline{newBaseline("a", withClusterAdmin), newBaseline("b", withClusterAdmin, priority(1)), newBaseline("c", priority(2))}, want: "b"},
		{name: "same priority, oldest", baselines: []v1alpha1.SecurityBaseline{newBaseline("a", withClusterAdmin), newBaseline("b", withClusterAdmin, older)}, want: "b"},
		{name: "same priority and age, first by name", baselines: []v1alpha1.SecurityBaseline{newBaseline("b", withClusterAdmin), newBaseline("a", withClusterAdmin)}, want: "a"},
		{name: "selector without namespaces", baselines: []v1alpha1.SecurityBaseline{newBaseline("a", withClusterAdmin, selecting("no", "where"))}, want: "a"},
		{name: "Audit mode and being deleted", baselines: []v1alpha1.SecurityBaseline{newBaseline("a", withClusterAdmin, auditing), newBaseline("b", withClusterAdmin, deleted)}},
		{name: "missing finalizer", baselines: []v1alpha1.SecurityBaseline{newBaseline("a", withClusterAdmin), newBaseline("b", withClusterAdmin, priority(1), missingFinalizer)}, want: "a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if governing := ClusterAdminBaseline(test.baselines); governing != nil {
				got = governing.Name
			}
			if got != test.want {
				t.Errorf("governing baseline: got %q, want %q", got, test.want)
			}
		})
	}
}
