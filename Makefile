# Every door works alone on a machine that has only git, make and Python 3.11 or newer.
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python,$(shell command -v $(name))))
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Stages import the package from their checkout's src/, and their bytecode is worth keeping: each stage is a new process.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE VIRTUAL_ENV

.PHONY: repro test test-fast check format bench lock setup
.DEFAULT_GOAL := repro

setup: .venv/installed mlflow.db

# uv installs ten times faster than pip; pip fetches uv itself by the hash in the lock.
.venv/installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	touch $@
