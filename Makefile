# Two commands do everything: `make demo` shows the engine at work, `make test` runs every check and the tests (`make test-all`: those that take long too).
# Both need Python 3.11 or later, git and make, and install what else they need into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

.PHONY: demo test test-all test-lowest smoke docs dist-check attack lint audit bench clean gpu-bench gpu-pack
.PHONY: gpu-first gpu-first-correct gpu-first-further gpu-first-memory gpu-first-bench gpu-first-profile
.PHONY: gpu-check gpu-check-kernels gpu-check-engine gpu-check-jax

demo: $(VENV)/demo
	$(BIN)/bpengine demo

# hundreds of processes are started, each of which would compile the project's sources anew without bytecode
test test-lowest: export PYTHONDONTWRITEBYTECODE :=

# files in the order of their names: else those with few tests come last, however long they take
test: $(VENV)/test lint
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_OPTIONS)

# All that `make test` runs, and the tests marked "thorough": more networks, more places, more backends of what is tested there.
test-all: override PYTEST_OPTIONS += --thorough
test-all: test test-lowest docs dist-check

# The tests on the oldest version of everything that pyproject.toml names, all of which it must therefore support.
LOWEST := .venv-lowest
# scikit-learn 1.6 asks newer SciPy for this variable before it is imported.
test-lowest: $(LOWEST)/test
	SCIPY_ARRAY_API=1 $(LOWEST)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(LOWEST_TESTS)

LOWEST_TESTS ?= tests --ignore tests/docs --ignore tests/browser --ignore tests/benchmark
$(LOWEST)/test: pyproject.toml tests/lowest.py
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(PYTHON) -m tests.lowest > $(LOWEST)/requirements.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(LOWEST)/requirements.txt --editable .
	touch $@

# The part of the tests that needs only what a plain install brings, in such an environment: a minute.
smoke: $(VENV)/smoke
	$(BIN)/python -m tests.dist --here

# The site in build/site, every warning an error, nothing from the network.
docs: $(VENV)/docs
	$(BIN)/python -m docs.site

# Wheel and sdist as users get them: built, installed into new environments, tried there.
dist-check: $(VENV)/test
	$(BIN)/python -m tests.dist

# Random networks, files, command lines, damaged caches, failing memory and disks, Ctrl-C, names, growth; drawn by a seed:
# `make attack MINUTES=30 SEED=0`.
MINUTES ?= 8
attack: $(VENV)/test
	$(BIN)/python -m tests.attacks --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

lint: $(VENV)/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive bpengine backends

# Known holes in what is installed in .venv; asks the network for them, so it is no part of the tests.
audit: $(VENV)/test
	test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/python -m pip install --quiet pip-audit; }
	$(VENV)/audit/bin/pip-audit --skip-editable --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

# On a machine with an NVIDIA GPU, in an environment that has CuPy and JAX for CUDA. Each of these stands by itself and fails where what
# it needs is missing. JAX must not take the memory that CuPy needs beside it; it compiles each test anew, so its part is the slow one.
GPU := XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONUNBUFFERED=1
GPU_TESTS = $(GPU) $(PYTHON) -m pytest -v -p no:benchmark -n auto --require-backend cupy $(PYTEST_OPTIONS)

gpu-first: gpu-first-correct gpu-first-further gpu-first-memory gpu-first-bench gpu-first-profile

GPU_RESULTS = bench/results/$$(date +%F)-gpu-first
gpu-first-correct gpu-first-further gpu-first-bench:
	$(GPU) timeout 540 $(PYTHON) bench/gpu_first.py $(@:gpu-first-%=%) $(GPU_RESULTS)

gpu-first-memory:
	$(GPU) compute-sanitizer --tool memcheck --error-exitcode 1 $(PYTHON) bench/gpu_first.py smallest
	$(GPU) compute-sanitizer --tool racecheck --error-exitcode 1 $(PYTHON) bench/gpu_first.py smallest

gpu-first-profile:
	mkdir -p $(GPU_RESULTS)
	$(GPU) timeout 540 ncu --clock-control none --set basic -k regex:^k $(PYTHON) bench/gpu_first.py profile > $(GPU_RESULTS)/ncu.txt

