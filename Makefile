# make demo: the vision verification on the bundled pages.  make test: format, lint, types, tests.
# make snapshot: writes reports/20211117-dsorc-op-analysis anew.  make published: writes reports/published.md anew.
# make flops PAGE_LIST=sizes.csv: writes reports/verification/flops.md anew, from a list of page sizes (not included).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PAGES := $(sort $(filter-out %.py,$(wildcard examples/pages/*.*)))
COMMA := ,
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)

.PHONY: setup demo snapshot published flops test format lint types tests clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[verify,pdf,dev]'
	touch $@

demo: $(STAMP)
	@$(BIN)/python -m modelmeter.models.deepseek_ocr.scripts.verify.run_verify_end2end_vision \
	  'images=[$(subst $(SPACE),$(COMMA),$(PAGES))]'

snapshot: $(STAMP)
	$(BIN)/python -m modelmeter.models.deepseek_ocr.scripts.snapshot.write_static_snapshot

published: $(STAMP)
	$(BIN)/python -m modelmeter.models.deepseek_ocr.scripts.published.write_published

flops: $(STAMP)
	$(BIN)/python -m modelmeter.models.deepseek_ocr.scripts.verify.write_flops_report $(PAGE_LIST)

test: lint types tests

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

tests: $(STAMP)
	$(BIN)/pytest

clean:
	rm -rf $(VENV) outputs multirun .pytest_cache .mypy_cache .ruff_cache
