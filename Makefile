# Two commands on a fresh machine with Python 3.11: `make demo` and `make test`.
# Some minutes more: `make test-long`. Hours: `make fuzz`, `make faults` and `make kill-stress`, of which `make test` has a small form.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := runs/demo

.PHONY: demo test test-long lint docs structure fuzz faults kill-stress clean
demo: $(STAMP)
	$(BIN)/nas train-supernet --out $(DEMO)
	$(BIN)/nas search --run $(DEMO) --target cortex-a72
	$(BIN)/nas export --run $(DEMO)

# A thread each: two processes with two threads each get in each other's way on two cores.
test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

# The tests whose short forms are in `make test`: every space, every named model, real servers and processes.
test-long: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m long

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet -c docs . site
	echo '<meta http-equiv="refresh" content="0; url=docs/index.html">' > site/index.html

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[onnx,litert,dev,docs]'
	touch $@

structure: $(STAMP)
	$(BIN)/python tools/structure.py

fuzz faults kill-stress: $(STAMP)
	$(BIN)/python -m tests.robustness.$(subst -,_,$@)

clean:
	rm -rf $(VENV) runs site
