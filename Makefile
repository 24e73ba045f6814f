# Two commands matter to a newcomer: `make demo` and `make test`.  Each sets up all that it needs and may be
# repeated; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv/bin

.PHONY: help demo test fast lint bench docs kernel levels projects clean setup-fast setup-kernel setup-boot setup-test

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: setup-boot ## an impact list and a live patch for Debian's stock kernel, in a virtual machine
	@tools/demo.sh

test: setup-test ## every tier of the tests, with every compiler that they know
	@$(VENV)/python tools/debian_kernel.py stock >/dev/null
	@$(VENV)/python tools/debian_kernel.py image >/dev/null
	@$(VENV)/pytest -n auto

fast: setup-fast ## the fast tier alone (under 2 minutes)
	@$(VENV)/pytest -n auto -m 'not compilers and not kernel and not boot'

lint: setup-fast ## ruff and mypy --strict
	@$(VENV)/ruff check . && $(VENV)/ruff format --check . && $(VENV)/mypy

bench: setup-kernel ## every benchmark, each against a named baseline in the same run
	@for bench in benchmarks/bench_*.py; do $(VENV)/python $$bench || exit 1; done
	@$(VENV)/python benchmarks/proof_mutations.py --count 100 --fresh 5

docs: setup-fast ## the documentation as a site, in site/
	@$(VENV)/pip install -q -e '.[docs]' && $(VENV)/mkdocs build --strict -q && echo "open site/index.html"

kernel: setup-kernel ## fetch Debian's kernel source and prepare its build tree in the user cache
	@$(VENV)/python tools/debian_kernel.py stock

levels: setup-boot ## build the small kernel at all four levels through klpkit-cc and boot each
	@$(VENV)/python tools/level_kernels.py

projects: setup-kernel ## build real projects at all four levels through klpkit-cc and run their own tests
	@$(VENV)/python tools/real_projects.py

clean: ## remove what the other targets made in this checkout (the user cache stays)
	@rm -rf .venv site build-logs .pytest_cache .mypy_cache .ruff_cache .hypothesis

setup-fast setup-kernel setup-boot setup-test:
	@tools/setup.sh $(@:setup-%=%)
