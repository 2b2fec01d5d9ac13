# make demo   a virtual environment, then actions and emotions on the built-in demo source
# make test   a virtual environment with everything that the tests need, then the tests
#             (make test TESTS=tests/unit for some of them)
# Each environment is made once, and renewed when what it depends on changes.

# The first Python that every dependency has wheels for; `make PYTHON=…` chooses another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; \
	done || echo python3)
TEST_BIN := .venv-test/bin
ROOTS := $(wildcard runtime export training calib)
INSTALLS := pyproject.toml constraints.txt .ci/environment.py

.PHONY: demo test lint format types contracts check constraints lock audit sbom wheel \
	wheel-check clean

demo: .venv/installed
	.venv/bin/edgeharfer run --source demo --duration 10

test: .venv-test/installed
	$(TEST_BIN)/python -m pytest $(TESTS)

lint: .venv-test/installed
	$(TEST_BIN)/ruff check .
	$(TEST_BIN)/ruff format --check .

format: .venv-test/installed
	$(TEST_BIN)/ruff check --fix .
	$(TEST_BIN)/ruff format .

types: .venv-test/installed
	$(TEST_BIN)/mypy $(ROOTS) tests

contracts: .venv-test/installed
	$(TEST_BIN)/lint-imports

check: lint types contracts test

# What pyproject.toml asks for, pinned with hashes for every platform at once: `constraints` takes the newest
# versions, `lock` leaves the pins alone that still fit.
constraints: UPGRADE := --upgrade
constraints lock:
	@if [ ! -x $(TEST_BIN)/uv ]; then $(PYTHON) -m venv .venv-uv && .venv-uv/bin/python -m pip install --quiet uv; fi
	PATH="$(CURDIR)/$(TEST_BIN):$(CURDIR)/.venv-uv/bin:$$PATH" uv pip compile pyproject.toml --all-extras \
		$(UPGRADE) --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make constraints" \
		--quiet --output-file constraints.txt

# Known defects of what is pinned; says so where no advisory service can be reached.
audit: .venv-audit/installed
	.venv-audit/bin/python .ci/audit.py constraints.txt

# What the small environment holds, and the models, as CycloneDX JSON.
sbom: .venv/installed .venv-audit/installed
	.venv-audit/bin/python .ci/sbom.py .venv dist/sbom.json

wheel: .venv-test/installed
	rm -rf dist
	$(TEST_BIN)/python -m hatchling build

# The wheel alone, as a user gets it, in an environment without TensorFlow and an empty folder.
wheel-check: wheel
	PYTHON=$(PYTHON) .ci/wheel-check dist/*.whl

clean:
	rm -rf .venv .venv-audit .venv-test .venv-uv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: $(INSTALLS)
	$(PYTHON) .ci/environment.py .venv cpu
	@touch $@

.venv-test/installed: $(INSTALLS)
	$(PYTHON) .ci/environment.py .venv-test cpu mediapipe export train compare report kiosk app sign dev
	@touch $@

.venv-audit/installed: $(INSTALLS)
	$(PYTHON) .ci/environment.py .venv-audit audit
	@touch $@
