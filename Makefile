# Each target sets up what it needs: uv in .uv/, the locked dependencies in .venv/.

UV_VERSION = 0.13.9
UV = .uv/bin/uv
RUN = $(UV) run --no-sync

# Where bytecode is not kept, each process compiles TensorFlow anew, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart serve test test-full test-torchvision test-compose test-perf-analyzer bench-serving bench-batch lint check protos clean

quickstart: .venv/serving  ## serve the shipped models and classify the samples (ONCE=1: then end)
	$(RUN) triptych quickstart $(if $(ONCE),--once)

test: .venv/all  ## the whole suite, two tests at a time; a crash ends it, and is not waited for
	$(RUN) pytest -q -n 2 --dist worksteal --max-worker-restart 0

test-full: .venv/all  ## each network in its paper's size, from a training step to a served answer
	$(RUN) pytest -q -m full

test-torchvision: .venv/all .venv-torch/all  ## PyTorch's weights against PyTorch, apart
	TRIPTYCH_TORCH_PYTHON=$(CURDIR)/.venv-torch/bin/python $(RUN) pytest -q -m torchvision

test-compose: .venv/all  ## build the image, serve, classify, kill, come back; needs an engine
	$(RUN) pytest -q -m compose --timeout=1500 tests/compose

test-perf-analyzer: .venv/all  ## NVIDIA's perf_analyzer against the server; its test says what it needs
	$(RUN) pytest -q -m perf_analyzer

bench-serving: .venv/all  ## the server against what the machine can do
	$(RUN) python -m benchmarks.serving

bench-batch: .venv/all  ## batch jobs against what the machine can do, and against others
	$(RUN) python -m benchmarks.batch

lint: .venv/all  ## format, lint, types, import contracts
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports

protos: .venv/all  ## generate the modules beside the .proto files
	$(RUN) protos/generate.sh

.venv/all: uv.lock pyproject.toml | $(UV)
	$(UV) sync --locked --extra cpu --extra train --extra evaluate --extra ray
	@touch .venv/all .venv/serving

.venv/serving: uv.lock pyproject.toml | $(UV)
	$(UV) sync --locked --inexact --no-dev --extra cpu
	@touch .venv/serving

.venv-torch/all: tests/torchvision/requirements.txt
	python3 -m venv .venv-torch
	.venv-torch/bin/pip install --quiet --requirement tests/torchvision/requirements.txt
	@touch .venv-torch/all

$(UV):
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

clean:
	rm -rf .uv .venv .venv-torch
