# Every target works from a fresh clone: it makes .venv and installs what it needs there, and nowhere else.
# Needed before: Python >= 3.11 with venv, make, git.

unexport PYTHONDONTWRITEBYTECODE # set, it would make every process of the tests compile all modules anew
BIN := .venv/bin
SCRIPTS := sample_data/demo.py docs/reference.py $(wildcard docs/figures/*.py)

.PHONY: help demo test test-gpu lint bench bench-gui docs figures tutorial gui clean

help:
	@echo "make demo     pick the sample data and draw the picks, into demo_output/"
	@echo "make test     run the tests (TESTS=tests/io for some of them)"
	@echo "make test-gpu  run the tests that need an NVIDIA GPU, and measure (CUDA=cuda12 for an older driver)"
	@echo "make lint     ruff, mypy, import-linter, typos"
	@echo "make bench    measure templates per second on this computer (BENCH=--paper for the published workload)"
	@echo "make bench-gui  measure how fast the window answers"
	@echo "make gui      open napari with the plugin"
	@echo "make docs     build the documentation into site/"
	@echo "make figures  draw the figures of the documentation anew"
	@echo "make tutorial  take the pictures of the tutorial anew, in a window of its own"
	@echo "make clean    remove what the other targets made, .venv excepted"

.venv/.installed-%: pyproject.toml tools/environment.sh
	@sh tools/environment.sh $*

demo: .venv/.installed-base
	@$(BIN)/python sample_data/demo.py

WORKERS := 2
test: .venv/.installed-test
	@sh tools/display.sh $(BIN)/python -m pytest -n $(WORKERS) --max-worker-restart 0 $(TESTS)

CUDA := cuda13
test-gpu: .venv/.installed-test .venv/.installed-$(CUDA)
	$(BIN)/python -m pytest tests/gpu

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy $(SCRIPTS)
	$(BIN)/lint-imports
	$(BIN)/typos

bench: .venv/.installed-base
	$(BIN)/gempick bench $(BENCH)

bench-gui: .venv/.installed-test
	@sh tools/display.sh $(BIN)/python benchmarks/gui.py

gui: .venv/.installed-gui
	$(BIN)/gempick gui

docs: .venv/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@$(BIN)/python tools/check_site.py site

figures: demo
	$(BIN)/python docs/figures/ncc.py
	$(BIN)/python docs/figures/psi.py
	$(BIN)/python docs/figures/overlay.py
	$(BIN)/python docs/figures/sheet.py
	$(BIN)/python docs/figures/rooms.py

tutorial: .venv/.installed-test
	@sh tools/display.sh $(BIN)/python docs/tutorial/pictures.py

clean:
	rm -rf build dist site demo_output .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests docs sample_data -name __pycache__ -type d -prune -exec rm -rf {} +
