"""The picture that forms while a run goes on: a volume for the time of the run, over the scan in the slices,
or alone where the run is made from no scan.

It changes no zoom and no position, and leaves each view as it was, unless the user has set something else
meanwhile.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from . import marks, present, view

_ROLE = "preview"


class Preview:
    """The preview of the run that is going on; `enabled` is what the user ticked."""

    def __init__(self) -> None:
        self.enabled = True
        self._run: Any = None
        self._node: Any = None
        self._before: dict[str, _Layers] = {}

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
            self._overlay(first) if first is not None else self._alone()

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
        node = self.node
        for name, composite in view.composites().items():
            before = self._before.get(name)
            if node is None or before is None:
                continue
            if composite.GetBackgroundVolumeID() == node.GetID():
                composite.SetBackgroundVolumeID(_there(before.back))
                composite.SetForegroundVolumeID(_there(before.front))
                composite.SetForegroundOpacity(before.opacity)
            elif composite.GetForegroundVolumeID() == node.GetID():
                composite.SetForegroundVolumeID(_there(before.front))
                composite.SetForegroundOpacity(before.opacity)
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
                self._before[name] = _Layers.of(composite)
                composite.SetForegroundVolumeID(self._node.GetID())
                composite.SetForegroundOpacity(1.0)

    def _alone(self) -> None:
        """In the views outside the columns to compare, and in that of results; no scan lies behind it."""
        for name, composite in view.composites().items():
            if view.columnOf(name) not in ("", view.RESULT):
                continue
            self._before[name] = _Layers.of(composite)
            composite.SetForegroundVolumeID(None)
            composite.SetBackgroundVolumeID(self._node.GetID())
            if self._before[name].back is None:
                view.fit(name, keepPlace=False)


class _Layers(NamedTuple):
    """What a slice view showed: node IDs, and the opacity of the front."""

    back: str | None
    front: str | None
    opacity: float

    @classmethod
    def of(cls, composite: Any) -> _Layers:
        shown = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())
        return cls(*shown, composite.GetForegroundOpacity())


def _there(volume: str | None) -> str | None:
    """The ID of a volume where it is still in the scene."""
    import slicer

    return volume if volume and slicer.mrmlScene.GetNodeByID(volume) is not None else None
