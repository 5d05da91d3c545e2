# `make help` lists the targets.  Everything runs in .venv, which `setup` makes from the locked requirements.txt, and in
# an environment without anybody's own settings, which tools/environment.py makes.
FOUND = $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
HOST_PYTHON := $(or $(PYTHON),$(FOUND),python3)
RUN := .venv/bin/python -I tools/environment.py
PORT ?= 8000

.PHONY: help setup book test test-all fresh browser lint sync colab colab-test slides pdf serve bench full seeds stale lock clean
.DEFAULT_GOAL := help

help:     ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

setup:     ## make .venv and install the locked dependencies
	@command -v "$(HOST_PYTHON)" > /dev/null || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed; name one with make PYTHON=..." >&2; exit 1; }
	@"$(HOST_PYTHON)" -I tools/preflight.py
	@"$(HOST_PYTHON)" -I tools/environment.py -m tools.install

book: setup     ## run the lectures and write _build/quick/html/index.html
	@$(RUN) -m tools.book.build

test: lint     ## what an edit can break: lint, unit tests, every lecture in its smallest profile, a browser
	$(RUN) -m pytest -n auto -m "not slow"
	$(RUN) -m tools.verify.smoke
	DGM_BOOK=_build/smoke/html $(RUN) -m pytest tests/browser -n auto --maxprocesses 2 --dist loadgroup -m "not slow"

test-all: test     ## and the slow rest: interruptions, every page in a browser, every clean notebook, cells run twice
	$(RUN) -m pytest -n auto -m slow
	DGM_BOOK=_build/smoke/html $(RUN) -m pytest tests/browser -n auto --maxprocesses 2 --dist loadgroup -m slow
	$(RUN) -m tools.verify.try_colab
	$(RUN) -m tools.verify.try_apple
	$(RUN) -m tools.verify.try_twice

fresh: setup     ## the smoke book as on a machine that nobody has prepared: without a network, with MNIST in the cache
	$(RUN) -m tools.verify.try_fresh

browser: setup     ## read the newest book, or DGM_BOOK, in Chromium: what fails, what cannot be read or used
	$(RUN) -m pytest tests/browser -n auto --maxprocesses 2 --dist loadgroup

lint: setup     ## style, spelling, generated files
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m ruff check --quiet --preview --select PLW1514 .  # text files name their encoding
	@$(RUN) -m ruff format --check --quiet .
	@$(RUN) -m codespell_lib
	@$(RUN) -m tools.sync --check

sync: setup     ## write the notebooks from their .py, the address, the tables and the times in README
	@$(RUN) -m ruff format --quiet notebooks
	@$(RUN) -m tools.sync

colab: setup     ## clean notebooks for Colab and plain Jupyter, to _build/colab/notebooks
	@$(RUN) -m tools.export.colab

colab-test: setup  # each of them alone, as in Colab; with some only: .venv/bin/python -m tools.verify.try_colab rbm
	$(RUN) -m tools.verify.try_colab

slides: setup     ## a deck of slides, that needs no network: make slides LECTURE=rbm
	@$(RUN) -m tools.export.slides.make $(LECTURE)

pdf: book     ## the book on paper, to _build/pdf/book.pdf (needs Chromium)
	@$(RUN) -m tools.export.pdf.make

serve: book     ## the book at http://localhost:8000, or at PORT
	@$(RUN) -m tools.book.serve $(PORT)

bench: setup     ## speed beside the loop of a textbook, to _build/bench.json
	$(RUN) benchmarks/run.py

full: setup     ## the published numbers, to results/full (one GPU, or patience)
	@$(RUN) -m tools.runs.full

seeds: setup     ## every number over seeds, to results/seeds: make seeds LECTURES="rbm elbo" SEEDS=5
	@$(RUN) -m tools.runs.seeds --seeds $(or $(SEEDS),5) $(LECTURES)

stale: setup     ## committed results that an older version of the code gave
	@$(RUN) -m tools.runs.stale

lock: setup     ## resolve requirements.txt anew from the ranges in pyproject.toml
	@$(RUN) -m tools.install lock

clean:     ## remove everything that was built, but not .venv and not what readers have written
	@"$(HOST_PYTHON)" -I tools/environment.py -m tools.clean
