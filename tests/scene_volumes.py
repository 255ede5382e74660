"""Volumes for tests of the window: voxels [X, Y, Z] and affines to and from nodes of the scene."""

from __future__ import annotations

from typing import Any

import numpy as np

import scan_files

ORIENTATIONS = {
    "RAS": ((0, 1, 2), (1, 1, 1)),
    "LPS": ((0, 1, 2), (-1, -1, 1)),
    "sagittal PSL": ((1, 2, 0), (-1, 1, -1)),
    "coronal RIP": ((0, 2, 1), (1, -1, -1)),
}
"""Arguments axes and signs of scan_files.oblique; the last grid is left-handed."""


def add_volume(
    data: np.ndarray | None = None,
    affine: np.ndarray | None = None,
    name: str = "head",
    kind: str = "Scalar",
) -> Any:
    """A volume node in the scene; by default the head of scan_files on an oblique grid."""
    import slicer

    data = scan_files.head() if data is None else data
    affine = scan_files.oblique() if affine is None else affine
    return slicer.util.addVolumeFromArray(data.T, affine, name, f"vtkMRML{kind}VolumeNode")


def affine_of(node: Any) -> np.ndarray:
    """(4, 4) voxel index -> RAS mm."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def voxels_of(node: Any) -> np.ndarray:
    import slicer

    return slicer.util.arrayFromVolume(node).T


def assert_same_image(voxels: np.ndarray, affine: np.ndarray, data: np.ndarray, expected: np.ndarray) -> None:
    """The same value at the same place in the patient, for every voxel.

    Slicer's reader turns the last axis of a left-handed grid round, so the order of slices may differ.
    """
    if np.linalg.det(expected) < 0:
        turn = np.diag([1.0, 1.0, -1.0, 1.0])
        turn[2, 3] = data.shape[2] - 1
        data, expected = data[:, :, ::-1], expected @ turn
    assert np.array_equal(voxels, data)
    corners = np.array([[x, y, z, 1] for x in (0, 23) for y in (0, 27) for z in (0, 19)])
    assert np.abs(corners @ (affine - expected).T).max() < 1e-4
