"""One brightness and contrast for images that are compared, as long as their views are linked."""

from __future__ import annotations

from typing import Any


class Levels:
    """Keeps window and level of some volumes equal: what the user changes in one is changed in all."""

    def __init__(self) -> None:
        import slicer

        self._watch = slicer.util.VTKObservationMixin()
        self._busy = False
        self._shown: list[str] = []

    def share(self, volumes: list[Any]) -> None:
        """Let these volumes share the window and level of the first from now on, and no others."""
        import vtk

        self._watch.removeObservers()
        shown = [volume.GetDisplayNode() for volume in volumes if volume is not None]
        shown = [display for display in shown if display is not None]
        self._shown = [display.GetID() for display in shown]
        for display in shown:
            self._watch.addObserver(display, vtk.vtkCommand.ModifiedEvent, self._changed)
        if shown:
            self._changed(shown[0])

    def _changed(self, display: Any, *_: Any) -> None:
        import slicer

        if self._busy or not _linked():
            return
        self._busy = True
        try:
            for other in map(slicer.mrmlScene.GetNodeByID, self._shown):
                if other is not None and other is not display and _of(other) != _of(display):
                    other.AutoWindowLevelOff()
                    other.SetWindowLevel(*_of(display))
        finally:
            self._busy = False


def _of(display: Any) -> tuple[float, float]:
    return display.GetWindow(), display.GetLevel()


def _linked() -> bool:
    """Whether the views that compare images are linked."""
    from . import view

    return any(shown.GetLinkedControl() for name, shown in view.composites().items() if view.columnOf(name))


_levels: Levels | None = None


def share(volumes: list[Any]) -> None:
    """Let these volumes share one window and level, instead of those before."""
    global _levels
    _levels = _levels or Levels()
    _levels.share(volumes)
