"""Registration to the template: of one masked brain, rigid for the frame and affine for population maps only,
and of a whole head, to find its brain.

SimpleITK does the search. Inputs and outputs are RAS millimetre; ITK's LPS stays inside this file. One thread
and every voxel: the same scan gives the same transform, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import SimpleITK as sitk

from ..errors import Refused
from ..paths import resources
from ..telling import Tell, between, silent
from .grid import GRID_AFFINE, GRID_CENTRE, resample, spacing_of, upright
from .template import template

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_COARSE = 4.0
"""Voxel edge in millimetre at which brains are compared; finer changes the pose by less than a tenth of a
degree.
"""
_SHAPE = (48, 56, 52)
_SHRINK = [2, 1]
_ITERATIONS = 60
"""At most, at each resolution."""
HEAD_FILE, HEAD_SHAPE = "head_4mm.npz", (52, 64, 60)
HEAD_AFFINE = upright(_COARSE, HEAD_SHAPE, GRID_CENTRE + [0, 0, -8])
"""Grid of the head template: voxel -> template RAS mm."""
_PITCHES = (0.0, 0.3, -0.3)
"""Nods of the head, in radians, from which its alignment is sought."""
_NODDING = 0.2
"""Share of the time that they take."""
_UPPER = 130.0
"""Millimetre below the top of a head in which it is about as wide as its brain; necks vary."""


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


def _search(
    fixed: sitk.Image,
    moving: sitk.Image,
    start: sitk.Transform,
    step: float,
    tell: Tell = silent,
    shrink: Sequence[int] = _SHRINK,
) -> sitk.Transform:
    """The transform that aligns best, sought on images shrunk by each factor in turn. `tell` hears of each
    iteration, and what it raises ends the search.
    """
    method = _mutual_information()
    method.SetOptimizerAsRegularStepGradientDescent(
        step, 1e-3, _ITERATIONS, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-5
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([_COARSE * (factor - 1) for factor in shrink])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=False)
    raised: list[BaseException] = []

    def iterated() -> None:
        try:
            tell((method.GetCurrentLevel() + method.GetOptimizerIteration() / _ITERATIONS) / len(shrink))
        except BaseException as error:  # ITK would print it and go on; it is raised below
            raised.append(error)
            method.StopRegistration()  # of this resolution; the next one ends at its first iteration

    method.AddCommand(sitk.sitkIterationEvent, iterated)
    found = method.Execute(fixed, moving)
    method.RemoveAllCommands()  # it and its command would keep each other alive
    if raised:
        raise raised[0]
    return found


@lru_cache(maxsize=1)
def _head() -> np.ndarray:
    with np.load(resources() / "template" / HEAD_FILE) as file:
        head = file["t1"].astype(np.float32) / 255
    head.setflags(write=False)
    return head


def _upper_middle(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """RAS mm of the middle of a head's upper part, of `data` on an upright grid."""
    lit = data > 0.2 * np.percentile(data[data > 0], 98)
    heights = np.flatnonzero(lit.sum((0, 1)) * spacing_of(affine)[0] ** 2 > 2000)
    top = int(heights.max()) if len(heights) else data.shape[2] - 1
    part = lit.copy()
    part[:, :, top + 1 :] = part[:, :, : max(0, top - round(_UPPER / spacing_of(affine)[2]))] = False
    return (affine @ [*np.argwhere(part).mean(0), 1.0])[:3]


