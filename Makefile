# Every target sets up what it needs: on a bare machine with python3 (3.11 or newer), `make demo` is enough.

PROMPT = a red car
OUT    = outputs/demo
SCALE  = micro
BENCH  = micro
WORLD  = micro
STAGE  =
PHASE  =
NAMES  =
ARGS   =
PYTHON = python3

# The prompt reaches the shell through the environment, so that quotes and dollar signs in it stay what they are.
override PROMPT := $(value PROMPT)
export PROMPT

BIN   := .venv/bin
STAMP := .venv/.stamp
INSTALLED := outputs/installed
SITE  := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs

.DEFAULT_GOAL := help
.PHONY: help setup world demo app train-stage train evaluate ablations bench test test-slow lint imports docs

help:  ## Show this list
	@echo 'usage: make TARGET [VARIABLE=value ...]'; echo
	@sed -n 's/^\([a-z-]*\):[^#]*##  *\(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '%-14s %s\n' "$$name" "$$text"; done

setup: $(STAMP)  ## Install everything into .venv

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "python 3.11 or newer is needed; name one: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

world: $(STAMP)  ## Write the shards of a world: [WORLD=micro|emoji] [ARGS="--from FOLDER"]
	@$(BIN)/mav world '$(WORLD)' $(ARGS)

demo: $(STAMP)  ## Turn a sentence into a video: PROMPT="mermaid: dark skin tone" [ARGS="--seed 1"]
	@$(BIN)/mav generate --out $(OUT) $(ARGS) -- "$$PROMPT"

app: .venv/.app  ## Make videos in a browser, at http://localhost:7860: [ARGS="--weights micro"]
	@$(BIN)/mav serve $(ARGS)

.venv/.app: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[app]'
	@touch $@

train-stage: $(STAMP)  ## Train one stage: STAGE=decoder [PHASE=video] [SCALE=micro] [ARGS="--trainer.max_steps=100"]
	@$(BIN)/mav train '$(STAGE)' $(if $(PHASE),--phase '$(PHASE)') --scale '$(SCALE)' $(ARGS)

train: $(STAMP)  ## Train all stages in order, resuming what is unfinished: [SCALE=micro] [ARGS=...]
	@$(BIN)/mav train all --scale '$(SCALE)' $(ARGS)

evaluate: $(STAMP)  ## Measure: BENCH=micro|emoji|apps|apps_emoji|ucf101|msrvtt|prompts [ARGS="--stage decoder"]
	@$(BIN)/mav evaluate '$(BENCH)' $(ARGS)

ablations: .venv/.bench  ## Test the paper's claims, hours: [NAMES="noise guidance"] [SCALE=micro]
	@$(BIN)/mav ablations $(NAMES) --scale '$(SCALE)' $(ARGS)

bench: BENCH =
bench: .venv/.bench  ## Compare with peers: BENCH=train|sample|layers|memory|startup|contended|scaling|decode|loader|frechet|sensitivity|motion [ARGS="--turns 9"]
	@$(BIN)/python -m benchmarks '$(BENCH)' $(ARGS)

.venv/.bench: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

test: $(STAMP)  ## Run the tests: [ARGS="-k unet"]
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-slow: $(STAMP)  ## Run the tests that take minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: .venv/.docs  ## Check style, imports, types and spelling, and whether the site builds
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory imports
	cd $(INSTALLED) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p lightning_mav
	$(BIN)/codespell
	$(SITE) build

# Of the packages as they are when installed: stages/, datamodules/ and configs/ are parts of lightning_mav then.
imports: $(STAMP)  ## Check who imports whom
	@rm -rf $(INSTALLED) && mkdir -p $(INSTALLED)/lightning_mav
	@ln -s $(CURDIR)/lightning_mav/* $(CURDIR)/stages $(CURDIR)/datamodules $(CURDIR)/configs $(INSTALLED)/lightning_mav
	cd $(INSTALLED) && $(CURDIR)/$(BIN)/lint-imports --config $(CURDIR)/pyproject.toml --no-cache --no-logo

docs: .venv/.docs  ## Build the documentation in outputs/site: [ARGS=serve]
	$(SITE) $(or $(ARGS),build)

.venv/.docs: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@
