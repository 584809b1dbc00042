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
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/admissionpolicy"
	"github.com/securitybaseline/operator/controllers/baseline"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/internal/handlers"
	"github.com/securitybaseline/operator/controllers/internal/inflight"
	"github.com/securitybaseline/operator/controllers/internal/metadata"
	"github.com/securitybaseline/operator/controllers/internal/metrics"
	"github.com/securitybaseline/operator/controllers/namespace"
	"github.com/securitybaseline/operator/controllers/openreports"
	"github.com/securitybaseline/operator/controllers/precedence"
	"github.com/securitybaseline/operator/controllers/report"
)

// fakeCluster is a client of a cluster with one namespace and the objects of the fuzzer. Its writes
// succeed and change nothing.
type fakeCluster struct {
	client.Client
	scheme   *runtime.Scheme
	baseline *v1alpha1.SecurityBaseline
	report   *v1alpha1.BaselineReport
}

// fuzzed is the name of the namespace.
const fuzzed = "fuzzed"

func (c *fakeCluster) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	switch object := object.(type) {
	case *v1alpha1.SecurityBaseline:
		c.baseline.DeepCopyInto(object)
		return nil
	case *v1alpha1.BaselineReport:
		c.report.DeepCopyInto(object)
		return nil
	case *metav1.PartialObjectMetadata:
		c.namespaceMetadata().DeepCopyInto(object)
		return nil
	case *corev1.ServiceAccount:
		object.Name = key.Name
		object.Namespace = key.Namespace
		object.UID = "a"
		return nil
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// managedMetadata returns the metadata of an object that the baseline manages.
func (c *fakeCluster) managedMetadata(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: fuzzed, UID: "a", Labels: map[string]string{v1alpha1.BaselineLabel: c.baseline.Name}}
}

func (c *fakeCluster) namespaceMetadata() *metav1.PartialObjectMetadata {
	selected := metadata.Namespace()
	selected.Name = fuzzed
	selected.UID = fuzzed
	// The baseline selects the namespace, so that it governs.
	selected.Labels = map[string]string{corev1.LabelMetadataName: fuzzed}
	for key, value := range c.baseline.Spec.NamespaceSelector.MatchLabels {
		selected.Labels[key] = string(value)
	}
	// The report carries further metadata of the namespace, chosen by the fuzzer.
	maps.Copy(selected.Labels, c.report.Labels)
	selected.Annotations = c.report.Annotations
	selected.ManagedFields = c.report.ManagedFields
	return selected
}

func (c *fakeCluster) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	switch list := list.(type) {
	case *v1alpha1.SecurityBaselineList:
		list.Items = []v1alpha1.SecurityBaseline{*c.baseline.DeepCopy(), *c.baseline.DeepCopy()}
		list.Items[1].Name += "-too"
		list.Items[1].Spec.Mode = v1alpha1.ModeAudit
	case *v1alpha1.BaselineReportList:
		list.Items = []v1alpha1.BaselineReport{*c.report.DeepCopy()}
	case *metav1.PartialObjectMetadataList:
		list.Items = []metav1.PartialObjectMetadata{*c.namespaceMetadata()}
	case *corev1.ServiceAccountList:
		list.Items = []corev1.ServiceAccount{{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: fuzzed, UID: "a"}}}
	case *networkingv1.NetworkPolicyList:
		list.Items = []networkingv1.NetworkPolicy{{ObjectMeta: c.managedMetadata("security-baseline-default-deny")}, {ObjectMeta: c.managedMetadata("theirs")}}
	case *rbacv1.RoleBindingList:
		list.Items = []rbacv1.RoleBinding{{ObjectMeta: c.managedMetadata("security-baseline-team"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "edit"}}}
	}
	return nil
}

func (c *fakeCluster) Create(_ context.Context, object client.Object, _ ...client.CreateOption) error {
	if review, ok := object.(*authenticationv1.SelfSubjectReview); ok {
		review.Status.UserInfo.Username = "operator"
	}
	return nil
}

