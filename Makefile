# make quickstart: from nothing to translated pictures. make test: from nothing to passed tests. make test-fast: the
# inner loop of a change.

PYTHON ?= python3
RUN = runs/quickstart
BIN = .venv/bin
# JAX for the accelerator that is there.
DEVICE := $(shell if command -v nvidia-smi >/dev/null 2>&1; then echo cuda; elif ls /dev/accel0 /dev/vfio/0 >/dev/null 2>&1; then echo tpu; fi)
PROJECT = .[$(or $(DEVICE),train)]

# Tests that train no model, chosen by measured durations: all of them took 62 s of processor time.
FAST = tests/test_architecture.py tests/test_docs.py tests/io tests/configuration/test_files.py tests/configuration/test_presets.py \
	tests/data/files tests/data/sources/test_folders.py tests/data/sources/test_datasets.py tests/data/test_paired_dataset.py tests/data/test_reading.py \
	tests/gan/test_losses.py tests/gan/test_objective.py tests/gan/test_optimizers.py tests/gan/test_state.py \
	tests/models/test_golden.py tests/models/test_patchgan.py tests/metrics/test_image.py tests/metrics/test_labels.py \
	tests/metrics/test_choice.py tests/metrics/test_distances.py tests/workdir/test_lock.py tests/workdir/test_retention.py \
	tests/workdir/test_events.py tests/runtime/test_launching.py tests/runtime/test_caches.py \
	tests/evaluation/test_gallery.py tests/training/test_health.py

.PHONY: quickstart test test-fast lint types site benchmark clean

quickstart: .venv/installed
	$(BIN)/pix2pix train --config=drawn_facades --workdir=$(RUN)
	$(BIN)/pix2pix evaluate --workdir=$(RUN)
	$(BIN)/pix2pix translate --workdir=$(RUN) --input='$(RUN)/eval/val-*/images/0000*-input.png' --output=$(RUN)/translated
	@echo
	@echo 'Look at:'
	@echo '  $(RUN)/samples/                  input | output | target, as training went on'
	@echo '  $(RUN)/curves.png                losses and held-out scores'
	@echo '  $(RUN)/eval/val-1000/index.html  gallery of all held-out pairs; opens in a browser'
	@echo '  $(RUN)/translated/               ten label maps, translated'
	@echo '  $(RUN)/checkpoints/              the trained model'
	@echo '  $(RUN)/events.out.*              for TensorBoard: $(BIN)/tensorboard --logdir=$(RUN)'
	@echo 'Next:'
	@echo '  . .venv/bin/activate'
	@echo '  pix2pix train --config=facades --workdir=runs/facades                    photographs of facades (a GPU helps)'
	@echo '  pix2pix train --config=folder --config.data_dir=DIR --workdir=runs/mine  your own folder of A|B images'
	@echo '  pix2pix demo --workdir=$(RUN)                                            draw a building of your own'

test: .venv/installed-test lint
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal

test-fast: .venv/installed-test
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal $(FAST)

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# What an editor or a type checker sees of the package; pyproject.toml says which files.
types: .venv/installed-types
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

# The pages of docs/ and the public names as a site, in site/. Any warning is an error.
site: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

# One 256 px step beside the same recipe in PyTorch, which is installed for it.
benchmark: .venv/installed
	$(BIN)/pip install --quiet torch
	$(BIN)/python benchmarks/train_step.py --against=torch

clean:
	rm -rf .venv runs site

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("needs Python 3.11 or newer; try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '$(PROJECT)'
	@touch $@

.venv/installed-test: .venv/installed
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

.venv/installed-types: .venv/installed-test
	$(BIN)/pip install --quiet --editable '.[types]'
	@touch $@
