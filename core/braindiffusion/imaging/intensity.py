"""Intensities of a brain: the bias field, and a reversible scale on which grey and white matter have fixed
values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import zoom

GREY, WHITE = 0.70, 1.0
"""Model intensity of the grey and the white matter landmark; background is 0."""


@dataclass(frozen=True)
class TissueScale:
    """Monotone piecewise linear map through (0, 0), (grey, 0.70) and (white, 1.00), extended beyond white
    matter.

    `grey` and `white` are bias-corrected native intensities. For contrasts where grey matter is not darker
    than white matter the map is a plain division by `white`, so that it stays reversible.
    """

    grey: float
    white: float

    @property
    def knots(self) -> tuple[np.ndarray, np.ndarray]:
        if not 0 < self.grey < 0.95 * self.white:
            return np.array([0.0, self.white]), np.array([0.0, WHITE])
        return np.array([0.0, self.grey, self.white]), np.array([0.0, GREY, WHITE])

    def to_model(self, native: np.ndarray) -> np.ndarray:
        """Model intensity (white matter = 1) of bias-corrected native intensity, same shape, float32."""
        return _piecewise(native, *self.knots)

    def to_native(self, model: np.ndarray) -> np.ndarray:
        """Bias-corrected native intensity of model intensity: the exact inverse of `to_model`."""
        return _piecewise(model, *self.knots[::-1])


_CENTRED = 0.05
"""Weight of what is below 0 in a brain whose intensities are centred; resampling leaves less below 0."""


@dataclass(frozen=True)
class Ground:
    """Where the intensities of a stripped brain begin, so that they can be lifted to what frames take.

    background: the value outside the brain. lowest: what becomes 0. Both are 0 for a scan that is lifted
    already.
    """

    background: float = 0.0
    lowest: float = 0.0

    @classmethod
    def of(cls, data: np.ndarray) -> Ground:
        """The ground of `data` [X, Y, Z]: of a brain that is positive on a background of 0 or less it is 0,
        and so it is where no one value fills most of the grid's border.
        """
        faces = [np.moveaxis(data, axis, 0)[end] for axis in range(3) for end in (0, -1)]
        border = np.concatenate([face.ravel() for face in faces])
        # What fills more than half of them is their median.
        background = float(np.partition(border, border.size // 2)[border.size // 2])
        if (border == background).sum() <= 0.5 * border.size:
            return cls()
        brain = data[data != background].astype(np.float64)
        if not brain.size or (background <= 0 and -brain[brain < 0].sum() <= _CENTRED * np.abs(brain).sum()):
            return cls()
        return cls(background, min(background, float(brain.min())))

    def lifted(self, data: np.ndarray) -> np.ndarray:
        """`data` with a background of 0 and a brain that is not negative, same shape."""
        if self == Ground():
            return data
        return np.where(data == self.background, 0, data - self.lowest).astype(np.float32)


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def _piecewise(values: np.ndarray, knots: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Linear interpolation that goes on with the outer slopes on both sides."""
    values = np.asarray(values, np.float32)
    slopes = np.diff(targets) / np.diff(knots)
    below = targets[0] + (values - knots[0]) * slopes[0]
    above = targets[-1] + (values - knots[-1]) * slopes[-1]
    inside = np.interp(values, knots, targets)
    return np.where(values < knots[0], below, np.where(values > knots[-1], above, inside)).astype(np.float32)


def log_bias_field(model: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Smooth logarithm of the bias field of `model` [X, Y, Z] inside `mask`, mean 0 there (N4 at half
    resolution).

    Dividing by its exponential flattens the image. One thread, so that the same scan gives the same field.
    """
    half = tuple(slice(None, None, 2) for _ in range(3))
    image = sitk.GetImageFromArray(np.ascontiguousarray(model[half], np.float32) + 1e-3)
    region = sitk.GetImageFromArray(np.ascontiguousarray(mask[half], np.uint8))
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetNumberOfThreads(1)
    corrector.SetMaximumNumberOfIterations([30, 20])
    corrector.SetConvergenceThreshold(1e-3)
    corrector.Execute(image, region)
    field = sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image))
    full = zoom(
        field, [n / m for n, m in zip(model.shape, field.shape)], order=1, mode="nearest", grid_mode=True
    )
    return (full - full[mask].mean()).astype(np.float32)


_MERGED = 0.5
"""Grey and white matter whose means are closer than this many standard deviations have merged."""


def tissue_means(
    values: np.ndarray, priors: np.ndarray, iterations: int = 30
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means (3,), standard deviations (3,) and shares (3,) of CSF, grey and white matter among `values` (N,).

    Expectation maximisation of a Gaussian mixture whose weights vary in space (unified segmentation,
    Ashburner and Friston 2005): `priors` (3, N) sums to one. A uniform outlier class takes lesions and rims,
    so that they move no landmark. Where ventricles fill much of what is white matter in the template, the
    white class widens until it takes them too and its mean falls on the grey one's; one deviation for all
    three then keeps them apart.
    """
    means, deviations, shares = _mixture(values, priors, iterations, shared=False)
    if abs(means[2] - means[1]) < _MERGED * deviations[1:].mean():
        return _mixture(values, priors, iterations, shared=True)
    return means, deviations, shares


@np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore")
def _mixture(
    values: np.ndarray, priors: np.ndarray, iterations: int, shared: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    spread = float(values.std()) + 1e-6
    means = (priors**4 @ values) / (priors**4).sum(1)
    deviations = np.full(3, spread / 2)
    outlier = 0.02 / (8 * spread)
    for _ in range(iterations):
        distance = (values - means[:, None]) / deviations[:, None]
        likelihood = priors * np.exp(-0.5 * distance**2) / (2.5066 * deviations[:, None])
        posterior = likelihood / (likelihood.sum(0) + outlier)
        weight = posterior.sum(1) + 1e-6
        means = (posterior @ values) / weight
        squares = (posterior * (values - means[:, None]) ** 2).sum(1)
        variance = np.full(3, squares.sum() / weight.sum()) if shared else squares / weight
        deviations = np.sqrt(variance) + 0.01 * spread
    return means, deviations, weight / len(values)