gpu-check: gpu-check-kernels gpu-check-engine gpu-check-jax

gpu-check-kernels:
	$(GPU_TESTS) tests/kernels tests/layers -k cupy

gpu-check-engine:
	$(GPU_TESTS) tests/backends tests/training tests/io tests/test_model.py tests/test_network.py tests/test_ops.py -k cupy

gpu-check-jax:
	$(GPU_TESTS) tests/backends/test_jax_backend.py tests/backends/test_jax_windows.py --require-jax-platform gpu

# what a GPU machine without a package index lacks, in dist/gpu: pip install --no-index --no-deps --target site dist/gpu/*.whl
# NumPy is there, for CuPy stands on it; all else that the engine and its tests need comes along, for this version of Python
gpu-pack: $(VENV)/test
	rm -rf dist/gpu
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist/gpu .
	$(BIN)/python -m pip download --quiet --dest dist/gpu dist/gpu/bpengine-*.whl array-api-strict platformdirs
	rm -f dist/gpu/numpy-*

# the engine and its peers side by side, about an hour; `.venv/bin/bpengine bench --quick` takes six minutes
bench: $(VENV)/bench
	$(BIN)/bpengine bench

# the same on an NVIDIA GPU, in an environment that has what is to be compared: nine parts, each below nine minutes, each
# writing its results as they come; one that fails or is cut off does not keep the others from running. A part alone:
# `make gpu-bench-tf32-small`; `make gpu-bench-list` lists the workloads. Today's results of the same part are overwritten
GPU_PARTS := $(foreach size,small large,$(foreach kind,full tf32 bfloat16 autotune,$(kind)-$(size))) many
GPU_BENCH = timeout 530 $(PYTHON) -m bpengine bench --device gpu --rounds 5 --seconds 390 --force
REFERENCE := jax-scan,torch-graph# in float32: the losses of the reduced precisions are held against theirs

gpu-bench:
	failed=; for part in $(GPU_PARTS); do $(MAKE) gpu-bench-$$part || failed="$$failed $$part"; done; \
	test -z "$$failed" || { echo "failed, or a contender did:$$failed" >&2; exit 1; }

gpu-bench-list:
	@$(PYTHON) -c "from bpengine.benchmark import SUITES as s; [print(n, *(w.name for w in s[n])) for n in s]"

gpu-bench-full-%:
	$(GPU_BENCH) --workloads gpu-$* --part full-$* --precisions full --peers $(REFERENCE),jax-step,torch,torch-compile

gpu-bench-tf32-%:
	$(GPU_BENCH) --workloads gpu-$* --part tf32-$* --precisions tf32 \
	  --peers $(REFERENCE),jax-scan-tf32,torch-tf32,torch-compile-tf32,torch-graph-tf32

gpu-bench-bfloat16-%:
	$(GPU_BENCH) --workloads gpu-$* --part bfloat16-$* --precisions bfloat16 \
	  --peers $(REFERENCE),jax-scan-bfloat16,torch-bfloat16,torch-compile-bfloat16,torch-graph-bfloat16

# what PyTorch chooses by measurement takes minutes to choose
gpu-bench-autotune-%:
	$(GPU_BENCH) --workloads gpu-$* --part autotune-$* --backends cupy,cupy-tf32 \
	  --peers $(REFERENCE),torch-graph-tf32,torch-autotune,torch-graph-autotune,torch-autotune-tf32,torch-graph-autotune-tf32

# many models as one program beside the same models one after another
GPU_MANY = bench/results/$$(date +%F)-many-models-gpu.json
gpu-bench-many:
	timeout 530 $(PYTHON) bench/many_fits.py --backends jax --models 4,16,64 > $(GPU_MANY) && cat $(GPU_MANY)

# one stamp per set of extras, renewed when the project's metadata change
$(VENV)/demo $(VENV)/test $(VENV)/smoke $(VENV)/docs $(VENV)/bench: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(if $(filter demo,$(@F)),jax$(COMMA)sklearn$(COMMA)fast,$(@F))]"
	$(BIN)/python -m docs.site.citation
	touch $@

COMMA := ,

clean:
	rm -rf $(VENV) $(LOWEST) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
