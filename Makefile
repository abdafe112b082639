# The commands that people and CI use. Each sets up what it needs.

CARGO ?= cargo
SLUICE = target/release/sluice

.DEFAULT_GOAL = build

.PHONY: bench bench-evidence bench-git bench-scale build chart check controlplane crashes demo demo-environments dex \
	flagger fuzz helm help image kubectl lint mutations postgres prometheus registry soak sshd test test-flagger \
	test-kill test-page test-prometheus test-real test-traefik tools traefik

# What there is to make: the first sentence above each target.
help:
	@awk '/^# / { said = said (said ? " " : "") substr($$0, 3); next } \
		/^[a-z-]+:/ && said { name = $$1; sub(":.*", "", name); sub("[.:] .*|[.]$$", "", said); printf "%-18s %s\n", name, said } \
		{ said = "" }' $(firstword $(MAKEFILE_LIST))

# What a target needs and Debian has: installed as root, else said. $(call need,TEST,PACKAGE)
define need
	@$(1) || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		apt-get update -q && apt-get install -qy --no-install-recommends $(2); } || { \
		echo "$(2) is missing" >&2; echo "Install it: apt-get install $(2)" >&2; exit 1; }
endef

# The same for tests that are left out without it: said aloud, and never in CI.
define wanted
	@$(1) || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		apt-get update -q && apt-get install -qy --no-install-recommends $(2); } || { \
		echo "$(2) is missing: the tests on it are NOT run." >&2; echo "Install it: apt-get install $(2)" >&2; \
		test "$$CI" != true; }
endef

# The same for what Debian lacks or has too old. $(call elsewhere,COMMAND,TESTS,ADDRESS)
define elsewhere
	@command -v $(1) >/dev/null || { \
		echo "$(1) is missing: $(2) are NOT run." >&2; echo "Install it from $(3)" >&2; test "$$CI" != true; }
endef

# A release binary.
build: tools
	$(CARGO) build --release --locked

# Everything that must hold - format, lints, tests, documentation - with what it needs installed.
test: kubectl controlplane helm dex prometheus sshd postgres registry lint
	$(CARGO) test --locked
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

# What can be checked with nothing but Rust: tests that need a server, kubectl or a control plane are left out where it is missing.
check: lint
	$(CARGO) test --locked
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

# The daemon's process killed 100 times at random moments of many releases, on the sandbox's API
# server and on the real one; `make test` does 8 and 4.
# Another seed: make test-kill SLUICE_SEED=8
test-kill: export SLUICE_KILLS ?= 100
test-kill: controlplane tools
	$(CARGO) test --locked --test ha --test real -- --nocapture releases_survive

# Every scenario on the real control plane, and the rights of the daemon against its audit log.
# In another mode of the gate: make test-real GATE=webhook (or paused)
test-real: export GATE ?= policy
test-real: controlplane tools
	$(CARGO) test --locked --test real_scenarios -- --ignored --nocapture

# Releases behind a real Traefik, by both of its providers, and the way from one to the other; metrics by a real
# Prometheus.
test-traefik: controlplane traefik prometheus tools
	$(CARGO) test --locked --test real -- --ignored --nocapture traefik::

# The pages in a real browser.
test-page: tools
	$(call need,command -v chromium >/dev/null,chromium)
	$(CARGO) test --locked --test people -- --ignored --nocapture a_real_browser

# The image by docker where one can be built, else its steps one by one; either way it is tried.
image: tools
	@if docker info >/dev/null 2>&1; then docker build -t sluice:0.1.0 . && docker run --rm --read-only sluice:0.1.0 --version && \
		docker image inspect -f '{{.Size}} bytes' sluice:0.1.0; \
	else echo "no builder answers: the Dockerfile's steps are done one by one"; CARGO="$(CARGO)" tests/image/run; fi

# The fault simulation for long: SEEDS schedules from FROM, or one of them (SEED) with its story.
soak: tools
	SEEDS=$(or $(SEEDS),10000) FROM=$(or $(FROM),0) $(if $(SEED),SEED=$(SEED)) $(CARGO) test --release --locked --test faults -- \
		--ignored --nocapture --exact soak

# The code of each invariant broken on purpose, and what notices: SEEDS schedules, ONLY= by name.
mutations: tools
	CARGO="$(CARGO)" tests/faults/mutations/run

