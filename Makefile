# Every check has one definition, here: used by hand, by hooks and by CI.
#
#   make demo    train a character model on Shakespeare for two minutes and let it write
#   make test    set everything up and run every check
#   make check   every check, or one by its name: fmt clippy cargo-test ruff mypy stubtest pytest docs
#   make docs    build the site into build/docs; warnings are errors
#   make bench   time the kernels, and compare with the other libraries that are installed
#   make bench-quick   the same in a minute, to see that it works
#   make scaling   measure how time and memory grow, and renew docs/scaling.md with it
#   make clean   remove everything that was built, the virtual environment too

PYTHON ?= python3
CARGO ?= cargo
MINUTES ?= 2

VENV := .venv
# Windows calls the same folder by another name.
BIN := $(if $(filter Windows_NT,$(OS)),$(VENV)/Scripts,$(VENV)/bin)
IN_VENV := env -u CONDA_PREFIX VIRTUAL_ENV="$(CURDIR)/$(VENV)"
EXTRAS := test,plot,docs
DEMO := build/demo
RESULTS := $(CURDIR)/build/bench
MODEL := $(DEMO)/model.safetensors
PAGE := docs/scaling.md

.DELETE_ON_ERROR:
.PHONY: help demo test check build bench bench-quick scaling clean
.PHONY: rust python fmt clippy cargo-test ruff mypy stubtest pytest docs

help:
	@sed -n 's/^#   //p' Makefile

# ---- the two commands

demo: EXTRAS := plot
demo: build
	mkdir -p $(DEMO)
	$(BIN)/recurra lm train data/shakespeare.txt --minutes $(MINUTES) --out $(MODEL)
	@echo
	$(BIN)/recurra lm sample $(MODEL) --prompt 'ROMEO:' --length 800 --temperature 0.7 --seed 1

test: check

# ---- set-up

# The tool that builds the extension comes first; it then installs what the package asks for.
$(VENV)/made: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'maturin>=1.9.4,<2'
	touch $@

build: $(VENV)/made
	$(IN_VENV) $(BIN)/maturin develop --release --extras $(EXTRAS)

# ---- checks

check: rust python

rust: fmt clippy cargo-test

fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --all-targets --features python -- -D warnings

cargo-test:
	$(CARGO) test

python: ruff mypy stubtest pytest docs

ruff: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

mypy: build
	$(BIN)/mypy

stubtest: build
	$(BIN)/stubtest recurra._core

# Tests, docstring examples and README examples; warnings are errors (pyproject.toml).
pytest: build
	$(BIN)/pytest

# The pages that are made from docstrings are made anew: none is left of a module that is gone.
docs: build
	rm -rf docs/generated
	$(BIN)/sphinx-build -W --keep-going -E -q -b html -d build/doctrees docs build/docs

# ---- speed

bench: build
	RECURRA_BENCH_OUT=$(RESULTS) $(CARGO) bench
	$(BIN)/python benches/compare.py --json $(RESULTS)/compare.json --markdown $(RESULTS)/compare.md
	$(BIN)/python benches/training_loops.py --json $(RESULTS)/loops.json --markdown $(RESULTS)/loops.md

# Small sizes, a minute: shows that the benchmarks work, measures nothing.
bench-quick: build
	RECURRA_BENCH_QUICK=1 $(CARGO) bench
	$(BIN)/python benches/compare.py --quick
	$(BIN)/python benches/scaling.py --quick --images build/scaling
	$(BIN)/python benches/contention.py --quick
	$(BIN)/python benches/import_time.py --times 3
	$(BIN)/python benches/training_step.py --steps 200
	$(BIN)/python benches/labelling.py --quick
	$(BIN)/python benches/normalization.py --quick
	$(BIN)/python benches/products.py --quick
	$(BIN)/python benches/training_loops.py --quick

# Half an hour; beside what is installed of other libraries.
scaling: build
	$(BIN)/python benches/scaling.py --json docs/scaling.json --images docs/images --page $(PAGE)
	$(BIN)/python benches/contention.py --json docs/contention.json --page $(PAGE)
	$(BIN)/python benches/import_time.py --page $(PAGE)

clean:
	$(CARGO) clean
	rm -rf $(VENV) build dist docs/generated
	rm -f python/recurra/_core*.so python/recurra/_core*.pyd
