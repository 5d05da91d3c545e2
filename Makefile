# `make help` lists the targets.  Everything runs in .venv, which `setup` makes from the locked requirements.txt.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help ready setup book test browser lint sync colab colab-test slides pdf serve bench full lock clean
.DEFAULT_GOAL := help

help:     ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

setup: $(INSTALLED)     ## make .venv and install the locked dependencies

ready:  # one clear line where something is missing; each target asks, it takes a moment
	@command -v $(or $(PYTHON),python3) > /dev/null || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed; name one with make PYTHON=..." >&2; exit 1; }
	@$(or $(PYTHON),python3) -m tools.preflight

# The marker goes first and comes last: where it is missing an installation was stopped, and .venv is made anew.
$(INSTALLED): requirements.txt pyproject.toml | ready
	@$(or $(PYTHON),python3) -m tools.preflight setup
	@if test -e $@; then rm $@; else $(PYTHON) -m venv --clear .venv; fi
	@$(BIN)/python -m tools.preflight index
	@echo "installing what the book needs into .venv: some minutes, most of them for torch"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
		-r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

book: $(INSTALLED)     ## run the lectures and write _build/quick/html/index.html
	@$(BIN)/python -m tools.preflight build
	$(BIN)/python -m tools.book.build

test: lint     ## everything that CI runs
	$(BIN)/python -m pytest -n auto
	$(BIN)/python -m tools.verify.smoke
	DGM_BOOK=_build/smoke/html $(MAKE) browser
	$(MAKE) colab-test

browser: $(INSTALLED)     ## read the newest book, or DGM_BOOK, in Chromium: what fails, what cannot be read or used
	$(BIN)/python -m pytest tests/browser -n auto --maxprocesses 2 --dist loadgroup

lint: $(INSTALLED)     ## style, spelling, generated files
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/codespell
	$(BIN)/python -m tools.sync --check

sync: $(INSTALLED)     ## write the notebooks from their .py, and the address from _config.yml
	$(BIN)/ruff format --quiet notebooks
	$(BIN)/python -m tools.sync

colab: $(INSTALLED)     ## clean notebooks for Colab and plain Jupyter, to _build/colab/notebooks
	$(BIN)/python -m tools.export.colab

colab-test: $(INSTALLED)  # each of them alone, as in Colab; with some only: .venv/bin/python -m tools.verify.try_colab rbm
	$(BIN)/python -m tools.verify.try_colab

slides: $(INSTALLED)     ## a deck of slides, that needs no network: make slides LECTURE=rbm
	$(BIN)/python -m tools.export.slides.make $(LECTURE)

pdf: book     ## the book on paper, to _build/pdf/book.pdf (needs Chromium)
	$(BIN)/python -m tools.export.pdf.make

serve: book     ## the book at http://localhost:8000
	$(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory _build/quick/html

bench: $(INSTALLED)     ## speed beside the loop of a textbook, to _build/bench.json
	$(BIN)/python benchmarks/run.py

full: $(INSTALLED)     ## the published numbers, to results/full (one GPU, or patience)
	$(BIN)/python -m tools.runs.full

lock:     ## resolve requirements.txt anew from the ranges in pyproject.toml (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" --quiet --output-file requirements.txt

clean:     ## remove everything that was built, but not .venv
	rm -rf _build _staged conf.py .pytest_cache .ruff_cache *.egg-info
