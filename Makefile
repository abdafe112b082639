# The commands that people and CI use. Each sets up what it needs.

CARGO ?= cargo
SLUICE = target/release/sluice

.PHONY: build test lint demo bench tools kubectl

# A release binary.
build: tools
	$(CARGO) build --release --locked

# Everything that must hold: format, lints, tests, documentation.
test: kubectl lint
	$(CARGO) test --locked
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

lint: tools
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

# Releases held, canaried, promoted and rolled back, on a cluster in one process.
demo: build
	$(SLUICE) sandbox --scenario scenarios/demo.yaml $(DEMO)

# The measured budgets, as a table with the target beside each figure: some 12 minutes.
bench: tools
	$(CARGO) bench --locked --bench budgets

# Rust, and a C compiler for the allocator and the TLS primitives.
tools:
	@command -v $(CARGO) >/dev/null || { \
		echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		apt-get update -q && apt-get install -qy gcc libc6-dev; } || { \
		echo "a C compiler is missing: install gcc or clang" >&2; exit 1; }

# Tests against kubectl are left out without it: said aloud, and never in CI.
kubectl:
	@command -v kubectl >/dev/null || { \
		echo "kubectl is missing: the tests that use it are NOT run." >&2; \
		echo "Install it from https://kubernetes.io/docs/tasks/tools/" >&2; \
		test "$$CI" != true; }
