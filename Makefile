# The two commands a newcomer needs are `make serve` and `make test`.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000
RUST_SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock
# So that maturin and cargo take this environment, whichever one is active.
export VIRTUAL_ENV := $(abspath $(VENV))
export PYO3_PYTHON := $(VIRTUAL_ENV)/bin/python

.PHONY: serve test test-python test-rust lint format build docs docs-settings bench bench-smoke fuzz \
	fuzz-fastapi fuzz-fastapi-mutants fastapi-suites autobahn h2spec slow-clients tls-scan clean

## serve: build, and serve the FastAPI application in examples/
serve: $(VENV)/.built
	$(BIN)/pronghorn main:app --app-dir examples --host $(HOST) --port $(PORT)

## test: everything that must pass, but for the lint
test: test-rust test-python

test-python: $(VENV)/.built
	$(BIN)/python -m pytest $(PYTEST_ARGUMENTS)

# The engine needs an interpreter and is tested through it.
test-rust:
	cargo test --package pronghorn-proto

## h2spec: the conformance suite of HTTP/2, in clear text and over TLS (needs Go)
h2spec: $(VENV)/.built
	$(BIN)/python tests/h2spec.py

## lint: formatting, types, the fuzz targets and the stub of the native module
lint: $(VENV)/.built
	cargo fmt --check
	cargo fmt --manifest-path crates/proto/fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- --deny warnings
	# Without libFuzzer, which is only needed to run them.
	CUSTOM_LIBFUZZER_PATH=/none/libnone.a cargo clippy --manifest-path crates/proto/fuzz/Cargo.toml \
		-- --deny warnings
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest pronghorn._engine

## format: bring all sources into shape
format: $(VENV)/.installed
	cargo fmt
	cargo fmt --manifest-path crates/proto/fuzz/Cargo.toml
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

## build: the native module, release build, into the virtual environment
build: $(VENV)/.built

## docs: the site, into site/
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

## docs-settings: write docs/settings.md again, after a change of the table of options
docs-settings: $(VENV)/.built
	$(BIN)/python docs/generate_settings.py

## bench: all cases against all peers (about an hour); see bench/README.md
bench: $(VENV)/.built
	$(BIN)/python bench/run.py

## bench-smoke: that the harness runs and every server answers right
bench-smoke: $(VENV)/.built
	$(BIN)/python bench/run.py --smoke --pronghorn $(BIN)/pronghorn

## slow-clients: slowhttptest's attacks beside a normal client (three minutes; --quick: one)
SLOW_CLIENTS_ARGUMENTS ?=
slow-clients: $(VENV)/.built
	$(BIN)/python tests/slow_clients.py $(SLOW_CLIENTS_ARGUMENTS)

## fuzz: the HTTP/1 parser or another TARGET, for SECONDS (needs clang's runtime; cargo-fuzz installs itself)
SECONDS ?= 600
TARGET ?= http1
fuzz:
	command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
	cd crates/proto && cargo +nightly fuzz run -O $(TARGET) -- -max_total_time=$(SECONDS)

## fuzz-fastapi: the accelerator against FastAPI itself, 100,000 requests (about ten minutes)
REQUESTS ?= 100000
fuzz-fastapi: $(VENV)/.built
	cd tests && ../$(BIN)/python -m accelerator.fuzz --requests $(REQUESTS)

## fuzz-fastapi-mutants: that the fuzzer finds each of the faults planted into the accelerator
fuzz-fastapi-mutants: $(VENV)/.built
	cd tests && ../$(BIN)/python -m accelerator.mutants

## fastapi-suites: the test suites of FastAPI and Starlette with and without the accelerator
RELEASES ?= 3
fastapi-suites: $(VENV)/.built
	$(BIN)/python tests/accelerator/suites.py --releases $(RELEASES)

## autobahn: the cases of the Autobahn test suite for WebSocket, all but those about speed
autobahn: $(VENV)/.built
	$(BIN)/python tests/autobahn/run.py

## chaos: 100 restarts, recycles, kills and reloads under load, and 200 ends at random moments
.PHONY: chaos
chaos: $(VENV)/.built
	CHAOS_ROUNDS=100 $(BIN)/python -m pytest -s tests/test_chaos.py tests/test_ends.py

## tls-scan: sslyze finds what it finds with Python's own `ssl` defaults, and nothing else
tls-scan: $(VENV)/.built
	test -x $(VENV)/sslyze/bin/sslyze || $(PYTHON) -m venv $(VENV)/sslyze
	$(VENV)/sslyze/bin/python -m pip install --quiet "sslyze>=6,<7"
	$(BIN)/python tests/tls_scan.py $(VENV)/sslyze/bin/sslyze

clean:
	rm -rf $(VENV) target python/pronghorn/*.so

$(VENV)/.installed: pyproject.toml tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "maturin>=1.8,<2" "ruff>=0.9" "mypy>=1.14" \
		types-PyYAML -r tests/requirements.txt
	touch $@

$(VENV)/.docs: $(VENV)/.installed docs/requirements.txt
	$(BIN)/python -m pip install --quiet -r docs/requirements.txt
	touch $@

$(VENV)/.built: $(VENV)/.installed $(RUST_SOURCES)
	$(BIN)/maturin develop --release --extras standard,wsgi
	touch $@
