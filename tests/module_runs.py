"""Runs of the module against the worker that computes nothing; for tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from desktop_host import core  # noqa: F401
from SlicerDiffusionLib import jobs

WORKER = [sys.executable, str(Path(__file__).with_name("module_worker.py"))]


@pytest.fixture
def logic(core: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:  # noqa: F811
    """The module's logic, whose engine is the worker that computes nothing."""
    import slicer

    queue = jobs.Jobs([*WORKER, "ok"])
    monkeypatch.setattr(slicer.modules, jobs._SHARED, queue, raising=False)
    from SlicerDiffusion import SlicerDiffusionLogic

    yield SlicerDiffusionLogic()
    queue.close()


def behave(logic: Any, behaviour: str) -> None:
    """Let the next process of the engine behave like this."""
    logic.jobs.close()
    logic.jobs.engine.command = [*WORKER, behaviour]
