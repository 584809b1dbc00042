package precedence

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// baseline makes one that selects everything and declares PodSecurity.
func baseline(name string, change ...func(*v1alpha1.SecurityBaseline)) v1alpha1.SecurityBaseline {
	out := v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(epoch)}}
	out.Spec.PodSecurity = &v1alpha1.PodSecurity{Enforce: "baseline"}
	for _, change := range change {
		change(&out)
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
	b.Spec.PodSecurity, b.Spec.Network = nil, &v1alpha1.Network{}
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

// exempt excepts a namespace from PodSecurity.
func exempt(name, namespace string, expires *time.Time) func(*v1alpha1.SecurityBaseline) {
	return func(b *v1alpha1.SecurityBaseline) {
		exception := v1alpha1.Exception{Name: name, Namespaces: []string{namespace}, Controls: []v1alpha1.ControlName{"PodSecurity"}}
		if expires != nil {
			exception.ExpirationTime = &metav1.Time{Time: *expires}
		}
		b.Spec.Exceptions = append(b.Spec.Exceptions, exception)
	}
}

func invalid(b *v1alpha1.SecurityBaseline) {
	b.Spec.NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
}

func TestGovern(t *testing.T) {
	type names = map[v1alpha1.ControlName]string
	payments := metav1.ObjectMeta{Name: "payments", Labels: map[string]string{"env": "production"}}
	for _, test := range []struct {
		name      string
		namespace metav1.ObjectMeta
		baselines []v1alpha1.SecurityBaseline
		want      names
		selecting []string
		auditing  []string // of PodSecurity
		excepting []string // exceptions of PodSecurity, as baseline/exception
		until     time.Time
	}{
		{
			name:      "an empty selector selects every namespace",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a")},
			want:      names{"PodSecurity": "a"}, selecting: []string{"a"},
		},
		{
			name:      "the highest priority governs, whatever the age",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", older), baseline("b", priority(1)), baseline("c", priority(-1))},
			want:      names{"PodSecurity": "b"}, selecting: []string{"b", "a", "c"},
		},
		{
			name:      "then the oldest, whatever the name",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a"), baseline("b", older)},
			want:      names{"PodSecurity": "b"}, selecting: []string{"b", "a"},
		},
		{
			name:      "then the first by name",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("b"), baseline("a")},
			want:      names{"PodSecurity": "a"}, selecting: []string{"a", "b"},
		},
		{
			name:      "each control for itself",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a"), baseline("b", networkOnly, priority(1))},
			want:      names{"PodSecurity": "a", "Network": "b"}, selecting: []string{"b", "a"},
		},
		{
			name:      "a selector chooses by labels",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", selecting("env", "staging")), baseline("b", selecting("env", "production"))},
			want:      names{"PodSecurity": "b"}, selecting: []string{"b"},
		},
		{
			name:      "an excluded namespace is not selected",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", excluding("payments"))},
			want:      names{},
		},
		{
			name:      "a baseline that is being deleted governs nothing",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", priority(1), deleted), baseline("b")},
			want:      names{"PodSecurity": "b"}, selecting: []string{"b"},
		},
		{
			name:      "a protected namespace is governed by none",
			namespace: metav1.ObjectMeta{Name: "kube-system"},
			baselines: []v1alpha1.SecurityBaseline{baseline("a")},
			want:      names{},
		},
		{
			name:      "nor is a further one that was protected",
			namespace: metav1.ObjectMeta{Name: "ours"},
			baselines: []v1alpha1.SecurityBaseline{baseline("a")},
			want:      names{},
		},
		{
			name:      "nor one that is going away",
			namespace: metav1.ObjectMeta{Name: "payments", DeletionTimestamp: &metav1.Time{Time: epoch}},
			baselines: []v1alpha1.SecurityBaseline{baseline("a")},
			want:      names{},
		},
		{
			name:      "one in Audit mode does not compete, whatever its priority",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a"), baseline("b", priority(1), auditing), baseline("c", auditing)},
			want:      names{"PodSecurity": "a"}, selecting: []string{"b", "a", "c"}, auditing: []string{"b", "c"},
		},
		{
			name:      "one in Audit mode governs nothing, alone as it may be",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", auditing)},
			want:      names{}, selecting: []string{"a"}, auditing: []string{"a"},
		},
		{
			name:      "an exception takes the namespace out of its own baseline only",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", priority(1), exempt("x", "payments", nil)), baseline("b")},
			want:      names{"PodSecurity": "b"}, selecting: []string{"a", "b"}, excepting: []string{"a/x"},
		},
		{
			name:      "an exception for another namespace, or of another control, does not",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", exempt("x", "checkout", nil), func(b *v1alpha1.SecurityBaseline) {
				exempt("y", "payments", nil)(b)
				b.Spec.Exceptions[1].Controls = []v1alpha1.ControlName{"Network"}
			})},
			want: names{"PodSecurity": "a"}, selecting: []string{"a"},
		},
		{
			name:      "an exception is in force until it expires",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", exempt("x", "payments", new(epoch.Add(time.Second))))},
			want:      names{}, selecting: []string{"a"}, excepting: []string{"a/x"}, until: epoch.Add(time.Second),
		},
		{
			name:      "and not at the moment it expires",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", exempt("x", "payments", new(epoch)))},
			want:      names{"PodSecurity": "a"}, selecting: []string{"a"},
		},
		{
			name:      "of several exceptions the one that lasts longest counts",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a",
				exempt("x", "payments", new(epoch.Add(time.Hour))), exempt("y", "payments", new(epoch.Add(2*time.Hour))), exempt("z", "payments", new(epoch.Add(time.Minute))))},
			want: names{}, selecting: []string{"a"}, excepting: []string{"a/y"}, until: epoch.Add(2 * time.Hour),
		},
		{
			name:      "one without an expiry lasts longest",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", exempt("x", "payments", nil), exempt("y", "payments", new(epoch.Add(time.Hour))))},
			want:      names{}, selecting: []string{"a"}, excepting: []string{"a/x"},
		},
		{
			name:      "what expires first is looked at first",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{
				baseline("a", priority(1), exempt("x", "payments", new(epoch.Add(time.Hour)))), baseline("b", exempt("y", "payments", new(epoch.Add(time.Minute)))),
			},
			want: names{}, selecting: []string{"a", "b"}, excepting: []string{"a/x", "b/y"}, until: epoch.Add(time.Minute),
		},
		{
			name:      "a baseline in Audit mode has exceptions too",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", auditing, exempt("x", "payments", nil))},
			want:      names{}, selecting: []string{"a"}, excepting: []string{"a/x"},
		},
		{
			name:      "a selector that does not parse selects nothing and harms no other baseline",
			namespace: payments,
			baselines: []v1alpha1.SecurityBaseline{baseline("a", invalid), baseline("b")},
			want:      names{"PodSecurity": "b"}, selecting: []string{"b"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			governance := Resolve(&metav1.PartialObjectMetadata{ObjectMeta: test.namespace}, test.baselines, ProtectedNamespaces("ours"), epoch)
			got := names{}
			for control, baseline := range governance.Governing {
				got[control] = baseline.Name
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("who governs (-want +got):\n%s", diff)
			}
			var order []string //nolint:prealloc // nil is what is compared with
			for _, baseline := range governance.Selecting {
				order = append(order, baseline.Name)
			}
			if diff := cmp.Diff(test.selecting, order); diff != "" {
				t.Errorf("who selects (-want +got):\n%s", diff)
			}
			var audits, excepts []string //nolint:prealloc // likewise
			for _, baseline := range governance.Auditing["PodSecurity"] {
				audits = append(audits, baseline.Name)
			}
			for _, exception := range governance.ActiveExceptions["PodSecurity"] {
				excepts = append(excepts, exception.Baseline.Name+"/"+exception.Name)
			}
			if diff := cmp.Diff([][]string{test.auditing, test.excepting}, [][]string{audits, excepts}); diff != "" {
				t.Errorf("who audits and excepts (-want +got):\n%s", diff)
			}
			if !governance.NextExpirationTime.Equal(test.until) {
				t.Errorf("until %s", governance.NextExpirationTime)
			}
		})
	}
}
