# Everything a fresh machine needs is Python 3.11 or later and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-slow test-packing test-pool test-slurm faults fuzz lint types coverage bench clean

help:
	@echo "make demo   set up, then run the main job on a sample file: ten jobs, one plot"
	@echo "make test   set up, then pass the tests; make test-slow: kills, faults at random, what takes long;"
	@echo "            make test-packing: those that pack environments; make test-pool: on a real HTCondor pool;"
	@echo "            make test-slurm: on a real Slurm cluster"
	@echo "make faults 500 faults at random (EVENTFLOCK_FAULTS), on local workers and a real pool: one table"
	@echo "make fuzz   read 100,000 mutations of result files, some 20 minutes"
	@echo "make lint   ruff and shellcheck;  make types: mypy"
	@echo "make coverage  the tests again, then lines and branches covered, and the ten least covered files"
	@echo "make bench  the benchmarks: one table, saved as JSON"
	@echo "make clean  remove what these made"

# One stamp per set of packages: pip runs again only when pyproject.toml changes.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("eventflock needs Python 3.11 or later, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run
	$(BIN)/eventflock demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto -m "not slow and not packing and not pool and not slurm"

# Processes that are killed at random moments, again and again, and what takes long besides.
test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto -m "slow and not packing and not pool and not slurm"

# Whole environments are packed and unpacked, in bare root file systems too where there is root.
test-packing: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto -m packing

# A whole HTCondor pool is started on this machine, which needs root, mmdebstrap and a user "flock".
test-pool: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m pool

# A whole Slurm cluster, likewise; it needs root, Debian's slurm-wlm and munge, and a user "flock".
test-slurm: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 -m slurm

# With root on a pool as well, and on small disks that are filled; without, the table says what is not there.
faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults

# make fuzz FUZZ="--count 1000 --seed 1" for fewer, or for the same again.
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz $(FUZZ)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/shellcheck .ci/run src/eventflock/worker/*.sh src/eventflock/packing/*.sh src/eventflock/pools/slurm/job.sh tools/minipool/*.sh

types: $(VENV)/.dev
	$(BIN)/mypy

# All but the pool, in workers and on nodes as well. For less: make coverage COVERAGE="-n 2 tests/test_plot.py"
COVERAGE ?= -n auto -m "not pool and not slurm"
coverage: $(VENV)/.dev
	$(BIN)/python -m tests.coverage $(COVERAGE)

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/speed.py

clean:
	rm -rf $(VENV) demo benchmarks/data .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage-data
