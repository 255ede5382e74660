"""The reversible way from the user's grid to the model's grid and back (design.md §1).

Orient, register rigidly to the template, centre the brain, resample to 2 mm, flatten the bias field, scale
intensities by tissue landmarks. Geometry is one matrix and intensity one monotone map, so each has an exact
inverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import Refused
from ..telling import Tell, between, silent
from .align import affine_to_template, rigid_to_template
from .expected import Expected, expected
from .grid import GRID_AFFINE, GRID_CENTRE, GRID_SHAPE, GRID_SPACING, sample, smooth_for, spacing_of
from .intensity import Ground, TissueScale, log_bias_field, tissue_means
from .template import template


@dataclass(frozen=True)
class Placement:
    """Where one brain lies on the model grid.

    shape: of the user's grid. affine: (4, 4) user's voxel -> native RAS mm. rigid: (4, 4) native RAS mm ->
    model RAS mm. to_template: (4, 4) model RAS mm -> template RAS mm, an affine for population maps only.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    rigid: np.ndarray
    to_template: np.ndarray

    @classmethod
    def by_head(cls, shape: tuple[int, int, int], affine: np.ndarray, to_template: np.ndarray) -> Placement:
        """That of a brain in a head that `to_template` (4, 4), native RAS mm -> template RAS mm, aligns: the
        middle of the grid lies in the middle of the template, and nothing is stretched.
        """
        left, _, right = np.linalg.svd(to_template[:3, :3])
        rigid = np.eye(4)
        rigid[:3, :3] = left @ right
        rigid[:3, 3] = GRID_CENTRE - rigid[:3, :3] @ (np.linalg.inv(to_template) @ [*GRID_CENTRE, 1.0])[:3]
        return cls(shape, affine, rigid, to_template @ np.linalg.inv(rigid))

    @property
    def index(self) -> np.ndarray:
        """(4, 4) model voxel index -> user's voxel index."""
        return _index_of(self.affine, self.rigid)

    def to_model(self, array: np.ndarray, order: int = 1) -> np.ndarray:
        """An `array` on the user's grid [X, Y, Z], sampled on the model grid [80, 96, 80]; labels take order
        0.
        """
        smooth = (
            array
            if order == 0
            else smooth_for(np.asarray(array, np.float32), spacing_of(self.affine), GRID_SPACING)
        )
        return sample(smooth, self.index, GRID_SHAPE, order)

    def to_native(self, array: np.ndarray, order: int = 1) -> np.ndarray:
        """An `array` on the model grid [80, 96, 80], sampled on the user's grid [X, Y, Z]; 0 outside the
        field of view.
        """
        return sample(array, np.linalg.inv(self.index), self.shape, order)

    def model_to_native_mm(self, points: np.ndarray) -> np.ndarray:
        """Model voxel indices (N, 3) -> native RAS millimetre (N, 3)."""
        matrix = self.affine @ self.index
        return np.asarray(points) @ matrix[:3, :3].T + matrix[:3, 3]

    def native_mm_to_model(self, points: np.ndarray) -> np.ndarray:
        """Native RAS millimetre (N, 3) -> model voxel indices (N, 3), the inverse of `model_to_native_mm`."""
        matrix = np.linalg.inv(self.affine @ self.index)
        return np.asarray(points) @ matrix[:3, :3].T + matrix[:3, 3]

    @property
    def template_index(self) -> np.ndarray:
        """(4, 4) template grid voxel index -> model voxel index, through the affine: for population maps."""
        return np.linalg.inv(GRID_AFFINE) @ np.linalg.inv(self.to_template) @ GRID_AFFINE


