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

# The lowest version of each package that pyproject.toml allows, in an environment of their own. They
# may warn of one another. (Without PyTorch, of which pip and uv take builds of several GB.)
oldest: export KERAS_BACKEND := tensorflow
oldest:
	$(PYTHON) -m venv --clear build/oldest
	build/oldest/bin/python -m pip install --quiet uv
	build/oldest/bin/uv pip install --quiet --python build/oldest/bin/python \
		--resolution lowest-direct --editable ".[data,demo,jax,openvino]"
	build/oldest/bin/python -m pip install --quiet hypothesis pydot pytest pytest-xdist selenium
	build/oldest/bin/python -m pytest $(PYTEST_ARGS) --override-ini filterwarnings=

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