func (c *fakeCluster) Update(context.Context, client.Object, ...client.UpdateOption) error {
	return nil
}

func (c *fakeCluster) Delete(context.Context, client.Object, ...client.DeleteOption) error {
	return nil
}

func (c *fakeCluster) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	return nil
}

func (c *fakeCluster) Apply(context.Context, runtime.ApplyConfiguration, ...client.ApplyOption) error {
	return nil
}

func (c *fakeCluster) Status() client.SubResourceWriter { return fakeStatus{} }

func (c *fakeCluster) Scheme() *runtime.Scheme { return c.scheme }

// fakeStatus writes statuses, which changes nothing.
type fakeStatus struct{ client.SubResourceWriter }

func (fakeStatus) Update(context.Context, client.Object, ...client.SubResourceUpdateOption) error {
	return nil
}

// FuzzDecode runs all reconcilers on YAML that may be stored as a SecurityBaseline and as a
// BaselineReport, by an older or a newer CRD or by a user, or on random data of their types. They
// may fail but must not panic.
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
	for i, seed := range baselineSeeds {
		f.Add([]byte(seed), []byte(reportSeeds[i%len(reportSeeds)]), []byte(nil))
	}
	for i := range byte(16) {
		f.Add([]byte(baselineSeeds[0]), []byte(reportSeeds[0]), []byte{i, i, i, i, i, i, i, i})
	}
	scheme := Scheme()
	codecs := serializer.NewCodecFactory(scheme)
	f.Fuzz(func(t *testing.T, baselineYAML, reportYAML, random []byte) {
		if hugeExponent.Match(baselineYAML) {
			t.Skip("resource.ParseQuantity takes minutes for such a quantity, which no CRD accepts")
		}
		cluster := &fakeCluster{scheme: scheme, baseline: &v1alpha1.SecurityBaseline{}, report: &v1alpha1.BaselineReport{}}
		for object, document := range map[runtime.Object][]byte{cluster.baseline: baselineYAML, cluster.report: reportYAML} {
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
		reconcileAll(t.Context(), cluster)
	})
}

// hugeExponent matches what may be a quantity with a huge exponent.
var hugeExponent = regexp.MustCompile(`[eE][+-]?[0-9]{4}`)

// reconcileAll runs every reconciler once, and records the events and metrics of what is stored.
func reconcileAll(ctx context.Context, cluster *fakeCluster) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	fakeClock := clocktesting.NewFakePassiveClock(now)
	recorder := &events.FakeRecorder{}
	protected := precedence.ProtectedNamespaces("operator")
	inFlight := &inflight.Tracker{}
	namespaces := namespace.New(namespace.Options{
		Client: cluster, Live: cluster, Recorder: recorder, Clock: fakeClock, Protected: protected, InFlight: inFlight,
	})
	policies := admissionpolicy.New(admissionpolicy.Options{
		Client: cluster, Live: cluster, Recorder: recorder, Clock: fakeClock, Protected: protected, IsMutatingServed: true,
	})
	baselines := baseline.New(baseline.Options{
		Client: cluster, Live: cluster, Recorder: recorder, Clock: fakeClock, Protected: protected, InFlight: inFlight,
		IsMutatingServed: true, PolicyErrors: policies,
	})
	// They may fail: what is stored may be invalid.
	_, _ = namespaces.Reconcile(ctx, handlers.RequestFor(fuzzed))
	_, _ = baselines.Reconcile(ctx, handlers.RequestFor(cluster.baseline.Name))
	_, _ = policies.Reconcile(ctx, ctrl.Request{})
	_, _ = openreports.New(cluster).Reconcile(ctx, handlers.RequestFor(fuzzed))
	metrics.CollectStatus(cluster.baseline, func(*prometheus.Desc, int64, ...string) {})

	// Each drift in the report occurs again.
	previous := cluster.report.BaselineReportData
	outcomes := make([]evaluation.Outcome, 0, len(controls.All))
	for _, control := range controls.All {
		outcomes = append(outcomes, evaluation.Outcome{Control: control.Name, Baseline: cluster.baseline.Name, Drifts: previous.Drifts})
	}
	next := report.Next(previous, precedence.Governance{}, report.DropKnownUnreverted(previous, outcomes), now)
	namespaces.RecordEvents(namespace.Result{Namespace: cluster.namespaceMetadata(), Outcomes: outcomes}, previous, next)
	_ = report.HasUnsettledPods(next)
}

