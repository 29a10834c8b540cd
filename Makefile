# Everything runs in a virtual environment of its own, made on first use.
PYTHON ?= python3
VENV   := .venv
# Tests wait for disks, servers and pages, so there is one worker more than cores. Idle workers take over tests of others.
SPREAD := -n $(shell expr $$(nproc 2>/dev/null || echo 2) + 1) --dist worksteal
QUICK  := not (slow or server or iggy or kernel or browser or build)
RUN    := $(VENV)/bin
# Tests start hundreds of processes; they share compiled bytecode even where the environment disables it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo notebooks notebook-outputs test test-fast messages lint docs check bench faults clean

demo: $(VENV)/evalkit.stamp ## create studies, record sample checkpoints, show the frames
	$(RUN)/evalkit demo
	@echo && echo "The command is $(RUN)/evalkit; to put it on the PATH: . $(RUN)/activate"

notebooks: $(VENV)/notebooks.stamp ## open the notebooks in JupyterLab
	$(RUN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_OPTIONS) notebooks

notebook-outputs: $(VENV)/tests.stamp ## run the notebooks and store their outputs
	$(RUN)/python -m tests.notebooks

test: $(VENV)/tests.stamp ## run every test
	$(RUN)/pytest $(SPREAD)

test-fast: $(VENV)/tests.stamp ## run the tests that take less than a second and need no server, kernel, browser or build, with fewer examples
	$(RUN)/pytest $(SPREAD) --hypothesis-profile fast -m "$(QUICK)"

messages: $(VENV)/tests.stamp ## renew the messages that tests expect, after a rewording; then read the diff
	-PATH=$(RUN):$$PATH $(RUN)/pytest --inline-snapshot=create,fix $$(grep -rl inline_snapshot tests)

lint: $(VENV)/tests.stamp ## style, types, and which package may import which
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

docs: $(VENV)/docs.stamp ## build the documentation into docs/_build/html, offline; warnings are errors
	$(RUN)/sphinx-build -q -E -W -n --keep-going -j auto -b html docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html"

check: lint docs test ## lint, documentation, then every test

bench: $(VENV)/tests.stamp ## measure, print ratios, write bench-results.json
	$(RUN)/python -m tests.bench
	$(RUN)/python -m tests.simulations

faults: $(VENV)/tests.stamp ## every test in its long form: more kills, more data, more examples; takes hours
	EVALKIT_TESTS=long $(RUN)/pytest --hypothesis-profile nightly --timeout 3600
	$(RUN)/pytest -o addopts="-q -p no:cacheprovider" --nbval-lax --nbval-current-env --nbval-cell-timeout=120 notebooks

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/evalkit.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(RUN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/notebooks.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(RUN)/pip install -q -c constraints.txt -e '.[notebook]'
	touch $@ $(VENV)/evalkit.stamp

$(VENV)/tests.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(RUN)/pip install -q -c constraints.txt -e '.[test]'
	touch $@ $(VENV)/evalkit.stamp

$(VENV)/docs.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(RUN)/pip install -q -c constraints.txt -e '.[docs]'
	touch $@ $(VENV)/evalkit.stamp

clean:
	rm -rf $(VENV) dist build docs/_build docs/_generated docs/notebooks/*.ipynb evalkit-demo bench-results.json
