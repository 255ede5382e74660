"""What would be lost when the scene or the window goes, and the question that comes before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk

from .kept import is_kept

_NAMED = 3  # so many names are said, the others are counted


def unsaved() -> list[Any]:
    """Nodes whose voxels, tables and so on no file holds as they are now.

    A scan that was only looked at is not among them.
    """
    found = vtk.vtkCollection()
    slicer.mrmlScene.GetStorableNodesModifiedSinceRead(found)
    nodes = [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]
    return [node for node in nodes if not is_kept(node)]


class Guard:
    """Asks on a window's banner before something empties the scene or ends a task."""

    def __init__(self, window: Any) -> None:
        self._window = window

    def needed(self) -> bool:
        """Whether a user sits before the window who would lose something."""
        return self._window.interactive and (self._window.is_running() or bool(unsaved()))

    def before(self, act: Callable[[], Any], doing: str) -> None:
        """Do `act` at once, or after the user has agreed to what goes with it.

        doing: what `act` does, in words such as "quitting".
        """
        if not self.needed():
            act()
            return
        running, lost = self._window.is_running(), unsaved()
        task = f"A task is going on, and {doing} stops it." if running else ""
        banner = self._window.banner
        if not lost:
            banner.ask(task, Stop_it=lambda: self._go(act, doing, []), Keep_working=lambda: None)
            return
        banner.ask(
            f"{task} Not saved: {_names(lost)}. Save before {doing}?".strip(),
            Save=lambda: self._window.files.ask_save_scene() and self._go(act, doing, unsaved()),
            Discard=lambda: self._go(act, doing, lost),
            Cancel=lambda: None,
        )

    def _go(self, act: Callable[[], Any], doing: str, agreed: list[Any]) -> None:
        """Stop what runs and act, unless more would be lost by now: a task may have ended meanwhile."""
        known = {node.GetID() for node in agreed}
        if any(node.GetID() not in known for node in unsaved()):
            self.before(act, doing)
            return
        self._window.stop()
        act()


def _names(nodes: list[Any]) -> str:
    names = [node.GetName() or node.GetID() for node in nodes]
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    *first, last = names[:_NAMED] + more
    return f"{', '.join(first)} and {last}" if first else last
