# `make demo` and `make test` need only git, make, bash and Python 3.11 or newer with pip.
#   PYTHON=…  the interpreter to build the environment with      ARGS=…  passed on to the demo or to pytest

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
BENCH := .venv-bench
ARGS  ?=

export PYTHON VENV

# The environments of the matrix: what each holds, and the part of the suite that runs in it.
LIBRARY := vision,datasets,text,dense,train,balance,report,export,cli,compare,serve,cluster
CORE    := tests/factors tests/routing tests/layers tests/methods tests/tasks tests/device tests/test_*.py
# Rooms of tests whose extras' bounds they show.
ROOMS   := train text cli serve networks dense report config backbones data evaluate problems
# Rooms that need an extra; the examples in docstrings of all others run without one.
NEED_EXTRAS := backbones cli config data dense evaluate report serve text train
WITHOUT_EXTRAS := tests/factors tests/routing tests/tasks tests/device tests/test_extras.py tests/test_broadcast.py \
  tests/test_routed_model.py tests/test_transfer.py src $(NEED_EXTRAS:%=--ignore src/taskfold/%)
PYTEST := -m pytest -p no:cacheprovider

.PHONY: help demo test campaign campaigns campaign-kills campaign-serve zoo lint format docs bench bench-routed data clean
.PHONY: test-lowest test-minimal test-python test-inductor gpu

help:
	@echo "make demo    the main job on real data, in minutes (options: make demo ARGS='--compare all')"
	@echo "make test    the tests, examples in the documentation included"
	@echo "make campaign    threads that ask a bank while others change it: counts, and whether an answer was wrong"
	@echo "make campaigns   a thousand damaged files, five hundred mutated configurations, as many random networks"
	@echo "make campaign-kills    commands killed before each operation on files go on to the same end (ARGS='--only train')"
	@echo "make campaign-serve    a million answers of a server whose tasks change, twice, and 200 kills (ARGS='--answers 10000')"
	@echo "make zoo     the laws on networks of timm, torchvision and transformers, and docs/networks.md (ARGS='swin bert')"
	@echo "make lint    style, types and the direction of imports      make format   fix style"
	@echo "make docs    the documentation, in docs/_build              make clean    remove what was built"
	@echo "make bench   speed and memory beside PEFT, LyCORIS and adapters, in bench.json too (ARGS=--quick, ARGS=--full)"
	@echo "make test-lowest  test-minimal  test-python  test-inductor  gpu    the matrix: CONTRIBUTING.md says what each shows"
	@echo "make bench-routed    a training step of each routed method on T5, beside LoRA and PEFT's"

# As a module: the processes that train then leave out the command line when they import.
demo: $(READY)
	$(BIN)/python -m taskfold demo $(ARGS)

# One thread for each of the two workers; an example page is one story, so a file stays in one worker, and files are taken in
# the order of testpaths. Tests start many processes: they read compiled modules, though the environment may forbid to write them.
test: $(READY)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE= \
	  $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# The lowest versions that pyproject.toml admits, each at once. Old packages beside new ones warn of one another.
test-lowest: .venv-lowest/.ready
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 .venv-lowest/bin/python $(PYTEST) -n 2 --dist loadfile \
	  -W default::DeprecationWarning -W default::FutureWarning $(CORE) $(ROOMS:%=tests/%) $(ARGS)
	OMP_NUM_THREADS=1 PYTHONPATH=.venv-lowest/hub .venv-lowest/bin/python $(PYTEST) tests/test_hub.py

.venv-lowest/.ready: pyproject.toml scripts/lowest scripts/setup-lowest
	@scripts/setup-lowest .venv-lowest $(LIBRARY),test

# torch, numpy, safetensors and pytest: no extra at all.
test-minimal: .venv-minimal/.ready
	OMP_NUM_THREADS=1 .venv-minimal/bin/python $(PYTEST) --bare $(WITHOUT_EXTRAS) $(ARGS)

.venv-minimal/.ready: pyproject.toml constraints.txt
	@VENV=.venv-minimal EXTRAS= DEMOS=0 MORE=pytest scripts/setup

# make test-python PYTHON=python3.12: the suite under another interpreter, in an environment named after its version.
test-python:
	@scripts/test-python $(LIBRARY),dev $(ARGS)

# Tests that trace with a cheap backend, with the one that generates code; it needs a C++ compiler.
test-inductor: $(READY)
	@c++ --version >/dev/null || { echo "make test-inductor: inductor needs a C++ compiler, and there is no c++" >&2; exit 1; }
	cache=$$(mktemp -d); trap 'rm -rf "$$cache"' EXIT; \
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TORCHINDUCTOR_COMPILE_THREADS=1 TORCHINDUCTOR_CACHE_DIR=$$cache \
	  $(BIN)/python $(PYTEST) --compile-with inductor tests $(ARGS)

# The laws and the benchmark on a CUDA card, in at most eight minutes: gpu.json and gpu.md.
gpu:
	@scripts/gpu $(ARGS)
# Eight threads ask a bank, three change it, until there are 100,000 answers; one wrong answer is an error.
campaign: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bank.campaign $(ARGS)

# Each prints what became of its inputs, and fails where one ended otherwise than by an error that says what is wrong.
campaigns: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.campaigns.damaged_files $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.campaigns.mutated_configurations $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.campaigns.random_networks

# Every command that writes, killed before each of its operations on files, and started again: about half an hour.
campaign-kills: $(READY)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m tests.campaigns.killed_commands $(ARGS)

# A million answers of tasks that say who they are, while these come, change and go; the same over HTTP with hostile clients;
# then kills of server and publisher.
campaign-serve: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.serve.canaries $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.serve.hostile $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.serve.kills

# Each network by itself: what was tried is in .zoo and is not tried again (ARGS=--again).
zoo: $(READY)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m tests.zoo $(ARGS)

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

$(READY): pyproject.toml demos/pyproject.toml constraints.txt
	@scripts/setup

clean:
	rm -rf $(VENV) $(BENCH) .venv-* .cache docs/_build .pytest_cache .ruff_cache .import_linter_cache
