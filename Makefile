# `make run` shows the kit at work, `make test` checks everything. Both install what they need into
# a virtual environment of their own, once; nothing is reinstalled until pyproject.toml changes.

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
MVKIT := $(BIN)/mvkit

# Debian packages and a command of each: the real adb, and the shell and tools of a phone; compilers
# of the native runners, for this machine and for 64-bit Arm, and what runs the latter; a database.
# Shell and tools of a phone for 64-bit Arm are fetched by the tests, and installed nowhere.
PACKAGES := adb=adb mksh=mksh toybox=toybox \
	cmake=cmake g++=c++ g++-aarch64-linux-gnu=aarch64-linux-gnu-g++ \
	qemu-user-static=qemu-aarch64-static postgresql=pg_lsclusters

.PHONY: setup packages run lint test test-device matrix format clean

setup: $(VENV)/.setup

# torch comes first: once a release that every converter accepts is there, nothing below brings
# in another. On an index that lists a CPU build within the range, that one is installed.
$(VENV)/.setup: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[models]'
	$(BIN)/python -m pip install --quiet --editable '.[tflite]'
	touch $@

$(VENV)/.setup-test: $(VENV)/.setup
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

packages:
	.ci/packages $(PACKAGES)

run: setup
	$(MVKIT) convert mobilevit_xs --target tflite
	@echo "try      $(MVKIT) predict mvkit-out/mobilevit_xs-fp32.tflite assets/photos/coffee.jpg"

lint: $(VENV)/.setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A third process works while others wait: for phones, servers and time limits.
test: packages lint
	$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup

# On a phone of yours, which adb knows: make test-device SERIAL=R5CT30ABCDE [FILE=model.tflite]
test-device: $(VENV)/.setup-test
	@test -n "$(SERIAL)" || { echo "say which phone: make test-device SERIAL=..., as in adb devices" >&2; exit 2; }
	$(BIN)/python -m pytest -v tests/device --serial "$(SERIAL)" $(if $(FILE),--file "$(FILE)")

# Every reference model on every target; about 12 minutes the first time.
matrix: $(VENV)/.setup-test
	$(BIN)/python -m benchmarks.matrix

format: $(VENV)/.setup-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist mvkit-out .pytest_cache .mypy_cache .ruff_cache
