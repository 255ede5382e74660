# Each target works alone on a bare machine: it makes its own environment in .venv first.
#   make demo          heal the sample patient in the window, the result in ./demo/result; without a display, pictures in ./demo
#   make demo-cli      heal the sample patient on the command line, the result with a picture in ./demo/result
#   make test          lint, types and tests
#   make slow          the tests that take long
#   make evaluate      measure the models and write docs/results.md
#   make screenshots   pictures of the window in each layout, in docs/pictures
#   make PYTHON=python3.12 demo    with a Python of your choice, 3.10 to 3.13

VENV := .venv
RUN := $(VENV)/bin
SAMPLE := resources/samples/sample-patient.nii.gz
PROJECT := pyproject.toml constraints-cpu.txt tools/prepare.sh

.DEFAULT_GOAL := help
.PHONY: help demo demo-cli screenshots test slow evaluate lint types schema clean

help:
	@sed -n 's/^#   //p' Makefile

$(VENV)/.ready: $(PROJECT)
	@sh tools/prepare.sh $(VENV) .
	@touch $@

$(VENV)/.ready-desktop: $(PROJECT)
	@sh tools/prepare.sh $(VENV) '.[desktop]'
	@touch $(VENV)/.ready $@

$(VENV)/.ready-test: $(PROJECT)
	@sh tools/prepare.sh $(VENV) '.[test]'
	@touch $(VENV)/.ready $(VENV)/.ready-desktop $@

demo: $(VENV)/.ready-desktop
	@if $(RUN)/python -c 'import importlib.util as u; exit(not u.find_spec("slicer"))'; then \
	    echo $(RUN)/braindiffusion-desktop --demo demo; $(RUN)/braindiffusion-desktop --demo demo; \
	else \
	    echo "The window needs slicer-core, which does not exist for this machine; the demo runs on the command line."; \
	    $(MAKE) demo-cli; \
	fi

demo-cli: $(VENV)/.ready
	$(RUN)/braindiffusion heal $(SAMPLE) --output demo/result --seed 7

screenshots: $(VENV)/.ready-desktop
	$(RUN)/braindiffusion-desktop --screenshots docs/pictures

# VTK and Slicer keep singletons as long as a process lives: each family of the viewers' tests has one of its own.
VIEWERS := host module window
FAST := $(RUN)/python -m pytest -q -m "not slow"
SHARED := --numprocesses auto --maxprocesses 4
TIMED := tests/test_window_true_path.py
test: lint types
ifdef TESTS
	$(FAST) $(TESTS)
else
	$(FAST) $(SHARED) --dist worksteal $(VIEWERS:%=--ignore-glob='*/test_%*.py')
	$(FAST) tests/test_host*.py
	$(FAST) $(SHARED) --dist loadfile tests/test_module*.py
	$(FAST) $(SHARED) --dist loadfile $(filter-out $(TIMED),$(wildcard tests/test_window*.py))
	$(FAST) $(TIMED) # alone: it takes the time in which the window answers
endif

slow: $(VENV)/.ready-test
	$(RUN)/python -m pytest -q -m slow $(TESTS)

lint: $(VENV)/.ready-test
	$(RUN)/ruff check .

types: $(VENV)/.ready-test
	$(RUN)/mypy

evaluate: $(VENV)/.ready-test
	$(RUN)/braindiffusion evaluate

schema: $(VENV)/.ready
	$(RUN)/braindiffusion schema

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache
