# make demo and make test need Python 3.11 and make, nothing else: each sets up its environment first, and again only
# when pyproject.toml or the constraints change. Works with GNU make from 3.81, which is macOS's.

PYTHON ?= python3
VENV ?= .venv
VENV_PEERS ?= .venv-peers
PYTHON_NEWEST ?= python3.13
VENV_NEWEST ?= .venv-newest
DEMO_DIR ?= runs/demo
WORKERS ?= 2
PYTEST_ARGS ?=
BENCHMARK_ARGS ?=
# What the environment of the benchmarks has beside: JAX for NVIDIA GPUs where there is one.
BENCHMARK_EXTRAS ?= $(if $(wildcard /dev/nvidia0),cuda)
# What depends on the versions of other packages, and is quick.
NEWEST_TESTS = $(addprefix tests/,schedules processes denoisers losses networks training test_devices.py test_resolve.py)

# Packages are compiled to bytecode when they are first imported, not at install time, where it takes 15 seconds: so
# Python has to be allowed to keep it.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo text-encoder test test-browser test-peers benchmark-peers test-newest lint types format hooks clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) DEMO_DIR=$(DEMO_DIR) WORKERS=$(WORKERS) PYTEST_ARGS='-k ddim -x'"

demo: $(VENV)/.runtime ## train a small model on 8x8 digits and sample from it, in minutes on a CPU
	$(VENV)/bin/python launch.py --config configs/digits.py --workdir $(DEMO_DIR)
	@echo
	@for file in $$(ls -t $(DEMO_DIR)/samples/*.png 2>/dev/null | head -1) $(DEMO_DIR)/report.html $(DEMO_DIR)/metrics.jsonl; do \
	    if [ -e "$$file" ]; then echo "Look at $$file"; fi; done

text-encoder: $(VENV)/.text ## install the sentence encoder all-MiniLM-L6-v2 (83 MB) into your cache, for config.conditions
	$(VENV)/bin/python -m diffax.text.install

test: $(VENV)/.test ## every test but those in a browser and those against other codebases
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal --durations=10 --ignore tests/browser $(PYTEST_ARGS)

test-browser: $(VENV)/.test ## reports in headless Chromium, which is installed where it is missing
	@.ci/chromium
	$(VENV)/bin/python -m pytest tests/browser $(PYTEST_ARGS)

test-peers: $(VENV_PEERS)/.peers ## tests against torch, diffusers and torch-fidelity, in an environment of their own
	$(VENV_PEERS)/bin/python -m pytest tests/peers $(PYTEST_ARGS)

benchmark-peers: $(VENV_PEERS)/.benchmarks ## training and sampling beside PyTorch libraries, for BENCHMARK_ARGS, such as --quick
	$(VENV_PEERS)/bin/python -m experiments.benchmarks.peers $(BENCHMARK_ARGS)

test-newest: $(VENV_NEWEST)/.test ## fast tests on PYTHON_NEWEST, with the newest versions of everything, in an environment of its own
	$(VENV_NEWEST)/bin/python -m pytest -n $(WORKERS) -m 'not slow' --durations=10 $(NEWEST_TESTS) $(PYTEST_ARGS)

lint: $(VENV)/.dev ## ruff: rules and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.dev ## mypy
	$(VENV)/bin/mypy

format: $(VENV)/.dev ## let ruff mend what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

hooks: $(VENV)/.dev ## check every commit before it is made
	$(VENV)/bin/pre-commit install

clean: ## remove environments, caches and build outputs; runs/ stays
	rm -rf .venv .venv-peers .venv-newest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

comma := ,

# $(call install,environment,extras,constraint files)
define install
	@echo "Installing diffax$(if $(2),[$(2)]) and what it needs into $(1): about half a minute, and more on a slow network"
	@$(1)/bin/python -m pip install -qq --no-compile $(addprefix -c ,$(3)) -e '.$(if $(2),[$(2)])'
endef

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/.created
	$(call install,$(VENV),,constraints.txt)
	@touch $@

$(VENV)/.text: pyproject.toml constraints.txt | $(VENV)/.created
	$(call install,$(VENV),text,constraints.txt)
	@touch $(VENV)/.runtime $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/.created
	$(call install,$(VENV),test,constraints.txt)
	@touch $(VENV)/.runtime $(VENV)/.text $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.created
	$(call install,$(VENV),dev,constraints.txt)
	@touch $(VENV)/.runtime $(VENV)/.text $(VENV)/.test $@

$(VENV_PEERS)/.peers: pyproject.toml constraints.txt constraints-peers.txt | $(VENV_PEERS)/.created
	$(call install,$(VENV_PEERS),test$(comma)peers,constraints.txt constraints-peers.txt)
	@touch $@

$(VENV_PEERS)/.benchmarks: pyproject.toml constraints.txt constraints-peers.txt | $(VENV_PEERS)/.created
	$(call install,$(VENV_PEERS),test$(comma)benchmarks$(addprefix $(comma),$(BENCHMARK_EXTRAS)),constraints.txt constraints-peers.txt)
	@touch $(VENV_PEERS)/.peers $@

$(VENV_NEWEST)/.test: pyproject.toml constraints.txt | $(VENV_NEWEST)/.created
	$(call install,$(VENV_NEWEST),test,constraints.txt)
	@touch $@

$(VENV_NEWEST)/.created: PYTHON = $(PYTHON_NEWEST)
$(VENV)/.created $(VENV_PEERS)/.created $(VENV_NEWEST)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    found=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo missing); \
	    echo "diffax needs Python 3.11 or newer, and $(PYTHON) is $$found: name another, as in make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) has no venv module: install it (on Debian and Ubuntu the package python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install -qq --upgrade -c constraints.txt pip
	@touch $@
