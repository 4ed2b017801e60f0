# make demo: train, evaluate and detect on the embedded digits; classes of digits, poses on drawn figures. make test: lint, type-check, test.
# make quick: the tests that take under a minute in all (after the installation).
# Needs Python >= 3.10 and nothing else; another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
# When a process dies the run ends and names its test: those that went on after it may wait for its tests forever.
PARALLEL := -n auto --maxprocesses 4 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder

.PHONY: demo test quick check lint types house unit format clean
.DELETE_ON_ERROR:

demo: $(VENV)/.run
	$(BIN)/python train.py --project $(DEMO) --name train --exist-ok
	$(BIN)/python val.py --weights $(DEMO)/train/weights/best.pt --data digits.yaml --img 64 \
		--project $(DEMO) --name val --exist-ok
	$(BIN)/python detect.py --weights $(DEMO)/train/weights/best.pt --source data/images --img 64 \
		--project $(DEMO) --name detect --exist-ok
	$(BIN)/python train.py classify --epochs 6 --project $(DEMO) --name classify --exist-ok
	$(BIN)/python train.py pose --epochs 10 --project $(DEMO) --name pose --exist-ok
	$(BIN)/python detect.py --weights $(DEMO)/pose/weights/best.pt --source "datasets/figures/images/val/00000*.png" \
		--boxes datasets/figures/annotations/person_keypoints_val.json --project $(DEMO) --name people --exist-ok
	@echo
	@echo "weights, curves and results.csv:     $(DEMO)/train"
	@echo "accuracy: curves, confusion matrix:  $(DEMO)/val"
	@echo "pictures with detections:            $(DEMO)/detect"
	@echo "classes: accuracy, confusion matrix: $(DEMO)/classify"
	@echo "poses: curves and results.csv:       $(DEMO)/pose"
	@echo "pictures with poses:                 $(DEMO)/people"

test: lint types unit

check: lint types house

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

house: $(VENV)/.dev
	$(BIN)/python -m pytest -q tests/test_house.py

unit: $(VENV)/.dev
	$(BIN)/python -m pytest -q -rs $(PARALLEL)

quick: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m "not slow and not nightly" \
		--ignore tests/trust --ignore tests/benchmarks --ignore tests/browser $(PARALLEL)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist

# The stamps are younger than the lists that they were installed from, so a second run starts at once.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "$(PYTHON) is missing or older than 3.10; name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: requirements.txt | $(VENV)/.python
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements-export.txt requirements-optional.txt requirements.txt | $(VENV)/.python
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt
	@touch $@
