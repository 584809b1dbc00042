package controllers

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/inflight"
	"github.com/securitybaseline/operator/controllers/internal/metrics"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement"
	"github.com/securitybaseline/operator/controllers/report"
	"github.com/securitybaseline/operator/controllers/precedence"
)

// stored is a client of a cluster that holds a namespace, what the fuzzer made and
// nothing else. Its reads return that, its writes succeed and change nothing.
type stored struct {
	client.Client
	scheme   *runtime.Scheme
	baseline *v1alpha1.SecurityBaseline
	report   *v1alpha1.BaselineReport
}

const fuzzed = "fuzzed"

func (s *stored) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	switch object := object.(type) {
	case *v1alpha1.SecurityBaseline:
		s.baseline.DeepCopyInto(object)
		return nil
	case *v1alpha1.BaselineReport:
		s.report.DeepCopyInto(object)
		return nil
	case *metav1.PartialObjectMetadata:
		namespace := s.namespace()
		namespace.DeepCopyInto(object)
		return nil
	case *corev1.ServiceAccount:
		object.Name, object.Namespace, object.UID = key.Name, key.Namespace, "a"
		return nil
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// placed is the metadata of an object that a baseline gave.
func (s *stored) placed(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: fuzzed, UID: "a", Labels: map[string]string{v1alpha1.BaselineLabel: s.baseline.Name}}
}

func (s *stored) namespace() *metav1.PartialObjectMetadata {
	namespace := namespaceMetadata()
	// Its labels are what the baseline selects, so that it governs.
	namespace.Name, namespace.UID, namespace.Labels = fuzzed, fuzzed, map[string]string{corev1.LabelMetadataName: fuzzed}
	for key, value := range s.baseline.Spec.NamespaceSelector.MatchLabels {
		namespace.Labels[key] = string(value)
	}
	// And some are as somebody left them, who edited the report.
	maps.Copy(namespace.Labels, s.report.Labels)
	namespace.Annotations, namespace.ManagedFields = s.report.Annotations, s.report.ManagedFields
	return namespace
}

func (s *stored) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	switch list := list.(type) {
	case *v1alpha1.SecurityBaselineList:
		list.Items = []v1alpha1.SecurityBaseline{*s.baseline.DeepCopy(), *s.baseline.DeepCopy()}
		list.Items[1].Name += "-too"
		list.Items[1].Spec.Mode = v1alpha1.ModeAudit
	case *v1alpha1.BaselineReportList:
		list.Items = []v1alpha1.BaselineReport{*s.report.DeepCopy()}
	case *metav1.PartialObjectMetadataList:
		list.Items = []metav1.PartialObjectMetadata{*s.namespace()}
	case *corev1.ServiceAccountList:
		list.Items = []corev1.ServiceAccount{{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: fuzzed, UID: "a"}}}
	case *networkingv1.NetworkPolicyList:
		list.Items = []networkingv1.NetworkPolicy{{ObjectMeta: s.placed("security-baseline-default-deny")}, {ObjectMeta: s.placed("theirs")}}
	case *rbacv1.RoleBindingList:
		list.Items = []rbacv1.RoleBinding{{ObjectMeta: s.placed("security-baseline-team"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "edit"}}}
	}
	return nil
}

func (s *stored) Create(context.Context, client.Object, ...client.CreateOption) error { return nil }

func (s *stored) Update(context.Context, client.Object, ...client.UpdateOption) error { return nil }

func (s *stored) Delete(context.Context, client.Object, ...client.DeleteOption) error { return nil }

func (s *stored) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	return nil
}

func (s *stored) Apply(context.Context, runtime.ApplyConfiguration, ...client.ApplyOption) error {
	return nil
}

func (s *stored) Status() client.SubResourceWriter { return written{} }

func (s *stored) Scheme() *runtime.Scheme { return s.scheme }

// written is the status of what is stored.
type written struct{ client.SubResourceWriter }

func (written) Update(context.Context, client.Object, ...client.SubResourceUpdateOption) error {
	return nil
}

