"""The outline of a map at a threshold, in the slices that show the map; it follows a slider at once."""

from __future__ import annotations

from typing import Any

from . import handover, marks, present
from .presenters import labels

COLOR = (0.2, 0.95, 0.95)
_ROLE = "outline"


class Outline:
    """Outline of one map: a segmentation of its own, whose voxels are set anew for each threshold."""

    def __init__(self, volume: Any):
        import slicer
        import vtk

        self.volume = volume
        self._image = slicer.vtkOrientedImageData()
        self._image.SetDimensions(volume.GetImageData().GetDimensions())
        self._image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        self._image.SetImageToWorldMatrix(matrix)
        self._inside = handover.voxels(self._image)
        self._inside[...] = 0
        node = self.node = slicer.vtkMRMLSegmentationNode()
        node.SetName(f"{volume.GetName()} {_ROLE}")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node.SetAttribute(marks.SYNTHETIC, volume.GetAttribute(marks.SYNTHETIC))
        slicer.mrmlScene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetVisibility3D(False)
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)
        display.SetSliceIntersectionThickness(2)
        labels.addSegment(node.GetSegmentation(), self._image, 1, "above the threshold", COLOR)

    def update(self, threshold: float) -> None:
        """Draw around the voxels at or above `threshold`."""
        import numpy as np

        if self.volume.GetImageData() is None:
            return
        np.greater_equal(handover.voxels(self.volume.GetImageData()), threshold, out=self._inside.view(bool))
        self._image.Modified()
        segmentation = self.node.GetSegmentation()
        segmentation.GetNthSegment(0).Modified()
        segmentation.InvokeEvent(segmentation.SourceRepresentationModified)

    def showIn(self, views: list[str]) -> None:
        """Show the outline in the views with these node IDs, and nowhere else."""
        display = self.node.GetDisplayNode()
        if display is not None:
            display.SetViewNodeIDs(views)
            display.SetVisibility(bool(views))

    def remove(self) -> None:
        present.remove(self.node)
