"""The picture that forms while a run goes on: a volume for the time of the run, over the scan in the slices.

It changes no zoom and no position, and leaves each view as it was, unless the user has set something else
meanwhile.
"""

from __future__ import annotations

from typing import Any

from . import marks, present, view

_ROLE = "preview"


class Preview:
    """The preview of the run that is going on; `enabled` is what the user ticked."""

    def __init__(self) -> None:
        self.enabled = True
        self._run: Any = None
        self._node: Any = None
        self._before: dict[str, tuple[str | None, float]] = {}

    @property
    def node(self) -> Any:
        """The volume that is shown; None where there is none, or where the user has deleted it."""
        return self._node if self._node is not None and self._node.GetScene() is not None else None

    def update(self, run: Any, image: Any, affine: Any, title: str) -> None:
        """Show the next picture of a run."""
        import numpy as np
        import slicer

        if not self.enabled:
            return
        first = next(iter(run.inputs.values()), None)
        if run is not self._run:
            self.remove()
            self._run = run
        if self._node is None:
            self._node = self._make(f"{title} {marks.WORD}", image, first)
        elif self.node is None:  # deleted by the user: he does not want to see it
            return
        self._node.SetAndObserveImageData(image)
        self._node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.array(affine, float)))
        if not self._before:
            self._overlay(first)

    def setEnabled(self, enabled: bool) -> None:
        self.enabled = enabled
        if not enabled:
            self.remove()

    def end(self, run: Any) -> None:
        """The run is over: its preview goes."""
        if run is self._run:
            self.remove()
            self._run = None

    def remove(self) -> None:
        """Take the preview out of the views and out of the scene."""
        import slicer

        node = self.node
        for name, composite in view.composites().items():
            if (
                node is not None
                and name in self._before
                and composite.GetForegroundVolumeID() == node.GetID()
            ):
                before, opacity = self._before[name]
                there = before and slicer.mrmlScene.GetNodeByID(before) is not None
                composite.SetForegroundVolumeID(before if there else None)
                composite.SetForegroundOpacity(opacity)
        if node is not None:
            present.remove(node)
        self._node, self._before = None, {}

    def _make(self, name: str, image: Any, of: Any) -> Any:
        import slicer

        low, high = image.GetPointData().GetScalars().GetRange(0)
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(name)
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node.SetAttribute(marks.SYNTHETIC, "YES")
        node.SetAttribute(marks.ROLE, _ROLE)
        shown = slicer.vtkMRMLScalarVolumeDisplayNode()
        shown.SetSaveWithScene(False)
        shown.AutoWindowLevelOff()
        shown.SetWindowLevelMinMax(low, high)
        shown.SetThreshold(low + 0.02 * (high - low), 10 * max(high, 1.0))
        shown.ApplyThresholdOn()
        shown.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        slicer.mrmlScene.AddNode(shown)
        slicer.mrmlScene.AddNode(node)
        node.SetAndObserveDisplayNodeID(shown.GetID())
        return node

    def _overlay(self, scan: Any) -> None:
        """Over the scan in each view that shows it; of columns to compare, only in that of results."""
        for name, composite in view.composites().items():
            column, behind = view.columnOf(name), composite.GetBackgroundVolumeID()
            if (
                behind
                if column == view.RESULT
                else not column and scan is not None and behind == scan.GetID()
            ):
                self._before[name] = (composite.GetForegroundVolumeID(), composite.GetForegroundOpacity())
                composite.SetForegroundVolumeID(self._node.GetID())
                composite.SetForegroundOpacity(1.0)
