# Each target works by itself on a machine that has only git, make and Python 3.11 or newer.
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python,$(shell command -v $(name))))
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Each stage is a new process, so keep its bytecode.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE
unexport VIRTUAL_ENV

.PHONY: repro test test-fast check format bench figures notebook lock release-check server setup
.DEFAULT_GOAL := repro

# Run the stages that something changed for, and print the results.
repro: setup
	@$(BIN)/python -m stages

setup: .venv/installed mlflow.db

# uv installs ten times faster than pip, which installs uv itself by the hash in the lock.
.venv/installed: requirements.lock pyproject.toml
	@test ! -L .venv || { echo ".venv is a link to another environment, which make would change; remove the link." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# Create the store before a parallel training or `mlflow ui` could create it elsewhere.
mlflow.db: | .venv/installed
	@test -n "$$MLFLOW_TRACKING_URI" || $(BIN)/python -c "from pathlib import Path; from imagetrail.tracking import store; store.prepare(Path())"

# Run MLflow on a private PostgreSQL, for this machine: make server PORT=5001
server: setup
	$(BIN)/imagetrail server $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT)) $(if $(ALLOWED_HOSTS),--allowed-hosts $(ALLOWED_HOSTS))

# CI runs check and test.
check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python .ci/english.py

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: setup
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest tests --run-slow --numprocesses logical --maxprocesses 4 --dist loadgroup

test-fast: setup
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest tests --numprocesses logical --maxprocesses 4 --dist loadgroup

bench: setup
	$(BIN)/python -m bench

# Train for every figure of docs/results.md that is still missing; takes hours on two cores. RECIPES="mnist-mlp …" takes some.
figures: setup
	$(BIN)/python -m bench.figures $(RECIPES)

# Run the tour from top to bottom and save it with its pictures.
notebook: setup
	$(BIN)/python -m notebooks

# Rewrite requirements.lock from pyproject.toml (exact versions and hashes, no registry address), and signatures.json
# from the libraries that are installed.
lock: .venv/installed
	$(BIN)/uv pip compile --quiet pyproject.toml --group dev --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --output-file requirements.lock
	$(BIN)/python -m imagetrail.params.libraries

# Build the wheel and the sdist, and import every module of the wheel where only its declared dependencies are installed.
release-check: .venv/installed
	rm -rf dist build
	grep -q "^## $$($(BIN)/python -c 'import importlib.metadata as m; print(m.version("imagetrail"))') (20" CHANGELOG.md
	$(BIN)/uv build --quiet --no-build-isolation --out-dir dist
	$(BIN)/uv venv --quiet --python $(BIN)/python build/bare
	$(BIN)/uv pip install --quiet --python build/bare/bin/python --constraints requirements.lock dist/*.whl
	cd build/bare && bin/imagetrail recipe --help >/dev/null && bin/python -c "import importlib, pkgutil, imagetrail; \
		names = [m.name for m in pkgutil.walk_packages(imagetrail.__path__, 'imagetrail.')]; \
		[importlib.import_module(name) for name in names]; print(f'{len(names)} modules of the wheel import')"
	ls -l dist
