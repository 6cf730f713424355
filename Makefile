# make quickstart | test | digits | fashion-mnist | super-resolution | super-resolution-study | benchmark-openvino | benchmark-training | accuracy | post-training | zoo | docs | package | clean
# (PYTHON=python3.x, MODEL=resnet20, BITS=w1a8, TABLES="rows rivals report", ARGS="--network resnet20 --dataset cifar10 --data DIR")
PYTHON ?= python3
MODEL ?= small_resnet
BITS ?= w2a8
TABLES ?= rows distilled random rivals epochs mixed ablation report
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# NNCF's C++ extension is compiled once, here: in the home folder, a compilation that was killed leaves a lock on which
# all later ones wait.
EXTENSION := $(VENV)/.extension
export TORCH_EXTENSIONS_DIR := $(CURDIR)/$(VENV)/torch_extensions
TESTS_OF_HOSTS := nncf3_host.py torch_host.py same_search.py examples.py exported_files.py installed.py
# Files of tests side by side, each process with one thread: threads of several processes would wait for each other.
IN_PROCESSES := -n auto --maxprocesses 4 --dist loadfile
PIP_QUIET := -q --disable-pip-version-check

.PHONY: quickstart test digits fashion-mnist super-resolution super-resolution-study benchmark-openvino benchmark-training accuracy post-training zoo docs package clean check-python check-compiler

quickstart: $(INSTALLED)
	$(RUN) -m samples.classification.quickstart --log-dir runs/quickstart

# A search in training, with labels.
digits: $(INSTALLED)
	$(RUN) -m samples.classification.digits --log-dir runs/digits

test: export OMP_NUM_THREADS := 1
test: $(EXTENSION) .venv-nncf3/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(RUN) -m pytest $(IN_PROCESSES)
	TORCH_EXTENSIONS_DIR=$(CURDIR)/.venv-nncf3/torch_extensions NNCF_EXTENSION_LOAD_TIMEOUT=0 \
	  PATH="$(CURDIR)/.venv-nncf3/bin:$$PATH" .venv-nncf3/bin/python -m pytest $(IN_PROCESSES) \
	  $(addprefix tests/hosts/test_,$(TESTS_OF_HOSTS))

