"""Two tasks that the worker that computes nothing knows: one without an image, one with a mask; for tests."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from desktop_host import core  # noqa: F401 (a fixture)

_SEED = {"type": "integer", "title": "Seed", "description": "The same seed, the same brains.", "default": 0}
_SAMPLES = {
    "type": "integer", "title": "Samples", "description": "How many.", "default": 3, "minimum": 1,
    "maximum": 64,
}  # fmt: skip
_AGE = {
    "anyOf": [{"type": "number", "minimum": 0, "maximum": 120}, {"type": "null"}], "default": None,
    "title": "Age", "description": "Left open it is drawn by chance.", "unit": "years", "examples": [35],
    "range": [19, 52],
}  # fmt: skip
_WIDEN = {
    "type": "number", "title": "Widen the mask", "description": "Fill more.", "default": 0.0, "minimum": 0,
    "maximum": 20, "unit": "mm", "for_place": 4.0,
}  # fmt: skip
GENERATE = {
    "task": "generate",
    "title": "Generate brains",
    "description": "Make brains up.",
    "inputs": [],
    "properties": {"samples": _SAMPLES, "seed": _SEED, "age": _AGE},
}
INPAINT = {
    "task": "inpaint",
    "title": "Inpaint",
    "description": "Fill a place.",
    "inputs": [
        {"name": "scan", "title": "Scan", "help": "A scan.", "required": True, "kind": "volume"},
        {"name": "mask", "title": "Mask", "help": "Where to fill.", "required": True, "kind": "labels"},
    ],
    "properties": {"samples": _SAMPLES, "seed": _SEED, "widen": _WIDEN},
}


@pytest.fixture
def tasks(core: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:  # noqa: F811
    """Panels that are made from now on offer generate and inpaint beside heal, whatever the engine has."""
    import slicer

    vars(slicer.modules).pop("slicerdiffusion", None)  # the host would import the packages anew
    schema = importlib.import_module("SlicerDiffusionLib.schema")
    heal = next(task for task in schema.tasks() if task.name == "heal")
    made = [schema.parse(GENERATE), heal, schema.parse(INPAINT)]
    monkeypatch.setattr(schema, "tasks", lambda folder=None: made)
    return made
