PYTHON ?= python3
GPU_PYTHON ?= 3.12
GPU_OUT ?=
GPU := outputs/gpu
N ?= 100000
FIRST ?= 0
# more extras to install, as in MORE=ray (344 MB)
MORE ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PAGES := $(sort $(filter-out %.py,$(wildcard examples/pages/*.*)))
COMMA := ,
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)

# the published files, the transformers that they were written for, and what else the check is told, as in ARGS='tokens=200'
FOLDER ?= models/deepseek-ocr
PUBLISHED_TRANSFORMERS := 4.46.3
PUBLISHED_VENV := outputs/published-venv
ARGS ?=

SWEEPS := modelmeter.programs.sweep

AXE := 4.14.1

.DEFAULT_GOAL := help

.PHONY: help setup demo screenshots axe explore docs models-page snapshot published precision collectives simulation published-check flops bytes bench lower-bounds wheel-check sweeps fuzz endurance
.PHONY: check-sweeps measured measured-changed mutants examples notebooks commands gpu-wheels gpu test quick format
.PHONY: lint types tests clean

help: ## what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## .venv, with everything that the other targets need

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[verify,published,corpus,pandas,pdf,plot,report,browser,docs,dev$(addprefix $(COMMA),$(MORE))]'
	touch $@

demo: $(STAMP) ## verify the bundled pages against the real modules, and write their report, outputs/report.html
	@$(BIN)/python -m modelmeter.models.deepseek_ocr.scripts.verify.run_verify_end2end_vision \
	  'images=[$(subst $(SPACE),$(COMMA),$(PAGES))]'
	@$(BIN)/modelmeter report $(PAGES) --output-tokens 1000 --device H100-SXM --price 2.5 -o outputs/report.html

axe: outputs/axe-core/package/axe.min.js ## fetch axe, which the report's browser test checks accessibility with; needs npm

outputs/axe-core/package/axe.min.js: Makefile
	mkdir -p outputs/axe-core
	cd outputs/axe-core && npm pack --silent axe-core@$(AXE) && tar xzmf axe-core-$(AXE).tgz

screenshots: demo ## docs/report*.png anew, of the report that demo writes; needs a Chromium with its chromedriver
	@$(BIN)/python -m modelmeter.report.screenshots outputs/report.html docs

explore: $(STAMP) ## docs/explore.html anew: every model's laws in one page, some minutes
	$(BIN)/python -m modelmeter.programs.explore.write_explore docs/explore.html

docs: explore ## the site, from docs/ into outputs/site
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env --write-all --doctree-dir outputs/doctrees docs outputs/site

models-page: $(STAMP) ## docs/models.md, its chart and reports/compare.md anew: all models side by side
	$(BIN)/python -m modelmeter.programs.models_page
	$(BIN)/python -m benchmarks.compare_models

snapshot: $(STAMP) ## reports/20211117-dsorc-op-analysis anew
	$(BIN)/python -m modelmeter.programs.snapshot.write_static_snapshot

published: $(STAMP) ## reports/published.md anew
	$(BIN)/python -m modelmeter.models.deepseek_ocr.scripts.published.write_published

precision: $(STAMP) ## reports/precision.md anew
	$(BIN)/python -m benchmarks.precision

simulation: $(STAMP) ## reports/simulation.md and its figures anew; FOLDER: a checkout of casys-kaist/LLMServingSim
	$(BIN)/python -m benchmarks.simulation.report $(FOLDER)

collectives: $(STAMP) ## times of collectives anew, into the devices' files and reports/timing/collectives.md: TABLES=folder of published tables (not included)
	$(BIN)/python -m benchmarks.timing.collectives $(TABLES)

published-check: $(PUBLISHED_VENV)/.installed ## DeepSeek's own files, which you have put into FOLDER, against execution=published, in an environment of their own below outputs/. They run: by saying it you agree to that
	$(PUBLISHED_VENV)/bin/python -m modelmeter.models.deepseek_ocr.scripts.verify.run_verify_published \
	  reference.folder=$(FOLDER) reference.trust_remote_code=true runtime.attention=eager $(ARGS)

$(PUBLISHED_VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PUBLISHED_VENV)
	grep -v '^transformers==' constraints.txt > $(PUBLISHED_VENV)/constraints.txt
	$(PUBLISHED_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint $(PUBLISHED_VENV)/constraints.txt --editable '.[published]' torch transformers==$(PUBLISHED_TRANSFORMERS)
	touch $@

flops: $(STAMP) ## reports/verification/flops.md anew, from a list of page sizes: PAGE_LIST=sizes.csv (not included)
	$(BIN)/python -m modelmeter.models.deepseek_ocr.scripts.verify.write_flops_report $(PAGE_LIST)

bytes: $(STAMP) ## reports/verification/bytes.md anew
	$(BIN)/python -m modelmeter.models.deepseek_ocr.scripts.verify.write_bytes_report

bench: $(STAMP) ## reports/comparison.md, docs/other-tools.md, reports/benchmarks; installs the tools below outputs/
	$(BIN)/python -m benchmarks.compare_tools
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.growth

sweeps: $(STAMP) ## reports/sweep, reports/modes.md and README's table anew
	$(BIN)/python -m $(SWEEPS).write_sweep_reports reports/sweep
	$(BIN)/python -m $(SWEEPS).write_mode_table

lower-bounds: $(STAMP) ## the core on the oldest versions that pyproject.toml allows; needs a package index
	$(BIN)/python -m tests.lower_bounds outputs/lower-bounds

wheel-check: $(STAMP) ## whether the wheel, installed alone, does what README says; needs a package index
	$(BIN)/python -m tests.wheel outputs/wheel

fuzz: $(STAMP) ## strange and damaged input, N=100000 cases of it; writes reports/robustness.md. FIRST: other cases
	$(BIN)/python -m tests.fuzz.driver --cases $(N) --first $(FIRST) --report reports/robustness.md

endurance: $(STAMP) ## kills, threads, streams and a full disk, at length; adds what came of them to reports/robustness.md
	$(BIN)/python -m tests.fuzz.endurance reports/robustness.md

check-sweeps: $(STAMP) ## whether they would come out the same
	rm -rf outputs/check-sweeps
	$(BIN)/python -m $(SWEEPS).write_sweep_reports outputs/check-sweeps
	diff -r outputs/check-sweeps reports/sweep

measured: $(STAMP) ## tests/measured/*.json anew: what the real modules do, some minutes; ARGS=--stale: what is stale alone, ARGS=NAME: of a model or series
	$(BIN)/python -m tests.measured $(ARGS)

measured-changed: $(STAMP) ## whether the measurements that the last commit has changed, or that are stale, would come out the same
	$(BIN)/python -m tests.measured --changed

mutants: $(STAMP) ## put faults into a copy of the package, one at a time, have a test catch each, and write reports/verification/mutants.md anew
	$(BIN)/python -m tests.mutants

examples: $(STAMP) ## docs/command-line.md, diff.md, corpus.md with their examples run anew, docs/trust.md with the reports' figures; read the difference before you commit it
	$(BIN)/python -m tests.commands.write_examples
	$(BIN)/python -m tests.trust

notebooks: $(STAMP) ## run the notebooks of examples/, and write their outputs into them
	$(BIN)/python -m tests.notebook

commands: $(STAMP) ## run every command of README.md and docs that can run here, the long ones too
	$(BIN)/python -m tests.commands.run_documents

# numpy stays behind: it is large, and PyTorch's environments have it
gpu-wheels: $(STAMP) ## collect in outputs/gpu what a GPU machine without a network needs (GPU_PYTHON: its Python, 3.11 or 3.12)
	rm -rf $(GPU) && mkdir -p $(GPU)/wheels
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(GPU)/wheels antlr4-python3-runtime==4.9.3
	$(BIN)/pip download --quiet --disable-pip-version-check --constraint constraints.txt --find-links $(GPU)/wheels \
	  --only-binary=:all: --python-version $(GPU_PYTHON) --implementation cp \
	  $(foreach glibc,2_28 2_27 2_17 2_12,--platform manylinux_$(glibc)_x86_64) \
	  --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --dest $(GPU)/wheels \
	  transformers hydra-core omegaconf antlr4-python3-runtime click pillow pyyaml rich
	rm -f $(GPU)/wheels/numpy-*
	$(BIN)/python -m benchmarks.gpu.shapes $(GPU)/shapes.json
	@du -sm $(GPU) | awk '{print $$1 " MB in $(GPU)"; exit $$1 >= 60}'

gpu: ## measure there, without .venv and network, into GPU_OUT, by default reports/calibration/<device>; CI never does
	@test -f $(GPU)/shapes.json || { echo '$(GPU) is not there: make gpu-wheels, where there is a network, then copy it'; exit 1; }
	$(PYTHON) -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target $(GPU)/site \
	  $(GPU)/wheels/*.whl
	PYTHONUNBUFFERED=1 PYTHONPATH=$(GPU)/site:extern $(PYTHON) -m benchmarks.gpu.measure $(if $(GPU_OUT),--out $(GPU_OUT))

test: lint types tests ## format, lint, types, all tests: what must pass

format: $(STAMP) ## put the code into form, and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP) ## whether form and lint are in order
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## whether mypy is content
	$(BIN)/mypy

tests: $(STAMP) ## all tests, a part of the measurements made again: another one every day, or MEASURED_PART=0 to 29
	$(BIN)/pytest

quick: $(STAMP) ## the tests that import no torch and are not slow, for while you work: within a minute
	$(BIN)/pytest --quick

clean: ## remove .venv, outputs and caches
	rm -rf $(VENV) outputs multirun .pytest_cache .mypy_cache .ruff_cache
