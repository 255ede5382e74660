"""A sentence where the chosen scan is not the one that the user looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import marks, say, view
from .soon import Soon

ELSEWHERE = "The scan chosen above is not the one in the views."


class Elsewhere:
    """`scan` gives the scan that is chosen, None where none is; `label` goes into the panel, beside Run."""

    def __init__(self, scan: Callable[[], Any]):
        import slicer

        self._scan = scan
        self._soon = Soon(self.update)
        self.label = say.label("elsewhere")
        self._watch = slicer.util.VTKObservationMixin()
        scene = slicer.mrmlScene
        for event in (
            scene.NodeAddedEvent,
            scene.NodeRemovedEvent,
            scene.EndCloseEvent,
            scene.EndImportEvent,
        ):
            self._watch.addObserver(scene, event, self._soon.ask)
        self.update()

    def cleanup(self) -> None:
        self._soon.cleanup()
        self._watch.removeObservers()

    def update(self) -> None:
        """Look at what the slice views show now."""
        import vtk

        composites = view.composites().values()
        for composite in composites:
            if not self._watch.hasObserver(composite, vtk.vtkCommand.ModifiedEvent, self._soon.ask):
                self._watch.addObserver(composite, vtk.vtkCommand.ModifiedEvent, self._soon.ask)
        scan = self._scan()
        shown = [volume for composite in composites for volume in view.shownVolumes(composite)]
        away = scan is not None and shown and not any(_speaksOf(volume, scan) for volume in shown)
        say.say(self.label, ELSEWHERE if away else "", say.WARNING)


def _speaksOf(volume: Any, scan: Any) -> bool:
    """Whether a volume is the scan, or a result that was made from it."""
    return volume.GetID() == scan.GetID() or scan in marks.inputsOf(volume)
