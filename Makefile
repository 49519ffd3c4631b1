# make setup | demo | test | faults | lock — each does all its own set-up on a machine with Python 3.11+.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
unexport PYTHONDONTWRITEBYTECODE  # tests start many processes, each of which would compile every module anew

.PHONY: setup demo test faults check lock clean

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; name another one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	-$(RUN) -m compileall -qq -j 0 -x 'site-packages/((pip|setuptools)|.*/tests)/' $(VENV)/lib  # pip would do it on one core; what does not compile is not imported
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: setup
	$(RUN) -m verifier.launch --exp=tiny_token_verifier

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/mypy verifier experiments

# Types are checked beside the tests, for that takes one core; both must pass.
test: setup
	$(MAKE) --no-print-directory check & checked=$$!; \
	$(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore=tests/mesh; tested=$$?; wait $$checked && exit $$tested
	JAX_NUM_CPU_DEVICES=8 $(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests/mesh  # some of them only wait for a dead process to be missed

# The long version of tests/faults: kills a run 200 times and compares how it ends (some 40 minutes).
faults: setup
	$(RUN) -m tests.faults.runs --kills=200

# Rewrites the pins; needs uv (pip install uv).
lock:
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-header --no-annotate --no-emit-index-url --output-file requirements.lock setup.cfg

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache build *.egg-info
