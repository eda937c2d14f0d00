# One command for each habit; .ci/run and CONTRIBUTING.md call these.
PYTHON ?= python
BACKENDS := tensorflow jax torch
PYTEST_ARGS ?= -n auto

.PHONY: check lint format types test oldest slow examples notebooks consumers bench docs demo $(addprefix test-,$(BACKENDS))

check: lint types test docs

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

types:
	$(PYTHON) -m mypy

# Keras reads its backend once, so each backend gets a process of its own.
test: $(addprefix test-,$(BACKENDS))

$(addprefix test-,$(BACKENDS)): test-%:
	KERAS_BACKEND=$* $(PYTHON) -m pytest $(PYTEST_ARGS)

# The oldest Keras that pyproject.toml allows, in front of the one that is installed.
oldest: keras := $(shell sed -nE 's/.*"keras>=([0-9.]+)".*/\1/p' pyproject.toml)
oldest: export PYTHONPATH := $(CURDIR)/build/oldest
oldest: export KERAS_BACKEND := tensorflow
oldest:
	rm -rf build/oldest
	$(PYTHON) -m pip install --quiet --no-deps --target build/oldest "keras==$(keras)"
	$(PYTHON) -c "import keras; assert keras.__version__ == '$(keras)', keras.__version__"
	$(PYTHON) -m pytest $(PYTEST_ARGS)

slow:
	$(MAKE) test PYTEST_ARGS="$(PYTEST_ARGS) -m slow tests integration"

# On TensorFlow, whose converter some of them compare with.
examples:
	KERAS_BACKEND=tensorflow $(PYTHON) -m pytest -m slow tests/test_examples.py

# The examples as .ipynb beside the scripts, which stay their only source; `make examples` runs both.
notebooks:
	$(PYTHON) -m jupytext --from py:percent --to ipynb --set-kernel python3 \
		$(filter-out examples/data.py,$(wildcard examples/*.py))

# Programs of others that read our files. TOSA's tools pin old libraries: an environment of their own.
consumers:
	$(PYTHON) -m pip install -e ".[consumers]"
	$(PYTHON) -m venv build/tosa-tools
	build/tosa-tools/bin/python -m pip install tosa-tools

# Side by side with what users would use instead; an hour on a quiet machine with 2 cores.
bench:
	$(PYTHON) -m benchmarks

docs:
	$(PYTHON) docs/generate_operations.py
	$(PYTHON) docs/generate_tflite_operators.py
	$(PYTHON) -m mkdocs build --strict

demo:
	octet demo
