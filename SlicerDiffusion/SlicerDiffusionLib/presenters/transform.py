"""A transform: a matrix or a field of displacements, as a transform node that moves what is put under it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

KIND = "transform"

_AXES = 3


def present(artifact: dict[str, Any], context: Any) -> Generator[None, None, Any]:
    """A vtkMRMLLinearTransformNode or vtkMRMLGridTransformNode.

    The engine says where the tissue at a place came from, which is the transform from the world to the node.
    """
    import numpy as np
    import slicer

    if artifact.get("matrix") is not None:
        node = slicer.vtkMRMLLinearTransformNode()
        matrix = slicer.util.vtkMatrixFromArray(np.array(artifact["matrix"], float))
        node.SetMatrixTransformFromParent(matrix)
    else:
        field = yield from _field(artifact, context)
        node = slicer.vtkMRMLGridTransformNode()
        node.SetAndObserveTransformFromParent(field)
    node.SetName(context.nameOf(artifact))
    yield
    return slicer.mrmlScene.AddNode(node)


def _field(artifact: dict[str, Any], context: Any) -> Generator[None, None, Any]:
    """The displacements, right, front and up in mm, as a transform on their grid."""
    import numpy as np
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    from .. import handover

    grid = None
    for axis in range(_AXES):
        image, affine = yield from context.image(artifact, axis + 1)
        if grid is None:
            grid = vtk.vtkImageData()
            grid.SetDimensions(image.GetDimensions())
            grid.AllocateScalars(vtk.VTK_FLOAT, _AXES)
            moved = vtk_to_numpy(grid.GetPointData().GetScalars())
        moved[:, axis] = handover.voxels(image).ravel()
        yield
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = np.eye(4)
    directions[:3, :3] = affine[:3, :3] / spacing
    grid.SetSpacing(*map(float, spacing))
    grid.SetOrigin(*map(float, affine[:3, 3]))
    field = slicer.vtkOrientedGridTransform()
    field.SetDisplacementGridData(grid)
    field.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(directions))
    field.SetInterpolationModeToCubic()
    return field