lint: tools
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

# Releases held, canaried, promoted and rolled back, on a cluster in one process.
demo: build
	$(SLUICE) sandbox --scenario scenarios/demo.yaml $(DEMO)

# One version from a commit in develop through staging and an approval to production, and one that fails in
# staging and never leaves it; on three sandboxes and a Git server: some minutes.
demo-environments: kubectl tools
	$(CARGO) test --locked --test environments -- --ignored --nocapture --exact demo::demo

# The measured budgets, as a table with the target beside each figure: some 12 minutes.
bench: tools
	$(CARGO) bench --locked --bench budgets
	$(CARGO) bench --locked --bench judge

# One daemon with 5,000 Rollouts at rest and 500 in a run, and a hub of ten environments, against the budgets: half
# an hour on two cores; fails where a target is missed.
bench-scale: tools
	$(CARGO) bench --locked --bench budgets -- queries reaction scale hub --trials 30 --strict

# Everything that reads what others wrote, TIME seconds each; a find is kept in fuzz/artifacts.
TIME ?= 60
fuzz: tools
	@$(CARGO) +nightly --version >/dev/null 2>&1 || { \
		echo "a nightly compiler is missing: rustup toolchain install nightly" >&2; exit 1; }
	@$(CARGO) +nightly fuzz --version >/dev/null 2>&1 || { \
		echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2; exit 1; }
	$(CARGO) +nightly fuzz build -s none --strip-dead-code
	@for target in $$($(CARGO) +nightly fuzz list); do \
		mkdir -p fuzz/corpus/$$target; \
		case $$target in rules) more=rules ;; scenario|yaml) more=scenarios ;; *) more= ;; esac; \
		echo "fuzzing $$target for $(TIME) s"; \
		$(CARGO) +nightly fuzz run -s none --strip-dead-code $$target \
			fuzz/corpus/$$target fuzz/seeds/$$target $$more -- \
			-max_total_time=$(TIME) -max_len=16384 -timeout=20 -rss_limit_mb=2048 \
			-dict=fuzz/words.dict -print_final_stats=1 || exit 1; \
	done

