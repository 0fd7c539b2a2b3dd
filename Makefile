# fieldgate: `make` alone lists what there is to make.
#
# ARGS goes to the program behind a target:  make demo ARGS="--for 60s --outage 20s --report report.json"

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# One thing after the other: cargo uses all cores by itself, and `make test` is a sequence.
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# rustup's directory for shells that have not read its profile yet; /usr/sbin for the broker of the tests.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

ARGS ?=
# Where cargo puts programs. Passed on, so that a directory set in cargo's own configuration cannot differ from it.
TARGET_DIR ?= $(or $(CARGO_TARGET_DIR),target)
override TARGET_DIR := $(abspath $(TARGET_DIR))
export CARGO_TARGET_DIR := $(TARGET_DIR)

# Both programs are always built by one cargo command, so that they share one set of dependencies; the examples with them,
# because proofs and benches run two of those.
release_build = cargo build --release --locked --package fieldgate --package fieldgate-sim --bins --examples
honest_sim := $(TARGET_DIR)/release/fieldgate-sim

# A daemon with deliberate defects must never stand where the real one does. Its finished programs go to a directory of their own;
# the intermediate files are shared with the honest build, so that only what knows the feature is compiled again.
sabotage_build = CARGO_BUILD_BUILD_DIR='$(TARGET_DIR)' $(release_build) --features sabotage --target-dir '$(TARGET_DIR)/sabotage'
sabotaged_sim := $(TARGET_DIR)/sabotage/release/fieldgate-sim

# Does this run ask for a defect?
sabotage := $(filter --sabotage --sabotage=%,$(ARGS))

.PHONY: help
help:
	@echo 'make TARGET [ARGS="…"]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

.PHONY: build
build: ## build the release programs fieldgate and fieldgate-sim
	@scripts/need.sh build
	$(release_build)

.PHONY: demo
demo: build ## run the gateway against a simulated modem, bus, cloud and link; Ctrl-C ends it
	@exec '$(honest_sim)' demo --fieldgate '$(TARGET_DIR)/release/fieldgate' $(ARGS)

.PHONY: test
test: ## check format and lints, run every test (installs what the tests need, or names it)
	@scripts/need.sh test
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --features sabotage -- -D warnings
	cargo clippy --locked --package fieldgate --package fieldgate-sim --lib --bins -- -D warnings
	@scripts/run-tests.sh --locked --workspace --features sabotage

# What the fuzzer found so far grows beside the build, not in the committed corpus. An input that breaks a promise is named at the end and
# lies in fuzz/artifacts; once repaired it goes to fuzz/corpus, where `make test` runs it for good.
fuzz_targets := $(sort $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs))))
FUZZ_SECONDS ?= 60

.PHONY: fuzz
fuzz: ## run every fuzz target for a minute, or those named: make fuzz ARGS="coap_endpoint golioth_rows"
	@scripts/need.sh fuzz
	@for target in $(or $(ARGS),$(fuzz_targets)); do \
		echo "== $$target"; \
		mkdir -p "$(TARGET_DIR)/fuzz-corpus/$$target"; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir fuzz --target-dir '$(TARGET_DIR)/fuzz' "$$target" \
			"$(TARGET_DIR)/fuzz-corpus/$$target" "fuzz/corpus/$$target" -- \
			-max_total_time=$(FUZZ_SECONDS) -malloc_limit_mb=16 -timeout=30 -print_final_stats=1; \
	done

.PHONY: bench
bench: build ## measure accepted rate, flash per reading and the status API
	@exec '$(honest_sim)' bench $(ARGS)

.PHONY: prove
prove: $(if $(sabotage),build-sabotaged,build) ## run one proof: make prove ARGS="no-loss --kills 50"
	@exec '$(if $(sabotage),$(sabotaged_sim),$(honest_sim))' prove $(ARGS)

.PHONY: prove-all
prove-all: build build-sabotaged ## run every proof, then every deliberate defect, which must be caught
	@exec scripts/prove-all.sh '$(honest_sim)' '$(sabotaged_sim)' $(ARGS)

.PHONY: build-sabotaged
build-sabotaged:
	@scripts/need.sh build
	$(sabotage_build)