// FuzzDecode gives the operator whatever YAML may be stored as a SecurityBaseline and
// as a BaselineReport, by an older or a newer CRD or by somebody's hand, or random
// data of their types, and lets it do all that it does. It may fail; it must not
// panic.
func FuzzDecode(f *testing.F) {
	samples, err := filepath.Glob("../config/samples/*.yaml")
	if err != nil || len(samples) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	for i, sample := range samples {
		data, err := os.ReadFile(sample)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte(reportSeeds[i%len(reportSeeds)]), []byte(nil))
	}
	for i, baseline := range baselineSeeds {
		f.Add([]byte(baseline), []byte(reportSeeds[i%len(reportSeeds)]), []byte(nil))
	}
	for i := range byte(16) {
		f.Add([]byte(baselineSeeds[0]), []byte(reportSeeds[0]), []byte{i, i, i, i, i, i, i, i})
	}
	scheme := Scheme()
	codecs := serializer.NewCodecFactory(scheme)
	f.Fuzz(func(t *testing.T, baseline, ledger, random []byte) {
		if vast.Match(baseline) {
			t.Skip("a quantity that takes resource.ParseQuantity minutes, which no CRD lets in")
		}
		cluster := &stored{scheme: scheme, baseline: &v1alpha1.SecurityBaseline{}, report: &v1alpha1.BaselineReport{}}
		for object, document := range map[runtime.Object][]byte{cluster.baseline: baseline, cluster.report: ledger} {
			data, err := yaml.YAMLToJSON(document)
			if err != nil {
				t.Skip(err)
			}
			if _, _, err := codecs.UniversalDeserializer().Decode(data, nil, object); err != nil {
				t.Skip(err)
			}
		}
		if len(random) > 0 {
			filler := randfill.NewFromGoFuzz(random).NilChance(0.3).NumElements(0, 3)
			filler.Fill(&cluster.baseline.Spec)
			filler.Fill(&cluster.baseline.Status)
			filler.Fill(&cluster.report.BaselineReportData)
		}
		cluster.report.Namespace = fuzzed
		operate(t.Context(), cluster)
	})
}

// vast matches what may be a quantity with a vast exponent.
var vast = regexp.MustCompile(`[eE][+-]?[0-9]{4}`)

// operate does all that the operator does with what is stored.
func operate(ctx context.Context, cluster *stored) {
	now := func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	protected, recorder, underWay := precedence.Protected("operator"), &events.FakeRecorder{}, &inflight.Evaluations{}
	namespaces := &namespaceReconciler{
		client: cluster, live: cluster, enforcer: &enforcement.Enforcer{Client: cluster, Live: cluster, Now: now}, protected: protected,
		evaluations: underWay, workloads: &workloads{}, noticed: &noticed{}, failing: &failing{}, unrecorded: &unrecorded{}, events: recorder, now: now,
	}
	baselines := &baselineReconciler{
		client: cluster, live: cluster, protected: protected, evaluations: underWay, events: recorder, now: now, mutating: true, refusals: &refusals{},
		identity: func(context.Context) (string, error) { return "operator", nil },
	}
	policies := &admissionReconciler{
		client: cluster, live: cluster, protected: protected, mutating: true, refusals: baselines.refusals, events: recorder, now: now, placed: map[string]string{},
	}
	reports := &openReportReconciler{client: cluster}
	// They may fail: what is stored may be nonsense.
	_, _ = namespaces.Reconcile(ctx, requestFor(fuzzed))
	_, _ = baselines.Reconcile(ctx, requestFor(cluster.baseline.Name))
	_, _ = policies.Reconcile(ctx, admissionRequest)
	_, _ = reports.Reconcile(ctx, requestFor(fuzzed))
	metrics.CollectStatus(cluster.baseline, func(*prometheus.Desc, int64, ...string) {})
	// What drifted drifts again.
	ledger, outcomes := cluster.report.BaselineReportData, make([]enforcement.Outcome, 0, len(controls.All))
	for _, control := range controls.All {
		outcomes = append(outcomes, enforcement.Outcome{Control: control.Name, Baseline: cluster.baseline.Name, Drifts: ledger.Drifts})
	}
	next := report.Next(ledger, precedence.Governance{}, report.DropReported(ledger, outcomes), now())
	namespaces.tell(evaluation{namespace: cluster.namespace(), prior: cluster.report, outcomes: outcomes}, ledger, next)
	_ = report.HasUnsettledPods(next)
}

