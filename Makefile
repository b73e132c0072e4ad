# Everyday commands. Each sets up .venv by itself; `make demo` and `make test` need no other.
#
#   PYTHON=python3.12     which Python to use (3.11 or newer)
#   TORCH="..."           what to give pip for torch. On a machine without a GPU, add the CPU index
#                         that pytorch.org names: the default may bring several GB of CUDA.

SHELL := bash
.DELETE_ON_ERROR:
.PHONY: demo test lint format proto bench setup clean

TORCH ?= torch==2.13.0
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python3.14, \
	$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
BIN := .venv/bin
PACKAGES := contracts metrics rankdata ranker srgan pipeline
METADATA := $(PACKAGES:%=packages/%/pyproject.toml)

demo: .venv/packages.ready
	$(BIN)/ranksrgan demo -o demo --deploy deploy/local.sh

# A process for each core, and one thread in each: teams of threads would wait for each other. Files
# with few tests have the longest, and would come last.
test: .venv/compiled.ready
	$(BIN)/python -m compileall -q packages
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 \
		$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

lint: .venv/dev.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy packages
	$(BIN)/lint-imports
	set -o pipefail; $(BIN)/python packages/contracts/generate_protos.py --descriptors /dev/stdout \
		| $(BIN)/buf lint -#format=binpb --config protos/buf.yaml
	$(BIN)/python packages/contracts/generate_protos.py --check
	csrc/check_cuda.sh $(BIN)/python

format: .venv/dev.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format -w protos

proto: .venv/dev.ready
	$(BIN)/python packages/contracts/generate_protos.py

bench: .venv/dev.ready
	failed=; for file in benchmarks/bench_*.py; do \
		echo "== $$file"; $(BIN)/python "$$file" || failed="$$failed $$file"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

setup: .venv/compiled.ready

# torch first and alone: whatever build is there, or is asked for, must satisfy the rest.
.venv/torch.ready:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed (PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile $(TORCH)
	touch $@

.venv/packages.ready: .venv/torch.ready $(METADATA)
	$(BIN)/python -m pip install --quiet --no-compile $(PACKAGES:%=-e packages/%) \
		-e 'packages/metrics[native]' -e 'packages/pipeline[web]'
	touch $@

.venv/dev.ready: .venv/packages.ready pyproject.toml
	$(BIN)/python -m pip install --quiet --no-compile --group dev
	touch $@

# The tests start hundreds of processes, and none of them writes bytecode, since one that tests a full
# disk would write half of it: modules are compiled before, by all cores, where pip would use one.
# Some packages have modules for other Pythons.
.venv/compiled.ready: .venv/dev.ready
	$(BIN)/python -m compileall -qq -j 0 -x '/(tests|testing/_internal)/' .venv/lib || true
	touch $@

clean:
	rm -rf .venv demo
