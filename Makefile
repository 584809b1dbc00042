# Versions of the tools that this Makefile builds. test/controlplane/go.mod has the
# versions of the control plane.
CONTROLLER_TOOLS_VERSION ?= v0.23.0
KUSTOMIZE_VERSION ?= v5.8.1
CRD_REF_DOCS_VERSION ?= v0.3.0
GOLANGCI_LINT_VERSION ?= v2.15.0
KUBE_API_LINTER_VERSION ?= v0.0.0-20260716143926-092fe0c72997
HELM_VERSION ?= v4.3.1
PROMTOOL_VERSION ?= v0.316.0
PROMETHEUS_OPERATOR_VERSION ?= v0.95.1
ACTIONLINT_VERSION ?= v1.7.12
GOVULNCHECK_VERSION ?= v1.9.0
# Building Vale takes a C compiler. Later versions depend on a commit without a tag.
VALE_VERSION ?= v3.22.0

# The number of parallel tests in each package. They mostly wait.
TEST_PARALLEL ?= 16

# How long make test and make fuzz run each fuzz target.
FUZZTIME ?= 8s

# The number of governed namespaces in make bench.
N ?= 1000
# How long make chaos mixes faults.
DURATION ?= 10m
# The number of rounds in make bench-pods.
BENCHTIME ?= 5x

# The version of the operator: the tag, or the commit.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
IMG ?= securitybaseline/operator:latest
PLATFORMS ?= linux/amd64,linux/arm64
CONTAINER_TOOL ?= docker

LOCALBIN := $(CURDIR)/bin
CONTROLLER_GEN := $(LOCALBIN)/controller-gen-$(CONTROLLER_TOOLS_VERSION)
CRD_REF_DOCS := $(LOCALBIN)/crd-ref-docs-$(CRD_REF_DOCS_VERSION)
KUSTOMIZE := $(LOCALBIN)/kustomize-$(KUSTOMIZE_VERSION)
GOLANGCI_LINT := $(LOCALBIN)/golangci-lint-$(GOLANGCI_LINT_VERSION)
KUBE_API_LINTER := $(LOCALBIN)/golangci-lint-kube-api-linter-$(KUBE_API_LINTER_VERSION)
HELM := $(LOCALBIN)/helm-$(HELM_VERSION)
PROMTOOL := $(LOCALBIN)/promtool-$(PROMTOOL_VERSION)
ACTIONLINT := $(LOCALBIN)/actionlint-$(ACTIONLINT_VERSION)
MONITORING_CRDS := $(LOCALBIN)/crds-$(PROMETHEUS_OPERATOR_VERSION)
GOVULNCHECK := $(LOCALBIN)/govulncheck-$(GOVULNCHECK_VERSION)
VALE := $(LOCALBIN)/vale-$(VALE_VERSION)

KUBECTL ?= kubectl

SHELL := /usr/bin/env bash -o pipefail
.SHELLFLAGS := -ec

.PHONY: all
all: build

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*##"; print "Usage: make <target>"} /^[a-zA-Z_0-9-]+:.*?##/ { printf "  %-16s %s\n", $$1, $$2 } /^##@/ { printf "\n%s\n", substr($$0, 5) }' $(MAKEFILE_LIST)

##@ Development

