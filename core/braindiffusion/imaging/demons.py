"""Deformable registration of two brains on one grid."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..telling import Tell, between, silent

_SHRINK = (4, 2, 1)
"""Coarse to fine: by these factors images are shrunk."""
_ROUNDS = 60
"""Of each resolution."""
_STIFFNESS = (1.0, 0.6, 0.5)
"""Width in voxels of each resolution to which a displacement is smoothed after every step."""
_FLUIDITY = 0.5
"""The same of the step itself."""
_SHARES = (0.0, 0.02, 0.13, 1.0)
"""Of the time: each resolution takes some eight times as long as the one before."""
_LONGEST = 2.0
"""Longest step, in voxels of the resolution."""
_BLUR = 0.6
"""Blur before shrinking, in units of the factor, so that nothing aliases."""


def register(
    fixed: np.ndarray,
    moving: np.ndarray,
    tell: Tell = silent,
    finest: int = 1,
    start: np.ndarray | None = None,
    rounds: int = _ROUNDS,
) -> np.ndarray:
    """The displacement field [3, X, Y, Z] by which `moving` looks like `fixed`, both [X, Y, Z] of one
    contrast: voxel p of `fixed` resembles what lies at p + field(p) in `moving`, in voxels along each axis.

    Diffeomorphic demons (Vercauteren 2009): the same images give the same field, on any number of threads
    (as many as `Plan` says, or all). `tell` hears of each iteration, and what it raises ends the search.
    finest: the factor by which images are shrunk at last; 2 takes a tenth of the time and follows no fine
    detail. start: a field [3, X, Y, Z] that is nearly right; it is followed at the finest resolution alone.
    rounds: of the finest resolution, where most of the time goes.
    """
    images = [_image(array) for array in (fixed, moving)]
    fields = [] if start is None else [_vectors(start)]
    for n, (factor, stiffness) in enumerate(zip(_SHRINK, _STIFFNESS)):
        if factor < finest or (start is not None and factor > finest):
            continue
        still, moved = (_shrunk(image, factor) for image in images)
        earlier = [_on(still, field) for field in fields]
        demons = _demons(rounds if factor == finest else _ROUNDS, stiffness * factor, _FLUIDITY * factor)
        # Each resolution takes eight times as long as the one before.
        fields = [
            _followed(demons, [still, moved, *earlier], between(tell, (0, 0.01, 0.1)[n], (0.01, 0.1, 1)[n]))
        ]
    return sitk.GetArrayFromImage(_on(images[0], fields[0])).transpose(3, 2, 1, 0).astype(np.float32)


def _on(image: sitk.Image, field: sitk.Image) -> sitk.Image:
    """`field` on the grid of `image`; beyond its last voxels it goes on as there."""
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(image)
    resampler.SetOutputPixelType(sitk.sitkVectorFloat64)
    resampler.UseNearestNeighborExtrapolatorOn()
    return resampler.Execute(field)


def _image(array: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0), dtype=np.float32))


def _vectors(field: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(
        np.ascontiguousarray(field.transpose(3, 2, 1, 0), np.float64), isVector=True
    )


def _shrunk(image: sitk.Image, factor: int) -> sitk.Image:
    if factor == 1:
        return image
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, factor * _BLUR), [factor] * 3)


def _demons(rounds: int, stiffness: float, fluidity: float) -> sitk.DiffeomorphicDemonsRegistrationFilter:
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetNumberOfIterations(rounds)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(stiffness)
    demons.SetSmoothUpdateField(True)
    demons.SetUpdateFieldStandardDeviations(fluidity)
    demons.SetMaximumUpdateStepLength(_LONGEST)
    demons.SetIntensityDifferenceThreshold(0.0)
    return demons


def _followed(
    demons: sitk.DiffeomorphicDemonsRegistrationFilter, images: list[sitk.Image], tell: Tell
) -> sitk.Image:
    raised: list[BaseException] = []

    def iterated() -> None:
        try:
            tell(min(demons.GetElapsedIterations() / demons.GetNumberOfIterations(), 1.0))
        except BaseException as error:  # ITK would print it and go on; it is raised below
            raised.append(error)
            demons.Abort()

    demons.AddCommand(sitk.sitkIterationEvent, iterated)
    try:
        return demons.Execute(*images)
    except RuntimeError:
        if raised:
            raise raised[0] from None
        raise
    finally:
        demons.RemoveAllCommands()  # it and its command would keep each other alive
