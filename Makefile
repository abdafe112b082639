# The commands that people and CI use. Each sets up what it needs.

CARGO ?= cargo
SLUICE = target/release/sluice

.PHONY: build test lint demo bench kubectl

# A release binary.
build:
	$(CARGO) build --release --locked

# Everything that must hold: format, lints, tests, documentation.
test: kubectl lint
	$(CARGO) test --locked
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

# Releases held, canaried, promoted and rolled back, on a cluster in one process.
demo: build
	$(SLUICE) sandbox --scenario scenarios/demo.yaml

# The measured budgets, as a table.
bench:
	$(CARGO) bench --locked

# Tests against kubectl are left out without it: said aloud, and never in CI.
kubectl:
	@command -v kubectl >/dev/null || { \
		echo "kubectl is missing: the tests that use it are NOT run." >&2; \
		echo "Install it from https://kubernetes.io/docs/tasks/tools/" >&2; \
		test "$$CI" != true; }
