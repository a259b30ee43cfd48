# make demo   environment and a first pretraining run, with pictures (minutes, no GPU needed)
# make test   environment with mmcv's compiled operators, and the whole test suite
# make test-fast  what needs neither compiled operators nor a long run, in minutes
# make lint   ruff, mypy, and the layers of the package (import-linter)
# make docs   the documentation as a site, in work_dirs/docs; every link is followed
# make release-check  wheel and source archive, installed into an empty environment and used there
# make page-check  the page of tools/demo.py, driven in Debian's Chromium (apt-get install chromium)
# make tracker-check  runs logged to W&B, Aim and ClearML, offline, read back
# make gpu-dry  what can be known of a GPU without one: tools/dev/gpu/README.md (Python 3.12, 5 GB)
# make clean  remove what was made here (environment, demo data and run)
#
# Each can be run again: what is done is skipped, what was interrupted goes on.
# PYTHON=...    the Python to use (3.10 to 3.13)
# TORCH=...     the torch to install, TORCHVISION=... the torchvision for the tests
# PIP_ARGS=...  more arguments for pip, such as an index that has CPU builds of torch
# PYTEST_ARGS=... arguments for pytest, such as tests/models; PAGE_ARGS=... for page-check

TORCH ?= torch==2.13.0
TORCHVISION ?= torchvision==0.28.0
PIP_ARGS ?=
PYTEST_ARGS ?=
PAGE_ARGS ?=
export TORCH TORCHVISION PIP_ARGS

# The first Python of a supported version, the tested one before others, one with venv before
# one without.
PYTHON ?= $(shell for needs in 'sys, ensurepip' sys; do \
	for name in python3.11 python3.12 python3.13 python3.10 python3 python; do \
	$$name -c "import $$needs; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))" \
	>/dev/null 2>&1 && { echo $$name; exit; }; done; done)
NO_PYTHON := no Python 3.10 to 3.13 found: run 'apt-get install python3 python3-venv' \
	first, or name one with PYTHON=...
SETUP = $(if $(PYTHON),@$(PYTHON) tools/setup_env.py,$(error $(NO_PYTHON)))

VENV_PYTHON := .venv/bin/python
DEMO_DIR := work_dirs/mae_demo
DOCS_DIR := work_dirs/docs
DEMO_PICTURE := $(DEMO_DIR)/reconstruction.png
# Every test process computes with one thread; there is one process for each core.
WORKERS ?= $(shell nproc)

.DEFAULT_GOAL := help
.PHONY: help demo demo-env test test-env test-fast test-fast-env lint lint-env docs docs-env release-check release-env \
	page-check page-env tracker-check trackers-env gpu-dry clean

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

demo-env:
	$(SETUP) demo

demo: demo-env
	@echo '== Photographs: data/demo/train, and data/demo/val held out'
	@$(VENV_PYTHON) tools/make_demo_data.py
	@echo '== Pretraining: configs/playground/mae_demo.py into $(DEMO_DIR)'
	@$(VENV_PYTHON) tools/train.py configs/playground/mae_demo.py --work-dir $(DEMO_DIR) --resume auto
	@echo '== Pictures of the held-out photographs'
	@$(VENV_PYTHON) tools/visualize.py "$$(cat $(DEMO_DIR)/last_checkpoint)" data/demo/val/* --mask-ratio 0.5 0.75 --seed 1 --out $(DEMO_PICTURE)
	@echo 'Original | masked | reconstruction | reconstruction with the visible patches: $(DEMO_PICTURE)'
	@echo 'Your own folder: . .venv/bin/activate && python tools/inspect_data.py PHOTOS'

test-env:
	$(SETUP) test

# What needs neither mmcv's operators nor a long run.
test-fast-env:
	$(SETUP) fast

test-fast: test-fast-env
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -n $(WORKERS) -m 'not slow' $(PYTEST_ARGS)

test: test-env
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -n $(WORKERS) $(PYTEST_ARGS)

lint-env:
	$(SETUP) lint

lint: lint-env
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

docs-env:
	$(SETUP) docs

# mkdocs-material tells of its successor at every start.
docs: docs-env
	NO_MKDOCS_2_WARNING=1 $(VENV_PYTHON) -m mkdocs build --strict --clean
	$(VENV_PYTHON) tools/dev/docs_site/check_links.py $(DOCS_DIR)
	@echo 'Documentation: $(DOCS_DIR)/index.html (python -m http.server -d $(DOCS_DIR))'

release-env:
	$(SETUP) release

release-check: release-env
	@$(VENV_PYTHON) tools/dev/release_check.py

page-env:
	$(SETUP) page

page-check: page-env
	@.venv-page/bin/python tools/dev/page_check.py $(PAGE_ARGS)

trackers-env:
	$(SETUP) trackers

tracker-check: trackers-env
	@.venv-trackers/bin/python tools/dev/tracker_check.py

gpu-dry:
	@tools/dev/gpu_dry.sh

clean:
	rm -rf .venv .venv-gpu .venv-page .venv-trackers .gpu_wheels data/demo $(DEMO_DIR) $(DOCS_DIR) build dist *.egg-info