fashion-mnist: $(EXTENSION)
	@if [ ! -d /usr/share/datasets/fashion-mnist ] && [ -z "$(DATA)" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq dataset-fashion-mnist; \
	  else echo "Fashion-MNIST is missing. Install Debian's package: sudo apt-get install dataset-fashion-mnist," \
	    "or name a folder with its four .gz files: make fashion-mnist DATA=/path"; exit 1; fi; fi
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(RUN) -m samples.classification.fashion_mnist --model $(MODEL) \
	  --log-dir runs/fashion_mnist_$(MODEL) $(if $(DATA),--data $(DATA))

# One network on photographs that installed packages bring: float, search, IR, report, crops.
super-resolution: $(EXTENSION)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(RUN) -m samples.super_resolution.demo --bits $(BITS) $(ARGS)

# The tables of super-resolution in docs/results.md, in runs that continue after an interruption.
super-resolution-study: $(EXTENSION)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(RUN) -m benchmarks.super_resolution --work runs/super_resolution_study $(ARGS)

# Which kernel runs what (docs/openvino.md), then speed (benchmarks/openvino/results); leave the machine alone meanwhile.
benchmark-openvino: $(EXTENSION)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(RUN) -m benchmarks.openvino.lowering docs/openvino.md
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(RUN) -m benchmarks.openvino.speed --work runs/benchmarks
	$(RUN) -m benchmarks.openvino.machines docs/openvino.md

# docs/performance.md: what training costs beside float and rivals; leave the machine alone meanwhile (40 minutes).
benchmark-training: export TORCH_EXTENSIONS_DIR := $(CURDIR)/.venv-rivals/torch_extensions
benchmark-training: .venv-rivals/.installed .venv-nncf3/.installed | check-compiler
	PATH="$(CURDIR)/.venv-rivals/bin:$$PATH" .venv-rivals/bin/python -c "import nncf.torch; nncf.torch.force_build_cpu_extensions()"
	PATH="$(CURDIR)/.venv-rivals/bin:$$PATH" .venv-rivals/bin/python -m benchmarks.training.hosts
	.venv-nncf3/bin/python -m benchmarks.training.hosts
	PATH="$(CURDIR)/.venv-rivals/bin:$$PATH" .venv-rivals/bin/python -m benchmarks.training $(ARGS)

# docs/results.md: TABLES="rows distilled random rivals epochs mixed ablation report", in runs that continue after an interruption.
accuracy: $(EXTENSION) .venv-rivals/.installed
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(RUN) -m benchmarks.accuracy $(TABLES) --work runs/accuracy $(ARGS)

# docs/post-training.md: five networks, in runs that continue after an interruption.
post-training: $(EXTENSION) .venv-rivals/.installed
	$(RUN) -m pip install $(PIP_QUIET) --no-deps --target runs/post_training/packages -r benchmarks/post_training/requirements.txt
	PYTHONPATH=runs/post_training/packages $(RUN) -m benchmarks.post_training searches images blocks rivals --work runs/post_training
	PYTHONPATH=runs/post_training/packages .venv-rivals/bin/python -m benchmarks.post_training.brevitas_rounding --work runs/post_training
	$(RUN) -m benchmarks.post_training report --work runs/post_training

# Brevitas wants packages of its own, so the rivals have an environment of their own.
.venv-rivals/.installed: setup.cfg constraints.txt benchmarks/accuracy/requirements-rivals.txt | check-python
	$(PYTHON) -m venv .venv-rivals
	.venv-rivals/bin/python -m pip install $(PIP_QUIET) $$(grep '^torch==' constraints.txt)
	.venv-rivals/bin/python -m pip install $(PIP_QUIET) -c constraints.txt -e '.[samples]' \
	  -r benchmarks/accuracy/requirements-rivals.txt
	@touch $@

# docs/zoo.md: real architectures with random weights, in runs that continue after an interruption.
zoo: $(EXTENSION) .venv-zoo/.installed
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" .venv-zoo/bin/python -m benchmarks.zoo --work runs/zoo --report docs/zoo.md $(ARGS)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" RANDOM_NETWORKS=2000 $(RUN) -m pytest tests/openvino/test_random_networks.py

# torchvision wants a torch of its own, so the zoos have an environment of their own, and none of their dependencies but
# those that are listed.
.venv-zoo/.installed: setup.cfg constraints.txt benchmarks/zoo/requirements.txt | check-python
	$(PYTHON) -m venv .venv-zoo
	.venv-zoo/bin/python -m pip install $(PIP_QUIET) $$(grep '^torch==' constraints.txt)
	.venv-zoo/bin/python -m pip install $(PIP_QUIET) -c constraints.txt -e .
	.venv-zoo/bin/python -m pip install $(PIP_QUIET) --no-deps -r benchmarks/zoo/requirements.txt
	@touch $@

# The generated pages, then the site: site/index.html. It loads nothing from a network.
docs: $(INSTALLED)
	$(RUN) -m nncf_slb.config.reference docs/config.md
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

# dist/: wheel and sdist, checked; then the wheel alone, in an empty environment, runs the first of the quick starts.
package: | check-python
	rm -rf dist .venv-package
	$(PYTHON) -m venv .venv-package/tools
	.venv-package/tools/bin/python -m pip install $(PIP_QUIET) build twine deptry
	.venv-package/tools/bin/python -m build --outdir dist
	.venv-package/tools/bin/python -m twine check --strict dist/*
	.venv-package/tools/bin/python .ci/requirements.py dist/*.whl > .venv-package/requirements.txt
	.venv-package/tools/bin/python -m deptry nncf_slb --requirements-files .venv-package/requirements.txt
	$(PYTHON) -m venv .venv-package/empty
	.venv-package/empty/bin/python -m pip install $(PIP_QUIET) $$(grep '^torch==' constraints.txt)
	.venv-package/empty/bin/python -m pip install $(PIP_QUIET) dist/*.whl
	.venv-package/empty/bin/python .ci/quick_start.py plain_pytorch.py

# torch first and by its exact version, which has a CPU build; everything else from the tested set.
$(INSTALLED): setup.cfg constraints.txt | check-python
	@echo "Installing into $(VENV) (a few minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install $(PIP_QUIET) $$(grep '^torch==' constraints.txt)
	$(RUN) -m pip install $(PIP_QUIET) -c constraints.txt -e '.[test,docs]'
	@touch $@

$(EXTENSION): $(INSTALLED) | check-compiler
	@echo "Compiling NNCF's quantization extension (a minute or two, once)"
	rm -rf $(TORCH_EXTENSIONS_DIR)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(RUN) -c "import nncf.torch, torch; nncf.torch.force_build_cpu_extensions(); \
	  torch.cuda.is_available() and nncf.torch.force_build_cuda_extensions()"
	@touch $@

# NNCF 3, and what trains networks for others: the hosts' tests run there as well.
.venv-nncf3/.installed: setup.cfg constraints-nncf3.txt | check-python check-compiler
	$(PYTHON) -m venv .venv-nncf3
	.venv-nncf3/bin/python -m pip install $(PIP_QUIET) $$(grep '^torch==' constraints-nncf3.txt)
	.venv-nncf3/bin/python -m pip install $(PIP_QUIET) -c constraints-nncf3.txt -e '.[nncf3,trainers]' \
	  pytest pytest-xdist hypothesis scikit-learn
	@touch $@

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "Python 3.10 or newer is needed; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Use: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "Python's venv module is missing. On Debian: sudo apt-get install python3-venv"; exit 1; }

check-compiler:
	@command -v $${CXX:-c++} >/dev/null || { \
	  echo "A C++ compiler is needed: NNCF compiles its quantization extension. On Debian: sudo apt-get install g++"; exit 1; }

clean:
	rm -rf $(VENV) .venv-rivals .venv-zoo .venv-nncf3 .venv-package runs build dist site *.egg-info
