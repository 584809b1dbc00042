# Versions of every tool that is built here. The control plane's are in
# test/controlplane/go.mod.
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

# How many tests of a package run at a time: they mostly wait.
TEST_PARALLEL ?= 16

# How long make test, and make fuzz, look for what breaks each fuzz target.
FUZZTIME ?= 8s

# How many namespaces make bench governs, and how many rounds make bench-pods runs.
N ?= 1000
# How long faults are mixed.
DURATION ?= 10m
BENCHTIME ?= 5x

# What the operator says it is: the tag, or the commit.
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
manifests: $(CONTROLLER_GEN) ## Generate the CRDs and the ClusterRole.
	$(CONTROLLER_GEN) crd paths="./api/..." output:crd:artifacts:config=config/crd/bases
	@for crd in config/crd/bases/*.yaml; do sed -E -f config/crd/bounds.sed $$crd > $$crd.new && mv $$crd.new $$crd; done
	$(CONTROLLER_GEN) rbac:roleName=manager paths="./controllers/..." output:rbac:artifacts:config=config/rbac

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Generate DeepCopy methods and apply configurations.
	$(CONTROLLER_GEN) object applyconfiguration paths="./api/..."

.PHONY: reference
reference: $(CRD_REF_DOCS) ## Generate docs/api.md from the types.
	@$(CRD_REF_DOCS) --source-path=api/v1alpha1 --config=docs/.crd-ref-docs.yaml --renderer=markdown --output-path=docs/api.md --log-level=ERROR

.PHONY: chart
chart: ## Bring what the Helm chart shares with config/ up to date.
	@rm -rf dist/chart/files && mkdir -p dist/chart/files/crds dist/chart/files/rbac
	@cp config/crd/bases/*.yaml dist/chart/files/crds/
	@cp $(filter-out %/kustomization.yaml,$(wildcard config/rbac/*.yaml)) dist/chart/files/rbac/
	@cp config/policies/require-bind-permission.yaml config/prometheus/prometheus_rule.yaml config/grafana/securitybaseline.json dist/chart/files/
	@cp config/openreports/role.yaml dist/chart/files/openreports_role.yaml

.PHONY: fmt
fmt: ## Format the code.
	gofmt -w api cmd controllers test

.PHONY: vet
vet: ## Run go vet.
	go vet ./...

.PHONY: lint
lint: $(GOLANGCI_LINT) $(KUBE_API_LINTER) $(ACTIONLINT) ## Run golangci-lint, kube-api-linter on the API, and actionlint on the workflows.
	$(GOLANGCI_LINT) run
	$(KUBE_API_LINTER) run --config .golangci-kal.yml ./api/...
	cd test/fuzz && $(GOLANGCI_LINT) run
	$(ACTIONLINT)

.PHONY: lint-fix
lint-fix: $(GOLANGCI_LINT) ## Run golangci-lint and mend what it can.
	$(GOLANGCI_LINT) run --fix

.PHONY: verify
verify: vulncheck ## Fail if generated files, formatting or go.mod are out of date.
	@before="$$(git status --porcelain; git diff | git hash-object --stdin)"; \
	$(MAKE) --no-print-directory generate manifests reference chart fmt; \
	for module in . test/controlplane test/fuzz test/gitops; do (cd $$module && go mod tidy); done; \
	after="$$(git status --porcelain; git diff | git hash-object --stdin)"; \
	if [[ "$$before" != "$$after" ]]; then \
		echo "Out of date; commit what make generate manifests reference chart fmt and go mod tidy changed:"; git status --short; exit 1; \
	fi

.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## Look for known vulnerabilities in what is called here, where their database can be reached.
	@out="$$($(GOVULNCHECK) ./... 2>&1)" && { echo "$$out" | tail -3; exit 0; }; \
	if grep -q "fetching vulnerabilities" <<< "$$out"; then \
		echo "vulncheck: the database of known vulnerabilities cannot be reached; nothing was checked"; \
	else \
		echo "$$out"; exit 1; \
	fi

.PHONY: test
test: controlplane test-tools ## Run make fuzz, the unit tests and the tests on the control plane. TESTFLAGS are passed to go test.
	cd test/fuzz && go test -count=1 $(TESTFLAGS) ./...
	@$(MAKE) --no-print-directory fuzz
	# By itself: it takes all that the machine has.
	go test -count=1 -timeout=20m $(TESTFLAGS) ./test/chaos
	go test -count=1 -timeout=20m -parallel=$(TEST_PARALLEL) $(TESTFLAGS) $$(go list ./... | grep -v /test/chaos$$)

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME each, one after the other. What is found is kept under testdata/fuzz.
	@test/fuzz/run.sh $(FUZZTIME)

.PHONY: test-tools
test-tools: $(HELM) $(KUSTOMIZE) $(PROMTOOL) $(MONITORING_CRDS) ## Build what the tests install, render and check with, once.
	@for tool in $^; do ln -sfn "$$(basename "$$tool")" "$$(sed -E 's/-v[0-9.]+$$//' <<< "$$tool")"; done
	@test/gitops/build.sh $(LOCALBIN)

.PHONY: bench
bench: controlplane ## Measure the operator at N namespaces beside what the API server can do at all, and fail on a regression.
	@go build -o $(LOCALBIN)/scale ./test/scale
	$(LOCALBIN)/scale -n $(N) -json $(LOCALBIN)/scale-$(N).json -docs docs/performance.md -range test/scale/range.yaml

.PHONY: chaos
chaos: controlplane ## Do to the operator everything that can go wrong, with the race detector on: each fault alone, then mixed for DURATION. SEED says how.
	@go build -race -o $(LOCALBIN)/chaos ./test/chaos
	$(LOCALBIN)/chaos -mixed $(DURATION) $(if $(SEED),-seed $(SEED))

.PHONY: bench-pods
bench-pods: controlplane ## Measure how many pods a second the API server takes under policies. BENCHTIME says how many rounds.
	go test -run='^$$' -bench=. -benchtime=$(BENCHTIME) -timeout=60m ./test/scale

.PHONY: controlplane
controlplane: ## Build etcd, kube-apiserver, kube-controller-manager and kubectl into bin/k8s, once. KUBEBUILDER_ASSETS is used instead if set.
	@test/controlplane/build.sh $(LOCALBIN)/k8s

##@ Try it

.PHONY: demo
demo: controlplane build ## Show the operator at work on a real API server. KEEP=1 leaves it running.
	@go build -o $(LOCALBIN)/demo ./test/demo
	@KEEP=$(KEEP) $(LOCALBIN)/demo

.PHONY: run
run: ## Run the operator here, against the cluster of your kubeconfig, with your permissions.
	go run ./cmd

##@ Build

.PHONY: build
build: ## Build bin/manager.
	go build -ldflags="-X main.release=$(VERSION)" -o $(LOCALBIN)/manager ./cmd

.PHONY: docker-build
docker-build: ## Build the image IMG for this machine.
	$(CONTAINER_TOOL) build --build-arg VERSION=$(VERSION) -t $(IMG) .

.PHONY: docker-buildx
docker-buildx: ## Build and push the image IMG for all of PLATFORMS.
	$(CONTAINER_TOOL) buildx build --push --platform=$(PLATFORMS) --build-arg VERSION=$(VERSION) -t $(IMG) .

.PHONY: build-installer
build-installer: $(KUSTOMIZE) ## Write dist/install.yaml, which installs the image IMG.
	@mkdir -p dist
	@$(call render,default) > dist/install.yaml
	@echo "Wrote dist/install.yaml"

##@ Deployment, to the cluster of your kubeconfig

.PHONY: install
install: $(KUSTOMIZE) ## Install the CRDs.
	$(KUSTOMIZE) build config/crd | $(KUBECTL) apply --server-side --force-conflicts -f -

.PHONY: uninstall
uninstall: $(KUSTOMIZE) delete-baselines ## Remove every SecurityBaseline and the CRDs.
	$(KUSTOMIZE) build config/crd | $(KUBECTL) delete --ignore-not-found -f -

.PHONY: deploy
deploy: $(KUSTOMIZE) ## Install the operator with the image IMG.
	$(call render,default) | $(KUBECTL) apply --server-side --force-conflicts -f -

.PHONY: undeploy
undeploy: $(KUSTOMIZE) delete-baselines ## Remove every SecurityBaseline, the CRDs and the operator.
	$(KUSTOMIZE) build config/default | $(KUBECTL) delete --ignore-not-found -f -

# While the operator runs: it removes what baselines with deletionPolicy: Remove
# gave.
.PHONY: delete-baselines
delete-baselines:
	@if $(KUBECTL) get crd securitybaselines.securitybaseline.io >/dev/null 2>&1; then \
		$(KUBECTL) delete securitybaselines --all --timeout=5m || { \
			echo "A baseline with deletionPolicy: Remove waits for the operator. Start it again or, to keep what the baseline gave:"; \
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

$(GOLANGCI_LINT):
	$(call go-install-tool,$@,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,$(GOLANGCI_LINT_VERSION))

# kube-api-linter comes as a golangci-lint of its own, at the version that it requires.
$(KUBE_API_LINTER):
	$(call go-install-tool,$@,sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter,$(KUBE_API_LINTER_VERSION))
