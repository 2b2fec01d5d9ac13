# Short names for the commands of dev.py: `make demo` is `python3 dev.py demo`. Targets for maintainers follow.
# make PYTHON=python3.12 test chooses another Python; make test TESTS=tests/unit runs some of the tests.

PYTHON ?= python3
DEV := $(PYTHON) dev.py
TEST_BIN := .venv-test/bin

.PHONY: demo test lint format types contracts check docs wheel constraints lock audit sbom wheel-check lowest python310 gpu-check arm64-check clean

demo lint format types contracts check docs wheel:
	$(DEV) $@

test:
	$(DEV) test $(TESTS)

# Pin the dependencies in pyproject.toml with hashes for every platform: `constraints` takes the newest versions,
# `lock` keeps the pins that still fit. Python 3.10 has a file of its own, without export and training.
ON_DEVICES := cpu gpu heif kiosk report app teach sign dev
COMPILE = PATH="$(CURDIR)/$(TEST_BIN):$(CURDIR)/.venv-uv/bin:$$PATH" uv pip compile pyproject.toml \
	--group headless $(UPGRADE) --universal --fork-strategy fewest --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make constraints" --quiet
constraints: UPGRADE := --upgrade
constraints lock:
	@if [ ! -x $(TEST_BIN)/uv ]; then $(PYTHON) -m venv .venv-uv && .venv-uv/bin/python -m pip install --quiet uv; fi
	$(COMPILE) --python-version 3.11 --all-extras --output-file constraints.txt
	$(COMPILE) --python-version 3.10 $(ON_DEVICES:%=--extra %) --output-file constraints-3.10.txt

# Look up known vulnerabilities of the pinned versions; reports if no advisory service can be reached.
audit:
	$(DEV) environment audit
	.venv-audit/bin/python .ci/audit.py constraints.txt
	.venv-audit/bin/python .ci/audit.py constraints-3.10.txt

# List the packages of the small environment, and the models, as CycloneDX JSON.
sbom:
	$(DEV) environment demo audit
	.venv-audit/bin/python .ci/sbom.py .venv dist/sbom.json

# Run the wheel as a user gets it, in an environment without TensorFlow and in an empty folder.
wheel-check: wheel
	.ci/wheel-check dist/*.whl

# Everything that an NVIDIA GPU can show, in dist/gpu-check.json; exits with 3 where there is none. GPU_PYTHON is the
# Python of an environment with the extras gpu and dev (make gpu-check GPU_PYTHON=~/edgeharfer/bin/python).
GPU_PYTHON ?= $(PYTHON)
gpu-check:
	$(GPU_PYTHON) .ci/gpu_check.py

# Do the main job on aarch64, emulated, and compare it with this machine; needs Debian's qemu-user-static.
arm64-check: wheel
	$(TEST_BIN)/python .ci/arm64-check dist/*.whl

# Check the wheel, and the unit tests of what runs on a device, with Python 3.10.
python310: wheel
	.ci/python310 dist/*.whl

# Run the wheel with the lowest versions that pyproject.toml allows.
lowest: wheel
	.ci/lowest dist/*.whl

clean:
	rm -rf .venv .venv-audit .venv-docs .venv-tensorrt .venv-test .venv-uv build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
