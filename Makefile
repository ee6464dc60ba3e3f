# Everything happens in .venv; a machine needs only Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
export FLWR_TELEMETRY_ENABLED = 0
export FLWR_DISABLE_UPDATE_CHECK = 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION = 1

.PHONY: setup demo rehearsal test slow fuzz check format proto bench clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hawthorn needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[torch,simulation,redteam,dev]'
	touch $@

demo: setup
	$(BIN)/hawthorn simulate --task digits --clients 10 --hostile 3 --attack 'sign_flip(scale=3)'

rehearsal: setup
	$(BIN)/hawthorn federation up

test: setup
	$(BIN)/pytest -n 2

slow: setup
	$(BIN)/pytest -m slow -n 2 --dist loadfile

fuzz: setup
	for target in replies services manifests; do \
		$(BIN)/python tests/fuzzing/fuzz.py $$target --seconds 1200 || exit 1; \
	done

bench: setup
	$(BIN)/hawthorn benchmark speed
	$(BIN)/hawthorn benchmark rounds
	$(BIN)/hawthorn benchmark start
	$(BIN)/hawthorn benchmark training
	$(BIN)/hawthorn benchmark replies
	$(BIN)/hawthorn benchmark aggregation
	$(BIN)/hawthorn benchmark audit

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: setup
	$(BIN)/python -m grpc_tools.protoc -I server/control --python_out=server/control --pyi_out=server/control server/control/hawthorn.proto

clean:
	rm -rf .venv build dist *.egg-info