# The evidence proven by simulation, as tables with the target beside each figure, each row when it is
# done: some 20 minutes on two quiet cores with the 10,000 runs that rates near 1% need. ONLY="false-rates dependent" RUNS=1000 SEED=2 is quicker.
bench-evidence: tools
	$(CARGO) bench --locked --bench evidence -- $(ONLY) $(if $(RUNS),--runs $(RUNS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(ROW),--row "$(ROW)")

# What remedies in Git cost: from verdict to applied, by the wall clock (half an hour) and in virtual time, and
# the work in a large repository.
bench-git: tools
	$(CARGO) test --locked --test remedy -- --ignored --nocapture --test-threads=1 measured
	$(CARGO) test --locked --test git -- --ignored --nocapture large

# CRASHES daemons killed at each effect between the verdict and the last remedy.
CRASHES ?= 200
crashes: tools
	SLUICE_CRASHES=$(CRASHES) $(CARGO) test --locked --test remedy -- --nocapture crashes

# Rust, and a C compiler for the allocator and the TLS primitives.
tools:
	@command -v $(CARGO) >/dev/null || { \
		echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	$(call need,command -v cc >/dev/null,gcc libc6-dev)

# Tests against kubectl are left out without it: said aloud, and never in CI.
kubectl:
	$(call elsewhere,kubectl,the tests that use it,https://kubernetes.io/docs/tasks/tools)

# The metrics servers of the tests, Debian's own. Where systemd runs, installing them starts
# their services too; the tests start servers of their own.
prometheus:
	$(call wanted,command -v prometheus >/dev/null,prometheus)
	$(call wanted,command -v victoria-metrics >/dev/null,victoria-metrics)
	$(call wanted,command -v prometheus-alertmanager >/dev/null,prometheus-alertmanager)

# Git over SSH is tested with a real server, which the tests start on a port of their own.
sshd:
	$(call wanted,test -x /usr/sbin/sshd,openssh-server)

# A registry of images; the tests start it.
registry:
	$(call wanted,command -v docker-registry >/dev/null,docker-registry)

# The history's database, Debian's own: the tests start a server of theirs.
postgres:
	$(call wanted,test -d /usr/lib/postgresql,postgresql)

# Every shipped scenario in real time, its metrics through a real Prometheus: some eleven minutes.
test-prometheus: prometheus tools
	$(CARGO) test --locked --test prometheus -- --include-ignored --nocapture

# The real control plane of the tests, built once (some 5 minutes): kube-apiserver,
# kube-controller-manager and etcd, in one binary. KUBEBUILDER_ASSETS names another one.
PLANE = target/controlplane
controlplane:
	@if test -n "$$KUBEBUILDER_ASSETS"; then \
		echo "The control plane is that of $$KUBEBUILDER_ASSETS"; \
	elif command -v go >/dev/null; then $(MAKE) $(PLANE)/etcd; else \
		echo "go is missing: the tests against a real control plane are NOT run." >&2; \
		echo "Install it from https://go.dev/dl, or set KUBEBUILDER_ASSETS" >&2; \
		test "$$CI" != true; fi

$(PLANE)/etcd: $(wildcard tests/controlplane/*)
	cd tests/controlplane && go build -trimpath -ldflags "$(PLANE_VERSION)" -o ../../$(PLANE)/kube-apiserver .
	cd $(PLANE) && ln -sf kube-apiserver kube-controller-manager && ln -sf kube-apiserver etcd && touch -h etcd

# Helm, which no package registry has as a binary either (some 2 minutes).
helm:
	$(call elsewhere,go,the tests of the Helm chart,https://go.dev/dl)
	@! command -v go >/dev/null || $(MAKE) target/helm

target/helm: $(wildcard tests/helm/*)
	cd tests/helm && go build -trimpath -ldflags "-s -w" -o ../../target/helm helm.sh/helm/v4/cmd/helm

# Dex, an identity provider, for the tests of signing in (some 1 minute).
dex:
	$(call elsewhere,go,the tests of signing in at Dex,https://go.dev/dl)
	@! command -v go >/dev/null || $(MAKE) target/dex

target/dex: $(wildcard tests/dex/*)
	cd tests/dex && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../target/dex .

# Traefik, and the kinds of the Gateway API, for the tests behind a real router (some 10 minutes).
traefik: target/traefik/traefik

target/traefik/traefik: $(wildcard tests/traefik/* tests/traefik/*/*)
	@command -v go >/dev/null || { echo "go is missing: https://go.dev/dl" >&2; exit 1; }
	tests/traefik/build

# Flagger with its kinds, for the test of the switch from it (some 2 minutes).
flagger:
	@command -v go >/dev/null || { echo "go is missing: install it from https://go.dev/dl" >&2; exit 1; }
	@$(MAKE) target/flagger/crd.yaml

target/flagger/crd.yaml: $(wildcard tests/flagger/*)
	cd tests/flagger && go build -trimpath -ldflags "-s -w" -o ../../target/flagger/flagger github.com/fluxcd/flagger/cmd/flagger
	install -m 644 "$$(cd tests/flagger && go list -m -f '{{.Dir}}' github.com/fluxcd/flagger)/artifacts/flagger/crd.yaml" $@

# Sluice beside a running Flagger, and the printed switch from it, typed.
test-flagger: kubectl controlplane flagger tools
	$(CARGO) test --locked --test real -- --ignored --nocapture flagger::

# The chart's copies of what lies elsewhere; a test says when they are old.
CHART = charts/sluice/files
chart:
	cp $(addprefix clusters/base/sluice/,crd.yaml gate.yaml people.yaml rbac.yaml) $(CHART)
	for name in git-revert git-revert-argo-cd page-access smoke-after-sync smoke-jobs; do \
		cp clusters/components/$$name/rbac.yaml $(CHART)/$$name.yaml || exit 1; done
	cp clusters/components/approvals/policy.yaml $(CHART)/approvals.yaml
	cp clusters/components/webhook-gate/webhook.yaml $(CHART)/webhook.yaml
	cp clusters/components/webhook-gate/rbac.yaml $(CHART)/webhook-rights.yaml
	cp rules/prometheus/sluice.yaml $(CHART)/alerts.yaml
	cp dashboards/*.json $(CHART)/dashboards

# The version that the API server says; that of k8s.io/kubernetes in go.mod.
PLANE_VERSION = -s -w \
	-X k8s.io/component-base/version.gitVersion=v1.36.3 \
	-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36
