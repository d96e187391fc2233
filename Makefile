# Every recipe sets itself up: Python 3.11+ and the package index are all it needs.
PYTHON ?= python3
V := .venv/bin
export PYTHONUNBUFFERED = 1

.PHONY: up help test test-unit test-integration test-performance coverage lint load bench conformance interop check-full docs shots notebooks fuzz advisories release lock clean

up: .venv/runtime          ## servers, gateway and app; Ctrl-C stops all of it
	@$(V)/workbench up $(ARGS)

help:                      ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 18

test: lint test-unit       ## what a contributor runs before every commit

QUICK := -n auto --maxprocesses 8 --dist worksteal -m "not slow and not browser and not interop" --durations 5
test-unit: .venv/dev       ## the quick tests, on all cores
	$(V)/python -m pytest $(QUICK) $(ARGS)

test-integration: .venv/dev ## real processes, large data, and clients and servers of other projects
	$(V)/python -m pytest -m "(slow or interop) and not browser and not full" $(ARGS)

test-performance: bench    ## the benchmarks, as `make bench`

coverage: .venv/dev        ## the quick tests with a coverage report: a table, and htmlcov/
	$(V)/python -m pytest $(QUICK) --cov --cov-report=term --cov-report=html $(ARGS)

lint: .venv/dev            ## style and types
	$(V)/ruff check .
	$(V)/ruff format --check .
	$(V)/mypy

load: .venv/runtime        ## a short Locust run through the gateway; its figures land in the record
	$(V)/workbench load $(ARGS)

bench: .venv/dev           ## every benchmark: a table, and bench-results.json
	$(V)/python -m loadtests.bench $(ARGS)

conformance: .venv/dev     ## the protocol's official suite against the gateway
	$(V)/python -m pytest -m interop tests/interop/test_conformance.py $(ARGS)

interop: .venv/dev         ## clients and servers that nobody here wrote
	$(V)/python -m pytest -m "interop and not full" $(ARGS)

check-full: .venv/dev      ## what takes many minutes and the package indexes: real servers from cold caches
	$(V)/python -m pytest -m full $(ARGS)

docs: .venv/dev            ## write docs/reference/ anew from the code
	$(V)/python docs/generate.py $(ARGS)

shots: .venv/dev           ## the README's screenshots, from a real browser
	$(V)/python docs/shots.py $(ARGS)

notebooks: .venv/dev       ## run every notebook from top to bottom
	$(V)/python -m pytest -p nbmake --nbmake notebooks $(ARGS)

fuzz: .venv/ci             ## coverage-guided fuzzing of the parsers; ARGS="--seconds 600 jsonrpc"
	$(V)/python -m tests.fuzz $(ARGS)

advisories: .venv/ci       ## locked dependencies against a snapshot of advisories: ARGS="--snapshot PyPI-all.zip"
	$(V)/python -m release.advisories $(ARGS)

release: .venv/ci          ## wheel, source archive, bill of materials and provenance into dist/
	$(V)/python -m release.build $(ARGS)

LOCK := $(V)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: .venv/bin/uv         ## bring the lock files up to date with pyproject.toml; ARGS=--upgrade takes newer versions
	$(LOCK) $(ARGS) --extra llm --extra load pyproject.toml -o requirements.lock
	$(LOCK) $(ARGS) --extra llm --extra load --extra dev pyproject.toml -o requirements-dev.lock
	$(LOCK) $(ARGS) --extra llm --extra load --extra dev --extra ci pyproject.toml -c requirements-dev.lock -o requirements-ci.lock

clean:                     ## remove environments and caches; the state in .workbench stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis

# uv resolves nothing here: the lock files carry every version and hash.
.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(V)/python -m pip install -q --disable-pip-version-check uv

.venv/runtime: requirements.lock pyproject.toml | .venv/bin/uv
	@test -e .venv/dev || $(V)/uv pip install -q --python $(V)/python --require-hashes --compile-bytecode -r requirements.lock
	$(V)/uv pip install -q --python $(V)/python --no-deps -e .
	@touch $@

.venv/dev: requirements-dev.lock pyproject.toml | .venv/bin/uv
	$(V)/uv pip install -q --python $(V)/python --require-hashes --compile-bytecode -r requirements-dev.lock
	$(V)/uv pip install -q --python $(V)/python --no-deps -e .
	@touch $@ .venv/runtime

.venv/ci: requirements-ci.lock .venv/dev
	$(V)/uv pip install -q --python $(V)/python --require-hashes -r requirements-ci.lock
	@touch $@
