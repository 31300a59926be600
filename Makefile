# make install: set-up alone.   make run: set-up and the embedded run to its report.
# make test: set-up and the tests.   make lint: the linters.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
STAMP := .venv/installed

.PHONY: install run test test-slow test-install fuzz kills test-slurm test-slurm-slow lint claims benchmarks mutants clean

install: $(STAMP)

run: $(STAMP)
	snakemake --cores all
	@echo "report: $(CURDIR)/results/scenes/report/index.html"

# In two processes, each with whole files; `pytest` alone runs them one after the other.
# pytest exits with 5, and so make fails, where a selection finds no test.
test: $(STAMP)
	pytest --numprocesses 2 --dist loadfile

test-slow: $(STAMP)
	pytest -m "slow and not slurm"

# The package without extras in a new environment, from `pip install .` to masks. PYTHON: which one.
test-install:
	envs/try_install.sh $(PYTHON)

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

# Known faults, one at a time: do the tests notice? MUTANTS="--module seeds/" tries those of some modules alone.
mutants: $(STAMP)
	python benchmarks/mutants.py --jobs 2 $(MUTANTS)

# Remade when the requirements change.
$(STAMP): pyproject.toml envs/constraints.txt envs/install.sh
	envs/check_tools.sh $(PYTHON)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	envs/install.sh $(BIN)/python --editable '.[instances,saliency,export,cluster,dev]'
	touch $@

clean:
	rm -rf results .snakemake
