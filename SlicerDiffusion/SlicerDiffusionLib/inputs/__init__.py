"""What a task takes. A new kind of input is a new file here with KIND and four functions.

KIND = "volume"

def make(item, changed):
    '''The widget to choose it with: a Selector.'''

def refuse(chosen):
    '''Raises job.Complaint with one sentence where the engine cannot take it.'''

def state(chosen):
    '''What is no longer equal when the voxels, or the place where they lie, change.'''

def write(chosen, path, grid):
    '''Steps that write the voxels to `path`; their value is the affine, voxel index to RAS mm. `grid`: where
    the task's first scan lies, None where it has none.'''

A kind of labels may have a fifth: `names(chosen)`, what the labels are called, {value: name}.

What is chosen is a node, or a pair: a node and the id of the part of it that is meant.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

SCAN = "volume"
"""The kind of input that other inputs are laid onto."""
MASK = "labels"
"""The kind of input that says where."""
SEGMENTS = "segments"
"""The kind of input that says what is where."""


class Grid(NamedTuple):
    """A lattice in the world. affine: voxel index to RAS mm. shape: voxels along i, j, k."""

    affine: list[list[float]]
    shape: tuple[int, int, int]


@dataclass
class Selector:
    """A widget with how to read and how to set what is chosen in it, and how to let go of the scene."""

    widget: Any
    get: Callable[[], Any]
    set: Callable[[Any], None]
    cleanup: Callable[[], None]


@cache
def registry() -> dict[str, Any]:
    """{kind: module} of every file here."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return {module.KIND: module for module in modules}


def pair(chosen: Any) -> tuple[Any, str]:
    """The node of what is chosen, and the id of the part that is meant, empty where it is the whole."""
    return chosen if isinstance(chosen, tuple) else (chosen, "")


def nodeBox(item: Any, kinds: list[str], nothing: str, changed: Callable[[], None]) -> Any:
    """A box that lists the nodes of these classes, for an input; `nothing` stands where none is chosen."""
    import slicer

    box = slicer.qMRMLNodeComboBox()
    box.setObjectName(item.name)
    box.setProperty("nodeTypes", kinds)
    for flag in ("addEnabled", "removeEnabled", "renameEnabled", "showChildNodeTypes"):
        box.setProperty(flag, False)
    box.setProperty("noneEnabled", True)
    box.setProperty("noneDisplay", nothing if item.required else "none")
    box.setToolTip(item.help)
    box.setMRMLScene(slicer.mrmlScene)
    # The signal has overloads in Slicer: the slot takes nothing and asks the widget.
    box.currentNodeChanged.connect(lambda: changed())
    return box
