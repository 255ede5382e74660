"""Transforms on disk, as ITK and Slicer read them: a matrix in .tfm, a field of displacements in .nrrd.

In memory a transform says where the tissue that is seen at a place came from, in RAS millimetre, as in ITK:
an image is moved by asking, for each voxel of the new one, where to look in the old. The files are LPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import BrainDiffusionError
from .geometry import LPS_TO_RAS
from .volume import Volume

_TO_LPS = np.array([-1.0, -1.0, 1.0])


def write_matrix(matrix: np.ndarray, path: Path) -> None:
    """Write an affine (4, 4), place to origin in RAS mm. Raises BrainDiffusionError where it is none."""
    import SimpleITK as sitk

    lps = LPS_TO_RAS @ np.asarray(matrix, float) @ LPS_TO_RAS
    if lps.shape != (4, 4) or not np.isfinite(lps).all() or not np.allclose(lps[3], [0, 0, 0, 1]):
        raise BrainDiffusionError("The computed transform is no affine matrix; nothing was written.")
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    sitk.WriteTransform(transform, str(path))


def read_matrix(path: Path) -> np.ndarray:
    """The affine (4, 4) of `write_matrix`; raises RuntimeError where the file holds none."""
    import SimpleITK as sitk

    read = sitk.AffineTransform(sitk.ReadTransform(str(path)))
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(read.GetMatrix(), (3, 3))
    center = np.asarray(read.GetCenter())
    lps[:3, 3] = np.asarray(read.GetTranslation()) + center - lps[:3, :3] @ center
    return LPS_TO_RAS @ lps @ LPS_TO_RAS


def write_displacements(components: Sequence[Volume], path: Path, *, synthetic: bool) -> None:
    """Write how far right, front and up of each voxel its tissue came from: three volumes in mm on one grid.

    Raises BrainDiffusionError for what are not three volumes of numbers on one grid.
    """
    import SimpleITK as sitk

    first = components[0]
    alike = all(
        each.shape == first.shape and np.array_equal(each.affine, first.affine) for each in components
    )
    if len(components) != 3 or not alike or not all(np.isfinite(each.data).all() for each in components):
        raise BrainDiffusionError("The computed transform is no field of displacements; nothing was written.")
    field = np.stack([each.data.T * sign for each, sign in zip(components, _TO_LPS)], -1)
    image = sitk.GetImageFromArray(field.astype(np.float32), isVector=True)
    lps = LPS_TO_RAS @ first.affine
    image.SetSpacing(first.spacing.tolist())
    image.SetDirection((lps[:3, :3] / first.spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetMetaData("Synthetic", str(synthetic).lower())
    sitk.WriteImage(image, str(path), True)


def read_displacements(path: Path) -> list[Volume]:
    """The three volumes of `write_displacements`; raises RuntimeError where the file holds none."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path), sitk.sitkVectorFloat32)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    field = sitk.GetArrayFromImage(image) * _TO_LPS.astype(np.float32)
    return [Volume(field[..., axis].T, LPS_TO_RAS @ affine, {"source": str(path)}) for axis in range(3)]