def head_to_template(data: np.ndarray, affine: np.ndarray, tell: Tell = silent) -> np.ndarray:
    """Affine matrix (4, 4), native RAS mm -> template RAS mm, of a head `data` [X, Y, Z] with its skull.

    Mutual information aligns it rigidly, coarsely from three nods of the head; the best goes on finer, and
    then to an affine. Raises Refused where the image is empty at the resolution of the search.
    """
    corners = np.array(np.meshgrid(*((0, n - 1) for n in data.shape), indexing="ij")).reshape(3, -1)
    points = affine[:3, :3] @ corners + affine[:3, 3:]
    shape = tuple(int(n) for n in np.clip(np.ceil(np.ptp(points, axis=1) / _COARSE) + 1, 16, 96))
    middle = points.mean(1)
    small = resample(np.asarray(data), affine, _COARSE, shape, middle).clip(0)  # type: ignore[arg-type]
    if not small.any():
        raise Refused("No brain was found in this image; check that it is a head or brain scan.")
    grid = upright(_COARSE, shape, middle)  # type: ignore[arg-type]
    moving = _to_itk(np.clip(small / max(float(np.percentile(small[small > 0], 99)), 1e-6), 0, 1), grid)
    fixed = _to_itk(_head(), HEAD_AFFINE)
    to, start_at = _upper_middle(small, grid), _upper_middle(_head(), HEAD_AFFINE)
    found = []
    for number, pitch in enumerate(_PITCHES):
        start = sitk.Euler3DTransform()
        start.SetCenter((_LPS[:3, :3] @ start_at).tolist())
        start.SetTranslation((_LPS[:3, :3] @ (to - start_at)).tolist())
        start.SetRotation(pitch, 0.0, 0.0)
        share = _NODDING / len(_PITCHES)
        told = between(tell, number * share, (number + 1) * share)
        found.append(_search(fixed, moving, start, 4.0, told, _SHRINK[:1]))
    best = min(found, key=lambda transform: _dissimilarity(fixed, moving, transform))
    middle = _LPS[:3, :3] @ start_at
    turned = _linear(sitk.Euler3DTransform(), best, middle)
    rigid = _search(fixed, moving, turned, 2.0, between(tell, _NODDING, 0.6), _SHRINK[1:])
    full = _linear(sitk.AffineTransform(3), rigid, middle)
    return np.linalg.inv(_matrix_ras(_search(fixed, moving, full, 2.0, between(tell, 0.6, 1.0))))


def _linear(
    empty: sitk.Euler3DTransform | sitk.AffineTransform, like: sitk.Transform, centre: np.ndarray
) -> sitk.Transform:
    """`empty`, made to do what the rigid transform `like` does, about `centre` (LPS mm)."""
    matrix = _LPS @ _matrix_ras(like) @ _LPS
    empty.SetCenter(centre.tolist())
    empty.SetMatrix(matrix[:3, :3].ravel().tolist())
    empty.SetTranslation((matrix[:3, :3] @ centre + matrix[:3, 3] - centre).tolist())
    return empty


def _dissimilarity(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform) -> float:
    method = _mutual_information()
    method.SetInitialTransform(transform)
    return float(method.MetricEvaluate(fixed, moving))


def _mutual_information() -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    # One thread alone is not enough: the metric is summed over work units in an order of chance.
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _matrix_ras(transform: sitk.Transform) -> np.ndarray:
    """4x4 RAS matrix of a linear ITK transform (LPS, maps fixed points to moving points)."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(axis)) - origin for axis in np.eye(3).tolist()]
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(columns).T
    matrix[:3, 3] = origin
    return _LPS @ matrix @ _LPS


def rigid_to_template(
    data: np.ndarray, mask: np.ndarray, affine: np.ndarray, tell: Tell = silent
) -> np.ndarray:
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
    return np.linalg.inv(_matrix_ras(_search(fixed, moving, start, 2.0, tell)))


def affine_to_template(model: np.ndarray, tell: Tell = silent) -> np.ndarray:
    """Affine matrix (4, 4), model RAS mm -> template RAS mm, of a brain [80, 96, 80] that lies on the model
    grid.
    """
    moving = _coarse(model, GRID_AFFINE, GRID_CENTRE)
    fixed = _coarse(template().t1, GRID_AFFINE, GRID_CENTRE)
    start = sitk.AffineTransform(3)
    start.SetCenter((_LPS[:3, :3] @ GRID_CENTRE).tolist())
    return np.linalg.inv(_matrix_ras(_search(fixed, moving, start, 1.0, tell)))
