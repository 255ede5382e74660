"""Volumes in the scene for tests of the module: on every kind of grid, with a bright lesion on the patient's
left.
"""

from __future__ import annotations

from typing import Any

import numpy as np

TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])


def affine(columns: Any, spacing: tuple[float, float, float], middle_voxel: tuple[float, ...]) -> np.ndarray:
    """Voxel to RAS mm, with the middle voxel at the origin."""
    made = np.eye(4)
    made[:3, :3] = np.asarray(columns, float) * spacing
    made[:3, 3] = -made[:3, :3] @ middle_voxel
    return made


_SHAPE = (24, 20, 18)  # i, j, k
_MIDDLE = (12.0, 10.0, 9.0)
GRIDS = {
    "RAS": affine(np.eye(3), (1, 1, 1), _MIDDLE),
    "LPS": affine(np.diag([-1, -1, 1]), (1, 1, 1), _MIDDLE),
    "LIA": affine([[-1, 0, 0], [0, 0, 1], [0, -1, 0]], (1, 1, 1), _MIDDLE),
    "oblique": affine(TURN, (1, 1, 1), _MIDDLE),
    "anisotropic": affine(TURN @ np.diag([1, -1, 1]), (0.9, 1.7, 3.0), _MIDDLE),
    "sheared": affine([[1, 0.2, 0], [0, 1, 0.1], [0, 0, 1]], (1.0, 1.2, 1.5), _MIDDLE),
}


def scan(name: str = "MRHead", grid: np.ndarray | None = None, lesion_on: str = "left") -> Any:
    """A volume node: a box of tissue (100, noise by place) with a bright lesion (200) on one side."""

    grid = GRIDS["RAS"] if grid is None else grid
    i, j, k = np.indices(_SHAPE)
    place = np.einsum("rc,cijk->rijk", grid[:3, :3], np.array([i, j, k])) + grid[:3, 3, None, None, None]
    voxels = np.where((np.abs(place) < 8).all(0), 100 + i, 0)
    middle = np.array([-4 if lesion_on == "left" else 4, 2, 1])[:, None, None, None]
    voxels[(np.abs(place - middle) < 2.1).all(0)] = 200
    return volume(name, np.ascontiguousarray(voxels.T.astype(np.int16)), grid)


def volume(name: str, voxels: np.ndarray, grid: np.ndarray, kind: str = "vtkMRMLScalarVolumeNode") -> Any:
    """A volume node with these voxels [Z, Y, X]."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    slicer.util.updateVolumeFromArray(node, voxels)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(grid))
    node.CreateDefaultDisplayNodes()
    return node


def grid_of(node: Any) -> np.ndarray:
    """Voxel to RAS mm of a volume node, its parent transforms left out."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def bend(shift: tuple[float, float, float] = (3.0, 0.0, 0.0)) -> Any:
    """A grid transform that moves everything by `shift` mm, and the middle a little more."""
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "acquisition transform")
    grid = vtk.vtkImageData()
    grid.SetDimensions(9, 9, 9)
    grid.SetOrigin(-40, -40, -40)
    grid.SetSpacing(10, 10, 10)
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(grid)
    node.SetAndObserveTransformToParent(transform)
    z, y, x = np.mgrid[-4:5, -4:5, -4:5] * 10.0
    bump = np.exp(-(x**2 + y**2 + z**2) / 800)
    moved = slicer.util.arrayFromGridTransform(node)
    for axis in range(3):
        moved[..., axis] = shift[axis] + (1.5 * bump if axis == 1 else 0)
    slicer.util.arrayFromGridTransformModified(node)
    return node


def turn(degrees: float = 30.0, shift: tuple[float, float, float] = (5.0, -2.0, 1.0)) -> Any:
    """A linear transform: a turn about the axis to the head, and a shift."""
    import slicer

    matrix = np.eye(4)
    angle = np.radians(degrees)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = shift
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turn")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node