// baselineSeeds are baselines that the CRD would reject.
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
		status: {conditions: [{}], exceptions: {lastAnnouncedTime: null}, lastDrift: {}, violations: [{}]}}`,
	`{apiVersion: securitybaseline.io/v1alpha1, kind: SecurityBaseline, metadata: {name: a}, spec: {namespaceSelector: {matchExpressions: [{key: "!", operator: Foo, values: [a]}]}, guard: {}}}`,
}

// reportSeeds are reports that a user may have edited.
var reportSeeds = []string{
	`{apiVersion: securitybaseline.io/v1alpha1, kind: BaselineReport, metadata: {name: security-baseline}}`,
	`{apiVersion: securitybaseline.io/v1alpha1, kind: BaselineReport, metadata: {name: security-baseline, uid: u, labels: {pod-security.kubernetes.io/enforce: foo, podsecurity.securitybaseline.io/baseline: a},
		annotations: {securitybaseline.io/labels-set-at-creation: "a,,pod-security.kubernetes.io/enforce"}, managedFields: [{manager: securitybaseline-operator, operation: Apply, fieldsType: FieldsV1, fieldsV1: {"f:metadata": {"f:labels": {"f:pod-security.kubernetes.io/enforce": {}}}}}, {}]},
		state: Foo, observedBaselines: [{name: a, generation: -1}, {}], controls: [{}, {name: PodSecurity, baseline: a, state: Violating, podSecurity: {level: foo, enforced: ":", violations: [{pods: "a (and 99999999999999999999 other pods)"}]},
		inventory: [{object: Namespace/fuzzed, uid: fuzzed, revision: x}, {}]}, {name: Network, baseline: a, mode: Audit, changes: [{}], changesTotal: -1, driftsTotal: -9223372036854775808}],
		drifts: [{}, {detectionTime: null, control: Network, baseline: a, object: NetworkPolicy, action: Configured, count: -1, previousDetectionTimes: [null, "2026-01-02T03:04:05Z", null], fields: [{path: "~"}]}], summary: {driftsTotal: 9223372036854775807}}`,
	`{apiVersion: securitybaseline.io/v1alpha1, kind: BaselineReport, metadata: {name: security-baseline, uid: u}, controls: [
		{name: PodSecurity, baseline: a, state: Compliant, podSecurity: {level: "restricted:latest", enforced: "baseline:v1.30"}},
		{name: Network, baseline: a, state: Contested, inventory: [{object: NetworkPolicy/security-baseline-default-deny, uid: a, revision: b}]}, {name: RBAC, baseline: a, state: Excepted, exception: {}}],
		drifts: [{detectionTime: "2026-01-02T03:04:05Z", control: Network, baseline: a, object: NetworkPolicy/security-baseline-default-deny, manager: argocd, operation: Update, action: Configured, count: 3,
		previousDetectionTimes: ["2026-01-02T03:04:04Z", "2026-01-02T03:04:03Z"], fields: [{path: metadata.labels.a/b}]}]}`,
}

// A field that the API does not have would be dropped, and the seed would test nothing.
func TestFuzzDecode_SeedsHaveKnownFields(t *testing.T) {
	for i, seed := range baselineSeeds {
		if err := yaml.UnmarshalStrict([]byte(seed), &v1alpha1.SecurityBaseline{}); err != nil {
			t.Errorf("baseline seed %d: got error %v, want none", i, err)
		}
	}
	for i, seed := range reportSeeds {
		if err := yaml.UnmarshalStrict([]byte(seed), &v1alpha1.BaselineReport{}); err != nil {
			t.Errorf("report seed %d: got error %v, want none", i, err)
		}
	}
}
