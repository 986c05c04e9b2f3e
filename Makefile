# Two commands: `make demo` does the main job on the embedded data, `make test` passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types docs wheel clean

demo: $(VENV)/.installed
	$(BIN)/decoct demo

test: lint types docs
	$(BIN)/pytest -n 2

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Build source distribution and wheel, and use the wheel where there is nothing else of this folder.
wheel: $(VENV)/.dev
	rm -rf dist build $(VENV)-wheel
	$(BIN)/python -m build
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/pip install --quiet -c constraints.txt torch
	$(VENV)-wheel/bin/pip install --quiet -c constraints.txt dist/*.whl
	here=$$PWD && cd / && $$here/$(VENV)-wheel/bin/decoct doctor

# torch first and alone: its version is pinned, so that no other build of it is ever considered.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-wheel build dist site src/*.egg-info