@dataclass(frozen=True)
class Frame(Placement):
    """Where one brain lies on the model grid, and how its intensities map there.

    mask: bool [80, 96, 80], the intracranial space. log_bias: float32 [80, 96, 80]. scale: native
    (bias-corrected) <-> model intensity. image: float32 [80, 96, 80], the brain as the models see it: white
    matter 1, background 0. tissue: mean and SD of CSF, grey and white matter on the native scale, for
    plausibility. ground: what native intensities are lifted by before all of this.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    rigid: np.ndarray
    to_template: np.ndarray
    mask: np.ndarray
    log_bias: np.ndarray
    scale: TissueScale
    image: np.ndarray
    tissue: np.ndarray
    ground: Ground = Ground()

    @classmethod
    def fit(
        cls,
        data: np.ndarray,
        affine: np.ndarray,
        mask: np.ndarray,
        tell: Tell = silent,
    ) -> Frame:
        """Find the frame of `data` [X, Y, Z] with `affine` (4, 4), whose intracranial `mask` [X, Y, Z] is
        known. Registration turns the brain, and its box is centred.

        Raises Refused where it is larger than the model grid. `tell` takes the share that is done.
        """
        data = np.asarray(data, np.float32)
        turned = rigid_to_template(data, mask, affine, between(tell, 0.0, 0.35))
        tell(0.35)
        rigid = _centred(turned, mask, affine)
        tell(0.4)
        index = _index_of(affine, rigid)
        on_grid = (
            sample(smooth_for(mask.astype(np.float32), spacing_of(affine), GRID_SPACING), index, GRID_SHAPE)
            > 0.5
        )
        _check_field_of_view(on_grid)
        tell(0.45)
        native = sample(smooth_for(data, spacing_of(affine), GRID_SPACING), index, GRID_SHAPE) * on_grid
        tell(0.5)
        log_bias = log_bias_field(native, on_grid)
        flat = native * np.exp(-log_bias)
        to_template = affine_to_template(flat, between(tell, 0.65, 0.95))
        tell(0.95)
        tissue = np.array(tissue_means(*_with_priors(flat, on_grid, to_template)))
        scale = TissueScale(float(tissue[0, 1]), float(tissue[0, 2]))
        image = np.clip(scale.to_model(flat), 0, 2) * on_grid
        return cls(data.shape, affine, rigid, to_template, on_grid, log_bias, scale, image, tissue)

    def native_intensity(self, model: np.ndarray, order: int = 1) -> np.ndarray:
        """Model intensities [80, 96, 80] on the user's grid in the scan's own units, the bias field put
        back.
        """
        return self.to_native(self.scanner_intensity(model), order)

    def scanner_intensity(self, model: np.ndarray) -> np.ndarray:
        """Model intensities [80, 96, 80] in the scan's own units, the bias field put back, same grid."""
        return self.scale.to_native(model) * np.exp(self.log_bias) + self.ground.lowest

    @property
    def expected(self) -> Expected:
        """What the training brains show at each voxel of the model grid."""
        return expected(np.linalg.inv(self.template_index))


def _index_of(affine: np.ndarray, rigid: np.ndarray) -> np.ndarray:
    return np.linalg.inv(affine) @ np.linalg.inv(rigid) @ GRID_AFFINE


def _centred(rigid: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """`rigid` with a translation that puts the middle of the brain's box on the middle of the model grid.

    The box leaves out one voxel in a thousand on each side, so that a crumb left by brain extraction does not
    shift it; where the whole brain (the tip of its stem) would then touch a face, it is moved away from it.
    """
    points = np.argwhere(mask) @ (rigid @ affine)[:3, :3].T + (rigid @ affine)[:3, 3]
    low, high = np.percentile(points, [0.1, 99.9], axis=0)
    middle = (low + high) / 2
    room = GRID_SPACING * (np.array(GRID_SHAPE) / 2 - 1) - spacing_of(affine).max() / 2
    least, most = middle - points.min(0) - room, middle - points.max(0) + room
    away = np.where(least > most, (least + most) / 2, np.clip(0, least, most))
    shift = np.eye(4)
    shift[:3, 3] = GRID_CENTRE - middle + away
    return shift @ rigid


def _check_field_of_view(mask: np.ndarray) -> None:
    faces = sum(int(np.take(mask, end, axis).sum()) for axis in range(3) for end in (0, -1))
    if faces > 0.001 * mask.sum():
        raise Refused(
            "The brain is larger than 160 x 192 x 160 mm or the mask includes much that is not brain; "
            "check the voxel spacing in the file and the brain extraction."
        )


def _with_priors(
    flat: np.ndarray, mask: np.ndarray, to_template: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Intensities (N,) inside the mask, and template probabilities (3, N) of CSF, grey and white matter
    there.
    """
    index = np.linalg.inv(GRID_AFFINE) @ to_template @ GRID_AFFINE
    grey, white = (sample(tissue, index, GRID_SHAPE)[mask] for tissue in (template().grey, template().white))
    priors = np.stack([np.clip(1 - grey - white, 0, 1), grey, white]) + 0.05
    return flat[mask], priors / priors.sum(0)
