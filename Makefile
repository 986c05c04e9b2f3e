# Two commands: `make demo` does the main job on the embedded data, `make test` passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Python compiles a module when it first imports it; compiling all of torch takes a minute.
PIP := $(BIN)/pip install --quiet --no-compile -c constraints.txt
QUICK := $(addprefix tests/,core data models artefacts matching evaluation training bad_input)

.PHONY: demo test lint types docs wheel oldest clean

demo: $(VENV)/.installed
	$(BIN)/decoct demo --jobs 2

test: $(VENV)/.dev
	$(MAKE) --jobs 2 lint types docs
	$(BIN)/pytest -n 2 --dist worksteal

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

# The oldest versions that pyproject.toml admits, in an environment of their own. `datasets` is
# named, or uv would take a late one, which needs no early fsspec.
oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python \
		--resolution lowest-direct 'datasets<4' -e '.[torchvision,timm,hf,dev]'
	.venv-oldest/bin/pytest -n 2 $(QUICK)

# torch first and alone: its version is pinned, so that no other build of it is ever considered.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-wheel build dist site src/*.egg-info