.PHONY: manifests
manifests: $(CONTROLLER_GEN) ## Generate the CRDs, the ClusterRole and the repeated parts of the policies.
	$(CONTROLLER_GEN) crd paths="./api/..." output:crd:artifacts:config=config/crd/bases
	@for crd in config/crd/bases/*.yaml; do sed -E -f config/crd/bounds.sed $$crd > $$crd.new && mv $$crd.new $$crd; done
	go run ./config/crd/internal/fill config/crd/bases/*.yaml
	$(CONTROLLER_GEN) rbac:roleName=manager paths="./controllers/..." output:rbac:artifacts:config=config/rbac
	go generate ./config/policies

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Generate DeepCopy methods and apply configurations.
	$(CONTROLLER_GEN) object applyconfiguration paths="./api/..."

.PHONY: reference
reference: $(CRD_REF_DOCS) ## Generate docs/api.md from the types.
	@$(CRD_REF_DOCS) --source-path=api/v1alpha1 --config=docs/.crd-ref-docs.yaml --renderer=markdown --output-path=docs/api.md --log-level=ERROR
	@go run ./config/crd/internal/fill docs/api.md

.PHONY: chart
chart: ## Copy the files that the Helm chart shares with config/.
	@rm -rf dist/chart/files && mkdir -p dist/chart/files/crds dist/chart/files/rbac
	@cp config/crd/bases/*.yaml dist/chart/files/crds/
	@cp $(filter-out %/kustomization.yaml,$(wildcard config/rbac/*.yaml)) dist/chart/files/rbac/
	@cp config/policies/require-bind-permission.yaml config/prometheus/prometheus_rule.yaml config/grafana/securitybaseline.json dist/chart/files/
	@cp config/openreports/role.yaml dist/chart/files/openreports_role.yaml

.PHONY: fmt
fmt: ## Format the code.
	gofmt -w api cmd config controllers test

.PHONY: vet
vet: ## Run go vet.
	go vet ./...

.PHONY: lint
lint: $(GOLANGCI_LINT) $(KUBE_API_LINTER) $(ACTIONLINT) ## Run golangci-lint, kube-api-linter on the API, actionlint on the workflows, and make prose.
	$(GOLANGCI_LINT) run
	$(KUBE_API_LINTER) run --config .golangci-kal.yml ./api/...
	cd test/fuzz && $(GOLANGCI_LINT) run
	$(ACTIONLINT)
	@$(MAKE) --no-print-directory prose

# The files that make prose reads: documentation, comments and messages, unless they are
# generated from others. Descriptions in CRDs and docs/api.md are comments in Go. Vale cannot
# read the templates of the chart.
PROSE := '*.md' '*.go' 'config/*.yaml' 'test/*.yaml' '.github/*.yaml' dist/chart/Chart.yaml dist/chart/values.yaml \
	':!docs/api.md' ':!*/zz_generated.*' ':!*/applyconfiguration/*'
LEVEL ?= error

.PHONY: prose
prose: $(VALE) ## Check the English of documentation, comments and messages with Vale. LEVEL=warning shows more.
	@git ls-files --cached --others --exclude-standard -- $(PROSE) | xargs $(VALE) --minAlertLevel=$(LEVEL) --output=line

.PHONY: lint-fix
lint-fix: $(GOLANGCI_LINT) ## Run golangci-lint and fix what it can.
	$(GOLANGCI_LINT) run --fix

.PHONY: verify
verify: vulncheck ## Fail if generated files, formatting or go.mod are out of date.
	@before="$$(git status --porcelain; git diff | git hash-object --stdin)"; \
	$(MAKE) --no-print-directory generate manifests reference chart fmt; \
	for module in . test/controlplane test/fuzz test/gitops; do (cd $$module && go mod tidy); done; \
	after="$$(git status --porcelain; git diff | git hash-object --stdin)"; \
	if [[ "$$before" != "$$after" ]]; then \
		echo "Out of date. Commit the changes by make generate manifests reference chart fmt and by go mod tidy:"; git status --short; exit 1; \
	fi

.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## Check for known vulnerabilities in called code. Does nothing if the database is unreachable.
	@out="$$($(GOVULNCHECK) ./... 2>&1)" && { echo "$$out" | tail -3; exit 0; }; \
	if grep -q "fetching vulnerabilities" <<< "$$out"; then \
		echo "vulncheck: the vulnerability database is unreachable; nothing was checked"; \
	else \
		echo "$$out"; exit 1; \
	fi

.PHONY: test
test: controlplane test-tools ## Run make fuzz, the unit tests and the tests on a control plane. TESTFLAGS are passed to go test.
	cd test/fuzz && go test -count=1 $(TESTFLAGS) ./...
	@$(MAKE) --no-print-directory fuzz
	# Run test/chaos alone, because it uses the whole machine.
	go test -count=1 -timeout=20m $(TESTFLAGS) ./test/chaos
	go test -count=1 -timeout=20m -parallel=$(TEST_PARALLEL) $(TESTFLAGS) $$(go list ./... | grep -v /test/chaos$$)

.PHONY: fuzz
fuzz: ## Fuzz the targets one after the other, for FUZZTIME each. Failing inputs are written to testdata/fuzz.
	@test/fuzz/run.sh $(FUZZTIME)

.PHONY: test-tools
test-tools: $(HELM) $(KUSTOMIZE) $(PROMTOOL) $(MONITORING_CRDS) ## Build the tools that the tests need, once.
	@for tool in $^; do ln -sfn "$$(basename "$$tool")" "$$(sed -E 's/-v[0-9.]+$$//' <<< "$$tool")"; done
	@test/gitops/build.sh $(LOCALBIN)

.PHONY: bench
bench: controlplane ## Measure the operator at N namespaces, relative to the API server alone. Fails on a regression.
	@go build -o $(LOCALBIN)/scale ./test/scale
	$(LOCALBIN)/scale -n $(N) -json $(LOCALBIN)/scale-$(N).json -docs docs/performance.md -range test/scale/range.yaml

.PHONY: chaos
chaos: controlplane ## Inject faults, with the race detector on: each alone, then mixed for DURATION. SEED selects the mixes.
	@go build -race -o $(LOCALBIN)/chaos ./test/chaos
	$(LOCALBIN)/chaos -mixed $(DURATION) $(if $(SEED),-seed $(SEED))

.PHONY: bench-pods
bench-pods: controlplane ## Measure how many pods a second the API server accepts with policies, in BENCHTIME rounds.
	go test -run='^$$' -bench=. -benchtime=$(BENCHTIME) -timeout=60m ./test/scale

.PHONY: controlplane
controlplane: ## Build etcd, kube-apiserver, kube-controller-manager and kubectl into bin/k8s, once, unless KUBEBUILDER_ASSETS is set.
	@test/controlplane/build.sh $(LOCALBIN)/k8s

##@ Try it

.PHONY: demo
demo: controlplane build ## Show the operator on a real API server. KEEP=1 keeps it running.
	@go build -o $(LOCALBIN)/demo ./test/demo
	@KEEP=$(KEEP) $(LOCALBIN)/demo

.PHONY: run
run: ## Run the operator on this machine, with your kubeconfig and your permissions.
	go run ./cmd

##@ Build

.PHONY: build
build: ## Build bin/manager.
	go build -ldflags="-X main.version=$(VERSION)" -o $(LOCALBIN)/manager ./cmd

.PHONY: docker-build
docker-build: ## Build the image IMG for this machine.
	$(CONTAINER_TOOL) build --build-arg VERSION=$(VERSION) -t $(IMG) .

.PHONY: docker-buildx
docker-buildx: ## Build and push the image IMG for all PLATFORMS.
	$(CONTAINER_TOOL) buildx build --push --platform=$(PLATFORMS) --build-arg VERSION=$(VERSION) -t $(IMG) .

.PHONY: build-installer
build-installer: $(KUSTOMIZE) ## Write dist/install.yaml, which installs the image IMG.
	@mkdir -p dist
	@$(call render,default) > dist/install.yaml
	@echo "Wrote dist/install.yaml"

##@ Deployment to the cluster of your kubeconfig

.PHONY: install
install: $(KUSTOMIZE) ## Install the CRDs.
	$(KUSTOMIZE) build config/crd | $(KUBECTL) apply --server-side --force-conflicts -f -

.PHONY: uninstall
uninstall: $(KUSTOMIZE) delete-baselines ## Delete all SecurityBaselines and the CRDs.
	$(KUSTOMIZE) build config/crd | $(KUBECTL) delete --ignore-not-found -f -

.PHONY: deploy
deploy: $(KUSTOMIZE) ## Install the operator with the image IMG.
	$(call render,default) | $(KUBECTL) apply --server-side --force-conflicts -f -

.PHONY: undeploy
undeploy: $(KUSTOMIZE) delete-baselines ## Delete all SecurityBaselines, the CRDs and the operator.
	$(KUSTOMIZE) build config/default | $(KUBECTL) delete --ignore-not-found -f -

# This needs the running operator, which deletes the objects of baselines with
# deletionPolicy: Remove.
.PHONY: delete-baselines
delete-baselines:
	@if $(KUBECTL) get crd securitybaselines.securitybaseline.io >/dev/null 2>&1; then \
		$(KUBECTL) delete securitybaselines --all --timeout=5m || { \
			echo "A baseline with deletionPolicy: Remove waits for the operator. Start the operator or, to keep the objects of the baseline, run:"; \
			echo "  $(KUBECTL) patch securitybaseline NAME --type=merge -p '{\"metadata\":{\"finalizers\":null}}'"; \
			exit 1; \
		}; \
	fi

# render prints the kustomization $1 with the image IMG.
define render
(dir=$$(mktemp -d) && trap 'rm -rf $$dir' EXIT && cp -r config $$dir && \
	(cd $$dir/config/manager && $(KUSTOMIZE) edit set image operator=$(IMG)) && $(KUSTOMIZE) build $$dir/config/$(1))
endef

# Tools

# go-install-tool installs package $2 at version $3 as $1.
define go-install-tool
@mkdir -p $(LOCALBIN)
@echo "Building $(notdir $(1))"
@GOBIN=$(LOCALBIN)/.install go install $(2)@$(3)
@mv $(LOCALBIN)/.install/$(notdir $(2:%/v5=%)) $(1)
endef

$(CONTROLLER_GEN):
	$(call go-install-tool,$@,sigs.k8s.io/controller-tools/cmd/controller-gen,$(CONTROLLER_TOOLS_VERSION))

$(CRD_REF_DOCS):
	$(call go-install-tool,$@,github.com/elastic/crd-ref-docs,$(CRD_REF_DOCS_VERSION))

$(KUSTOMIZE):
	$(call go-install-tool,$@,sigs.k8s.io/kustomize/kustomize/v5,$(KUSTOMIZE_VERSION))

$(HELM):
	$(call go-install-tool,$@,helm.sh/helm/v4/cmd/helm,$(HELM_VERSION))

$(PROMTOOL):
	$(call go-install-tool,$@,github.com/prometheus/prometheus/cmd/promtool,$(PROMTOOL_VERSION))

# The CRDs of ServiceMonitors and PrometheusRules, generated from their types.
$(MONITORING_CRDS): $(CONTROLLER_GEN)
	@echo "Generating $(notdir $@)"
	@dir=$$(mktemp -d) && trap 'rm -rf $$dir' EXIT && cd $$dir && \
	types=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring && \
	{ go mod init crds && go get $$types/v1@$(PROMETHEUS_OPERATOR_VERSION); } 2>/dev/null && \
	$(CONTROLLER_GEN) crd:maxDescLen=0 paths=$$types/v1 output:crd:dir=$$dir/all && \
	mkdir -p $@ && cp all/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml $@

$(ACTIONLINT):
	$(call go-install-tool,$@,github.com/rhysd/actionlint/cmd/actionlint,$(ACTIONLINT_VERSION))

$(GOVULNCHECK):
	$(call go-install-tool,$@,golang.org/x/vuln/cmd/govulncheck,$(GOVULNCHECK_VERSION))

$(VALE):
	$(call go-install-tool,$@,github.com/vale-cli/vale/v3/cmd/vale,$(VALE_VERSION))

$(GOLANGCI_LINT):
	$(call go-install-tool,$@,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,$(GOLANGCI_LINT_VERSION))

# kube-api-linter comes as a golangci-lint of its own, at the version that it requires.
$(KUBE_API_LINTER):
	$(call go-install-tool,$@,sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter,$(KUBE_API_LINTER_VERSION))