// Baselines that no CRD would take now.
var baselineSeeds = []string{
	`{apiVersion: securitybaseline.io/v1alpha1, kind: SecurityBaseline, metadata: {name: a}, spec: {}}`,
	`{apiVersion: securitybaseline.io/v1alpha1, kind: SecurityBaseline}`,
	`{apiVersion: securitybaseline.io/v1alpha1, kind: SecurityBaseline, metadata: {name: a, deletionTimestamp: "2026-01-01T00:00:00Z", finalizers: [securitybaseline.io/finalizer]}, spec: {
		deletionPolicy: Remove, podSecurity: {}, network: {}, rbac: {}, serviceAccounts: {}, resources: {}, images: {}, workloads: {}, guard: {}, exceptions: [{}]}}`,
	`{apiVersion: securitybaseline.io/v1alpha1, kind: SecurityBaseline, metadata: {name: a}, spec: {mode: Foo, priority: -1,
		podSecurity: {enforce: foo, version: bar, rollout: WhenClean}, network: {defaultDeny: [Foo, Egress], waitForDefaultDeny: true, policies: [{}, {name: a, spec: {ingress: [{from: [{}, {ipBlock: {cidr: foo, except: [bar]}}],
		ports: [{}, {port: -1, endPort: -2}]}]}}]}, rbac: {roleBindings: [{}, {subjectsFrom: [{}]}], clusterAdmin: {}}, resources: {limitRange: {limits: [{}]}, quota: {}}}}`,
	`{apiVersion: securitybaseline.io/v1alpha1, kind: SecurityBaseline, metadata: {name: a}, spec: {podSecurity: {enforce: restricted, rollout: WhenClean}, exceptions: [
		{name: a, namespaces: [fuzzed], controls: [PodSecurity, Foo], expirationTime: "2026-01-03T00:00:00Z"}, {namespaces: [fuzzed], controls: [PodSecurity]}]},
		status: {conditions: [{}], exceptions: {announced: null}, lastDrift: {}, violations: [{}]}}`,
	`{apiVersion: securitybaseline.io/v1alpha1, kind: SecurityBaseline, metadata: {name: a}, spec: {namespaceSelector: {matchExpressions: [{key: "!", operator: Foo, values: [a]}]}, guard: {}}}`,
}

// Reports that somebody wrote by hand.
var reportSeeds = []string{
	`{apiVersion: securitybaseline.io/v1alpha1, kind: BaselineReport, metadata: {name: security-baseline}}`,
	`{apiVersion: securitybaseline.io/v1alpha1, kind: BaselineReport, metadata: {name: security-baseline, uid: u, labels: {pod-security.kubernetes.io/enforce: foo, podsecurity.securitybaseline.io/baseline: a},
		annotations: {securitybaseline.io/labels-set-at-creation: "a,,pod-security.kubernetes.io/enforce"}, managedFields: [{manager: securitybaseline-operator, operation: Apply, fieldsType: FieldsV1, fieldsV1: {"f:metadata": {"f:labels": {"f:pod-security.kubernetes.io/enforce": {}}}}}, {}]},
		state: Foo, observed: [{name: a, generation: -1}, {}], controls: [{}, {name: PodSecurity, baseline: a, state: Violating, podSecurity: {level: foo, enforced: ":", violations: [{pods: "a (and 99999999999999999999 other pods)"}]},
		placed: [{object: Namespace/fuzzed, uid: fuzzed, revision: x}, {}]}, {name: Network, baseline: a, mode: Audit, changes: [{}], changesTotal: -1, drifts: -9223372036854775808}],
		drifts: [{}, {time: null, control: Network, baseline: a, object: NetworkPolicy, action: Configured, count: -1, before: [null, "2026-01-02T03:04:05Z", null], fields: [{path: "~"}]}], summary: {drifts: 9223372036854775807}}`,
	`{apiVersion: securitybaseline.io/v1alpha1, kind: BaselineReport, metadata: {name: security-baseline, uid: u}, controls: [
		{name: PodSecurity, baseline: a, state: Compliant, podSecurity: {level: "restricted:latest", enforced: "baseline:v1.30"}},
		{name: Network, baseline: a, state: Contested, placed: [{object: NetworkPolicy/security-baseline-default-deny, uid: a, revision: b}]}, {name: RBAC, baseline: a, state: Excepted, exception: {}}],
		drifts: [{time: "2026-01-02T03:04:05Z", control: Network, baseline: a, object: NetworkPolicy/security-baseline-default-deny, manager: argocd, operation: Update, action: Configured, count: 3,
		before: ["2026-01-02T03:04:04Z", "2026-01-02T03:04:03Z"], fields: [{path: metadata.labels.a/b}]}]}`,
}
