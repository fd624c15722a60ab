# `make demo` and `make test` need only git, make, bash and Python 3.11 or newer with pip.
#   PYTHON=…  the interpreter to build the environment with      ARGS=…  passed on to the demo or to pytest

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
BENCH := .venv-bench
ARGS  ?=

export PYTHON VENV

.PHONY: help demo test campaign lint format docs bench bench-routed data clean

help:
	@echo "make demo    the main job on real data, in minutes (options: make demo ARGS='--compare all')"
	@echo "make test    the tests, examples in the documentation included"
	@echo "make campaign    threads that ask a bank while others change it: counts, and whether an answer was wrong"
	@echo "make lint    style, types and the direction of imports      make format   fix style"
	@echo "make docs    the documentation, in docs/_build              make clean    remove what was built"
	@echo "make bench   speed and memory beside PEFT, LyCORIS and adapters, in bench.json too (ARGS=--quick, ARGS=--full)"
	@echo "make bench-routed    a training step of each routed method on T5, beside LoRA and PEFT's"

demo: $(READY)
	$(BIN)/taskfold demo $(ARGS)

# One thread for each of the two workers; an example page is one story, so a file stays in one worker.
test: $(READY)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# Eight threads ask a bank, three change it, until there are 100,000 answers; one wrong answer is an error.
campaign: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bank.campaign $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build
	@echo "Built docs/_build/index.html"

# Peers live in an environment of their own: no test needs them, and adapters wants an older transformers.
bench: $(BENCH)/.ready
	$(BENCH)/bin/python benchmarks/vision.py --json bench.json $(ARGS)

bench-routed: $(BENCH)/.ready
	$(BENCH)/bin/python benchmarks/routed_step.py $(ARGS)

$(BENCH)/.ready: pyproject.toml constraints.txt benchmarks/constraints.txt
	@VENV=$(BENCH) scripts/setup-bench

# Fashion-MNIST comes as a Debian package; set-up tries once, this tries again.
data: $(READY)
	@scripts/fashion-mnist $(VENV)

$(READY): pyproject.toml constraints.txt
	@scripts/setup

clean:
	rm -rf $(VENV) $(BENCH) .cache docs/_build .pytest_cache .ruff_cache .import_linter_cache
