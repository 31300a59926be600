# make install: set-up alone.   make run: set-up and the embedded run to its report.   make test: set-up and the tests.   make lint: the linters.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
STAMP := .venv/installed

.PHONY: install run test test-slow fuzz kills test-slurm test-slurm-slow test-gpu lint claims benchmarks clean

install: $(STAMP)

run: $(STAMP)
	snakemake --cores all
	@echo "report: $(CURDIR)/results/scenes/report/index.html"

# In two processes, each with whole files; `pytest` alone runs them one after the other.
test: $(STAMP)
	pytest --numprocesses 2 --dist loadfile

test-slow: $(STAMP)
	pytest -m "slow and not slurm"

# Damaged files of every kind; WSSS_FUZZ: how many of each (2000), WSSS_FUZZ_SEED: other ones.
fuzz: $(STAMP)
	pytest -m slow tests/hostile/test_mutations.py

# A run that is killed again and again; WSSS_KILLS: how often (50), WSSS_KILLS_SEED: other moments.
kills: $(STAMP)
	pytest -s -m slow tests/faults/test_kills.py

test-slurm: $(STAMP)
	pytest -rs -m "slurm and not slow"

test-slurm-slow: $(STAMP)
	pytest -rs -m "slurm and slow"

test-gpu: $(STAMP)
	pytest -m gpu

lint: $(STAMP)
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile rules
	snakemake --lint

claims: $(STAMP)
	python benchmarks/claims.py

benchmarks: $(STAMP)
	for b in benchmarks/bench_*.py; do python $$b || exit 1; done

# Remade when the requirements change. A C++ compiler is checked first: pydensecrf2 has no wheel.
$(STAMP): pyproject.toml envs/constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.11 or newer, or say make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed, found $$($(PYTHON) -V)"; exit 1; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || { echo "error: no C++ compiler (c++ or g++): pydensecrf2 is built from source; on Debian and Ubuntu: apt-get install g++"; exit 1; }
	@$(PYTHON) -c 'import sysconfig, os, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { echo "error: Python.h is missing: pydensecrf2 is built from source; on Debian and Ubuntu: apt-get install python3-dev"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint envs/constraints.txt --editable '.[dev,cluster]'
	touch $@

clean:
	rm -rf results .snakemake
