# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv and install what they need the first time.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN = .venv/bin/python
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: setup test check slow lerobot demo clean

setup: .venv/.ready  ## install into .venv, and check system libraries

.venv/.ready: pyproject.toml scripts/setup.sh
	sh scripts/setup.sh $(PYTHON)
	touch $@

test: setup  ## the fast lane: every unit, every config, both ranks
	$(RUN) -m pytest -q -n 2 --dist loadfile --durations=10 -m "not slow and not gpu"

check: setup  ## style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

slow: setup  ## convergence, inductor, long tables
	$(RUN) -m pytest -q --durations=10 -m slow

lerobot: setup .venv-lerobot/.ready  ## exports are loaded by the real lerobot, in an environment of its own (8 GB, once)
	EMBODIED_SSL_LEROBOT=.venv-lerobot/bin/python $(RUN) -m pytest -q -rA -m slow tests/sim/test_export_in_lerobot.py

.venv-lerobot/.ready:  # it pins older torch, numpy and OpenCV than ours
	$(PYTHON) -m venv .venv-lerobot
	.venv-lerobot/bin/python -m pip install -q 'lerobot==0.4.4'
	touch $@

demo: setup  ## simulate, pretrain on all of it, judge, report: make demo [VIDEOS=..] [DRIVES=..] [SCENES=..]
	$(RUN) -m embodied_ssl demo --out $(or $(OUT),runs/demo) $(if $(VIDEOS),--videos $(VIDEOS)) $(if $(DRIVES),--drives $(DRIVES)) $(if $(SCENES),--scenes $(SCENES))

clean:
	rm -rf .venv .venv-lerobot build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
