# `make test` runs every test of the project. What a machine lacks is said and skipped, except in CI (CI=true).

CARGO ?= cargo
# Go, on the PATH or where its own installer puts it.
GO ?= $(or $(shell command -v go 2>/dev/null),$(wildcard /usr/local/go/bin/go))
# Seconds for each fuzz target in `make fuzz`.
FUZZ_SECONDS ?= 30
# How often `make kill-loop` kills; 1000 take about a quarter of an hour.
METRICKIT_KILLS ?= 200
# How often `make alert-kill-loop` kills: some five minutes.
METRICKIT_ALERT_KILLS ?= 100

.PHONY: test sdk lint docs fuzz fuzz-build bench kill-loop alert-kill-loop soak test-alerting-live go-layouts test-go-matrix test-go-many clean

## every test: unit, property, script, end to end, fuzz seeds, the Go client
test: sdk
	$(CARGO) test --workspace --lib --bins --tests --locked
	$(CARGO) test --workspace --doc --locked

## the Go client: formatting, vet, its tests under the race detector
sdk:
ifneq ($(GO),)
	@unformatted="$$(cd sdk/go && $$($(GO) env GOROOT)/bin/gofmt -l .)"; test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	cd sdk/go && $(GO) vet ./... && $(GO) test -race ./...
else ifeq ($(CI),true)
	@echo "sdk/go: Go must be installed in CI"; exit 1
else
	@echo "skipped: the Go client, as go is not installed"
endif

## formatting and lints, warnings are errors
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

## API documentation, warnings are errors
docs:
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --workspace --no-deps --document-private-items --locked

## each fuzz target for FUZZ_SECONDS (needs cargo-fuzz)
fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run

## MetricKit, VictoriaMetrics and Prometheus side by side, those that are installed: some ten minutes
bench:
	$(CARGO) run --release --locked -- bench compare
	$(CARGO) run --release --locked -- bench query --hours 2 --repeat 5 --servers victoriametrics,prometheus

## METRICKIT_KILLS random kills of the real server under load: nothing lost, nothing twice
kill-loop:
	METRICKIT_KILLS=$(METRICKIT_KILLS) $(CARGO) test --release --locked --test kill -- --nocapture

## METRICKIT_ALERT_KILLS random kills of the real server while it tells of alerts: none lost, none begun anew, none told twice but what was on its way
alert-kill-loop:
	METRICKIT_ALERT_KILLS=$(METRICKIT_ALERT_KILLS) $(CARGO) test --release --locked --test alert_kill -- --nocapture

## a real Prometheus writes for ten minutes; its answers and ours are equal (needs prometheus, prometheus-node-exporter)
soak:
	METRICKIT_SOAK_SECONDS=600 $(CARGO) test --release --locked --test prometheus -- --nocapture

## the scenarios of alerting through the installed prometheus and prometheus-alertmanager, and through our own server, in real time, held
## against what is recorded: six minutes; METRICKIT_ALERTING_RECORD=1 records anew what the pair tells, METRICKIT_ALERTING_ONLY=NAME takes some
test-alerting-live:
	$(CARGO) test --locked --test alerting -- --ignored --nocapture --test-threads 1 live

## how Go's runtime is laid out in every release, read anew from executables (needs go and the module proxy): some ten minutes
go-layouts:
	PATH="$(dir $(GO)):$$PATH" agent/layouts/run

## what the agent reads of executables and of running programs of every release of Go, beside what they say of themselves
## (needs go, and pip or the module proxy)
test-go-matrix:
	PATH="$(dir $(GO)):$$PATH" CARGO="$(CARGO)" agent/layouts/matrix

## the agent beside 500 Go processes (needs go): its processor time, memory and rounds
test-go-many:
	$(CARGO) build --release --locked -p agent
	METRICKIT_GO_PROCESSES=500 METRICKIT_AGENT_PROGRAM=$(abspath $(or $(CARGO_TARGET_DIR),target))/release/metrickit-agent \
		$(CARGO) test --locked -p agent --test survive -- --nocapture many::

clean:
	$(CARGO) clean
