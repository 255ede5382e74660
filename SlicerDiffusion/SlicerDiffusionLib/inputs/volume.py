"""A scan: a scalar volume node, handed over as it lies in the world."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from .. import handover
from . import Grid, Selector, nodeBox

KIND = "volume"


def make(item: Any, changed: Callable[[], None]) -> Selector:
    """A box with the scans of the scene; label maps are not offered."""
    box = nodeBox(item, ["vtkMRMLScalarVolumeNode"], "Choose a scan", changed)
    return Selector(box, box.currentNode, box.setCurrentNode, lambda: box.setMRMLScene(None))


def refuse(chosen: Any) -> None:
    handover.refuseUnless3DScalar(chosen)


def state(chosen: Any) -> tuple[Any, ...]:
    return handover.state(chosen)


def write(chosen: Any, path: Path, grid: Grid | None) -> Generator[None, None, handover.Matrix]:
    """Its own lattice, whatever that of the first scan is."""
    return (yield from handover.write(chosen, path))
