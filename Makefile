# The commands of this project. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help up install dev train train-all serve check format test test-fast prove \
        prove-applications soak bench bench-generate clean \
        deploy-tools deploy-test image image-test roll-test cluster-test gpu-env gpu-build-test gpu-test

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
GPU_VENV ?= .venv-gpu
GPU_BIN  := $(GPU_VENV)/bin
# Whatever runs graphs and needs neither torch nor what comes with it.
GPU_TESTS := $(addprefix tests/service/, test_cuda.py test_devices.py test_bound.py test_runner.py \
  test_tuning.py test_lane.py test_loaded.py test_residency.py test_hub.py test_app.py \
  test_answering.py test_generating.py protocols decoder) \
  --ignore tests/service/decoder/test_imported.py --ignore tests/service/decoder/test_sampling.py

export MODELHUB_STORE ?= models
export MODELHUB_HOST  ?= 127.0.0.1
export MODELHUB_PORT  ?= 8000
export IMAGE ?= modelhub:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
export EXTRA ?= serve

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

up: install ## install, train the starter set if the store has none of it, serve
	@$(BIN)/modelhub starter
	@exec $(BIN)/modelhub serve

install: $(VENV)/.user ## make .venv with all that training and serving need
dev: $(VENV)/.dev ## the same with the tools of `make check` and `make test`

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "modelhub needs Python 3.11 or later; PYTHON=python3.x make … names another"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# constraints.txt pins every version, torch's too: a looser request would fetch gigabytes of CUDA.
$(VENV)/.user: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[serve,train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.user
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[serve,train,dev]'
	@touch $@

# The CPU's and CUDA's ONNX Runtime are one module, so each has an environment. No torch in this one.
$(GPU_VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PYTHON) -m venv $(GPU_VENV)
	$(GPU_BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt \
	  -e '.[serve-gpu,dev]' onnx
	@touch $@

train: install ## train one model: make train RECIPE=cnn_digits
	$(BIN)/modelhub train $(RECIPE)

train-all: install ## train every recipe that the store has none of, with a table at the end (hours)
	$(BIN)/modelhub train-all

serve: install ## serve the store
	@exec $(BIN)/modelhub serve

check: dev ## format, lint, types, import contracts, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: dev ## let the tools mend what they can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: dev ## all tests; trains the starter set on the way (under 20 minutes)
	$(BIN)/pytest

test-fast: dev ## the tests that take seconds
	$(BIN)/pytest -m "not slow"

prove: dev ## the full profiles over three seeds against their promised scores (half an hour)
	$(BIN)/pytest -s tests/test_scores.py --full -k full_profile

prove-applications: dev ## the same for what is not in the starter set, two hours
	$(BIN)/pytest -s tests/test_scores.py --full -k "application or pretrained"

bench: install ## measure the server against what the graphs and HTTP alone can do (ten minutes)
	$(BIN)/python -m training.reference_graphs bench-models
	$(BIN)/modelhub bench --store bench-models --limits --max-windows 5 \
	  --json bench.json --markdown bench.md --plot bench.png

bench-generate: install ## measure texts streamed to many clients beside the decoder alone (ten minutes)
	$(BIN)/python -m training.reference_decoders bench-models
	$(BIN)/modelhub bench --generate decoder_small decoder_large --store bench-models --limits \
	  --max-windows 4 --json bench.generate.json --markdown bench.generate.md
	$(BIN)/modelhub bench --generate decoder_long --store bench-models --long-prompt 1000

soak: dev ## versions swapped and models reloaded under load, on a real server (minutes)
	$(BIN)/pytest -s --soak -m soak tests/service

gpu-env: $(GPU_VENV)/.dev ## make .venv-gpu: serving with CUDA and cuDNN (3 GB)

gpu-build-test: gpu-env ## serving on ONNX Runtime's GPU build, where there is no GPU (five minutes)
	$(GPU_BIN)/pytest -m "not slow and not soak and not gpu" $(GPU_TESTS)

gpu-test: gpu-env install ## on a machine with a GPU: the tests that skip elsewhere, then the bench
	$(GPU_BIN)/pytest -m gpu $(GPU_TESTS)
	@if command -v nvidia-smi > /dev/null && nvidia-smi -L; then \
	  $(BIN)/python -m training.reference_graphs bench-models && MODELHUB_DEVICE=cuda \
	  $(GPU_BIN)/modelhub bench --store bench-models --limits --max-windows 5 \
	    --json bench.gpu.json --markdown bench.gpu.md; \
	else echo "there is no GPU here: nothing was measured"; fi

deploy-tools: dev ## what the tests of the deployment need: into .tools, and by apt where it can
	$(BIN)/python deploy/tools.py

deploy-test: dev ## chart, manifests, rules, dashboard, Containerfile; says what it could not check
	$(BIN)/pytest -m "not image and not soak and not cluster" tests/deploy
	$(BIN)/pytest -k "[gs] or [az]" tests/model_store/test_remote.py

image: ## build the server's image; EXTRA=serve-gpu for CUDA (deploy/image.sh says what else)
	deploy/image.sh

image-test: dev image ## build the image and run it: limits, rights, health, drain
	$(BIN)/pytest -s --image $(IMAGE) -m image tests/deploy

roll-test: dev ## three replicas behind haproxy, restarted one by one under load
	$(BIN)/pytest -s --soak -m soak tests/deploy

cluster-test: dev image ## the chart and the image on Kubernetes 1.20.2 (ten minutes; at first, five more)
	$(BIN)/python -m deploy.kubernetes.cluster
	kubernetes=$$(deploy/kubernetes/build.sh) && $(BIN)/pytest -s --image $(IMAGE) \
	  --cluster "$$kubernetes" -m cluster tests/deploy

clean: ## remove what the commands above made, but no models
	rm -rf $(VENV) $(GPU_VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
