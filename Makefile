# Everything runs in a virtual environment of its own, made on first use.
PYTHON ?= python3
VENV   := .venv
# Most tests wait for disks, servers and pages: two files at a time take little more than half of the time.
TESTS  := -n 2 --dist loadfile
RUN    := $(VENV)/bin

.PHONY: demo notebooks notebook-outputs test check bench faults clean

demo: $(VENV)/evalkit.stamp ## create studies, record sample checkpoints, show the frames
	$(RUN)/evalkit demo
	@echo && echo "The command is $(RUN)/evalkit; to put it on the PATH: . $(RUN)/activate"

notebooks: $(VENV)/notebooks.stamp ## open the notebooks in JupyterLab
	$(RUN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_OPTIONS) notebooks

notebook-outputs: $(VENV)/tests.stamp ## run the notebooks and store their outputs
	$(RUN)/python -m tests.notebooks

test: $(VENV)/tests.stamp ## run every test
	$(RUN)/pytest $(TESTS)

check: $(VENV)/tests.stamp ## lint, types, then every test
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/pytest $(TESTS)

bench: $(VENV)/tests.stamp ## measure, print ratios, write bench-results.json
	$(RUN)/python -m tests.bench
	$(RUN)/python -m tests.simulations

faults: $(VENV)/tests.stamp ## the long fault trials: many more kills than `make test`
	EVALKIT_FAULTS=long $(RUN)/pytest tests/test_faults.py tests/test_shared_faults.py -s

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

clean:
	rm -rf $(VENV) dist build evalkit-demo bench-results.json
