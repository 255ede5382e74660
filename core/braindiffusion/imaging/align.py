"""Registration of one masked brain to the template: rigid for the frame, affine for population maps only.

SimpleITK does the search. Inputs and outputs are RAS millimetre; ITK's LPS stays inside this file. One thread
and every voxel: the same scan gives the same transform, bit for bit.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .grid import GRID_AFFINE, GRID_CENTRE, resample, spacing_of, upright
from .template import template

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_COARSE = 4.0
"""Voxel edge in millimetre at which brains are compared; finer changes the pose by less than a tenth of a
degree.
"""
_SHAPE = (48, 56, 52)


def _to_itk(data: np.ndarray, affine: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0), dtype=np.float32))
    lps = _LPS @ affine
    spacing = spacing_of(lps)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _coarse(data: np.ndarray, affine: np.ndarray, centre: np.ndarray) -> sitk.Image:
    small = resample(data, affine, _COARSE, _SHAPE, centre)
    return _to_itk(
        small / max(float(np.percentile(small[small > 0], 99)), 1e-6), upright(_COARSE, _SHAPE, centre)
    )


def _search(fixed: sitk.Image, moving: sitk.Image, start: sitk.Transform, step: float) -> sitk.Transform:
    method = sitk.ImageRegistrationMethod()
    # One thread alone is not enough: the metric is summed over work units in an order of chance.
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        step, 1e-3, 60, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-5
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(fixed, moving)


def _matrix_ras(transform: sitk.Transform) -> np.ndarray:
    """4x4 RAS matrix of a linear ITK transform (LPS, maps fixed points to moving points)."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(axis)) - origin for axis in np.eye(3).tolist()]
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(columns).T
    matrix[:3, 3] = origin
    return _LPS @ matrix @ _LPS


def rigid_to_template(data: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Rigid matrix (4, 4), native RAS mm -> template RAS mm, of a brain `data` [X, Y, Z] inside `mask`.

    Mattes mutual information, so any contrast aligns. Scale is anatomy: there is none.
    """
    centre = (affine @ [*np.argwhere(mask).mean(0), 1.0])[:3]
    moving = _coarse(np.where(mask, data, 0), affine, centre)
    fixed = _coarse(template().t1, GRID_AFFINE, GRID_CENTRE)
    tissue = np.argwhere(template().t1 > 0.2).mean(0)
    start = sitk.Euler3DTransform()
    middle = (GRID_AFFINE @ [*tissue, 1.0])[:3]
    start.SetCenter((_LPS[:3, :3] @ middle).tolist())
    start.SetTranslation((_LPS[:3, :3] @ (centre - middle)).tolist())
    return np.linalg.inv(_matrix_ras(_search(fixed, moving, start, 2.0)))


def affine_to_template(model: np.ndarray) -> np.ndarray:
    """Affine matrix (4, 4), model RAS mm -> template RAS mm, of a brain [80, 96, 80] that lies on the model
    grid.
    """
    moving = _coarse(model, GRID_AFFINE, GRID_CENTRE)
    fixed = _coarse(template().t1, GRID_AFFINE, GRID_CENTRE)
    start = sitk.AffineTransform(3)
    start.SetCenter((_LPS[:3, :3] @ GRID_CENTRE).tolist())
    return np.linalg.inv(_matrix_ras(_search(fixed, moving, start, 1.0)))
