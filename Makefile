# Two commands do everything: `make demo` shows the engine at work, `make test` runs every check and every test.
# Both need Python 3.11 or later, git and make, and install what else they need into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench gpu-bench gpu-check clean

demo: $(VENV)/demo
	$(BIN)/bpengine demo

# files in the order of their names: else those with few tests come last, however long they take
test: $(VENV)/test lint
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_OPTIONS)

lint: $(VENV)/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# on a machine with an NVIDIA GPU, in an environment that has CuPy and JAX for CUDA: fails where either is missing
gpu-check:
	$(PYTHON) -m pytest --require-backend cupy --require-backend jax --require-jax-platform gpu

# the engine and its peers side by side, about forty minutes; `.venv/bin/bpengine bench --quick` takes four minutes
bench: $(VENV)/bench
	$(BIN)/bpengine bench

# the same on an NVIDIA GPU, in an environment that has what is to be compared: fails where there is no GPU
gpu-bench:
	$(PYTHON) -m bpengine bench --device gpu --workloads main,xor,huge --rounds 5

# one stamp per set of extras, renewed when the project's metadata change
$(VENV)/demo $(VENV)/test $(VENV)/bench: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(if $(filter demo,$(@F)),jax$(COMMA)sklearn,$(@F))]"
	touch $@

COMMA := ,

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
