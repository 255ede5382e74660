"""The population: synthetic images of any contrast from label maps, drawn on the fly (SynthSeg's idea, Billot
et al. 2023).

Labels are deformed, every class gets a random intensity and texture, then bias field, blur, resolution,
noise, and a left-right flip with the labels swapped. Intensities leave as 0..1 (any contrast) or on the model
scale (T1-like).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from ..anatomy import MIRROR, from_freesurfer
from ..imaging.grid import GRID_SHAPE, GRID_SPACING
from ..imaging.intensity import GREY, WHITE
from ..nets.anatomy import mirror, normalise
from ..nets.warping import identity_grid, warp
from .fields import (
    chance,
    diffeomorphism,
    exponential,
    gaussian_blur,
    log_uniform,
    random_linear,
    smooth_field,
    uniform,
)
from .lesions import blob, paint

EXTRACEREBRAL = 500
SPINAL_CSF = 501
"""The maps call the fluid of the spinal canal 24 like that of the skull; below the brain it gets this number
of its own.
"""
_CLASSES = 25


@dataclass(frozen=True)
class Subject:
    """One label map.

    labels: uint8 [X, Y, Z], positions in `codes`. codes: FreeSurfer number of each. index: (4, 4) model voxel
    -> voxel of `labels`. to_template: (4, 4) model voxel -> template grid voxel. atlas: probabilities
    [structures, 40, 48, 40] from the other label maps, or None.
    """

    labels: Tensor
    codes: np.ndarray
    index: Tensor
    to_template: Tensor = field(default_factory=lambda: torch.eye(4))
    atlas: Tensor | None = None


class Pose(NamedTuple):
    """A linear change (3, 3) about the middle of the grid, a shift (3,) in voxels, and a bend [3, X, Y, Z] in
    voxels.
    """

    linear: Tensor
    shift: Tensor
    bend: Tensor

    def matrix(self, shape: tuple[int, int, int]) -> Tensor:
        """(4, 4) voxel of a grid of `shape` -> model voxel, without the bend; both grids share their
        middle.
        """
        matrix = torch.eye(4)
        matrix[:3, :3] = self.linear
        matrix[:3, 3] = _middle(GRID_SHAPE) + self.shift - self.linear @ _middle(shape)
        return matrix


def _middle(shape: tuple[int, int, int]) -> Tensor:
    return (torch.tensor(shape, dtype=torch.float32) - 1) / 2


@lru_cache(maxsize=1)
def t1_priors(root: Path) -> tuple[dict[int, int], np.ndarray, np.ndarray]:
    """Tissue class of each FreeSurfer number, and mean and SD of T1 intensity per class (White matter is
    160).
    """
    numbers = np.load(root / "priors" / "generation_labels.npy")
    classes = np.load(root / "priors" / "generation_classes_contrast_specific.npy")
    means, deviations = (np.load(root / "priors" / f"prior_{kind}_t1.npy")[0] for kind in ("means", "stds"))
    return dict(zip(numbers.tolist(), classes.tolist())) | {SPINAL_CSF: 1}, means, deviations


def draw_pose(generator: Generator, shape: tuple[int, int, int], limits: dict[str, float]) -> Pose:
    """limits: `degrees`, `scale`, `shear`, `shift` (mm) of the linear part and `bend` (mm) of the smooth
    part.
    """
    linear = random_linear(generator, limits["degrees"], limits["scale"], limits["shear"])
    shift = [uniform(generator, -limits["shift"], limits["shift"]) / GRID_SPACING for _ in range(3)]
    amplitude = uniform(generator, 0.2, 1.0) * limits["bend"] / GRID_SPACING
    bend = diffeomorphism(generator, shape, amplitude, log_uniform(generator, 20, 50))
    return Pose(linear, torch.tensor(shift), bend)


def posed_labels(subject: Subject, shape: tuple[int, int, int], pose: Pose) -> tuple[Tensor, Tensor]:
    """The subject's labels in a pose: at 1 mm [2X, 2Y, 2Z] for painting, and at 2 mm [X, Y, Z] as truth."""
    matrix = subject.index @ pose.matrix(shape)
    sides = subject.labels.shape

    def labels_at(points: Tensor, displacement: Tensor) -> Tensor:
        flat = (points + displacement).reshape(3, -1)
        voxel = torch.addmm(matrix[:3, 3:], matrix[:3, :3], flat).round_()
        for axis, side in enumerate(sides):
            voxel[axis].clamp_(0, side - 1)
        # Exact in float32: an index stays below 2**24. The map's border is background, so clamping finds
        # background.
        row = (voxel[0] * sides[1] + voxel[1]).to(torch.int32) * sides[2] + voxel[2].to(torch.int32)
        return subject.labels.flatten()[row.long()].view(points.shape[1:])

    fine = tuple(2 * n for n in shape)
    fine_bend = functional.interpolate(pose.bend[None], size=fine, mode="trilinear", align_corners=False)[0]
    return labels_at(identity_grid(fine) / 2 - 0.25, fine_bend), labels_at(identity_grid(shape), pose.bend)


_WIDENING = (4, 5, 14, 43, 44)
"""FreeSurfer's lateral and third ventricles."""


def widened(subject: Subject, shape: tuple[int, int, int], pose: Pose, amount_mm: float) -> Pose:
    """The pose with ventricles whose walls have moved outwards by up to `amount_mm`, as in old age.

    Tissue flows along the gradient of the blurred ventricles, so nothing tears or folds.
    """
    ventricles = torch.from_numpy(np.isin(subject.codes, _WIDENING))[
        posed_labels(subject, shape, pose)[1].long()
    ]
    coarse = functional.avg_pool3d(ventricles.float()[None, None], 2)[0]
    slope = torch.stack(torch.gradient(gaussian_blur(coarse, 1.5)[0]))
    velocity = slope / slope.norm(dim=0).max().clamp(min=1e-6) * amount_mm / (2 * GRID_SPACING)
    flow = functional.interpolate(exponential(velocity)[None], size=shape, mode="trilinear")[0] * 2
    return pose._replace(bend=flow + warp(pose.bend, identity_grid(shape) + flow, outside="border"))


def draw_labels(
    generator: Generator, subject: Subject, shape: tuple[int, int, int], limits: dict[str, float]
) -> tuple[Tensor, Tensor]:
    """A deformed copy of the subject's labels, as `posed_labels` gives them."""
    return posed_labels(subject, shape, draw_pose(generator, shape, limits))


def paint_labels(generator: Generator, fine: Tensor, means: Tensor, deviations: Tensor) -> Tensor:
    """Image [X, Y, Z] at 2 mm from 1 mm labels [2X, 2Y, 2Z]: class means, within-class texture, partial
    volume.
    """
    index = fine.long()
    texture = torch.randn(fine.shape, generator=generator)
    image = means[index] + deviations[index] * texture
    image = functional.avg_pool3d(image[None, None], 2)[0, 0]
    coarse_texture = smooth_field(generator, image.shape, log_uniform(generator, 2, 10))[0]
    spread = functional.avg_pool3d(deviations[index][None, None], 2)[0, 0]
    return image + 0.4 * spread * coarse_texture


def degrade(
    generator: Generator, image: Tensor, bias: float, blur: float, noise: float, slices: float
) -> Tensor:
    """Bias field (log amplitude `bias`), blur (sigma up to `blur` voxels), thick slices (`slices` chance),
    noise SD up to `noise`.
    """
    image = image * torch.exp(
        uniform(generator, 0, bias) * smooth_field(generator, image.shape, log_uniform(generator, 25, 80))[0]
    )
    if chance(generator, 0.7):
        image = gaussian_blur(image[None], uniform(generator, 0, blur))[0]
    if chance(generator, slices):
        axis, thickness = int(torch.randint(3, (), generator=generator)), uniform(generator, 1.2, 3.0)
        image = gaussian_blur(image[None], tuple(0.4 * thickness * (i == axis) for i in range(3)))[0]  # type: ignore[arg-type]
        sides = [round(n / thickness) if i == axis else n for i, n in enumerate(image.shape)]
        small = functional.interpolate(image[None, None], size=sides, mode="trilinear", align_corners=False)
        image = functional.interpolate(small, size=image.shape, mode="trilinear", align_corners=False)[0, 0]
    sigma = uniform(generator, 0, noise)
    return image + sigma * torch.randn(image.shape, generator=generator)


def random_contrast(
    generator: Generator, codes: np.ndarray, classes: dict[int, int]
) -> tuple[Tensor, Tensor]:
    """Mean and SD (n,) of every label value: classes share one draw, so symmetric structures look alike."""
    means = torch.rand(_CLASSES, generator=generator) * 0.9 + 0.05
    deviations = torch.rand(_CLASSES, generator=generator) * 0.1
    if chance(generator, 0.5):
        means[0], deviations[0] = 0.0, 0.01
    rows = torch.tensor([classes.get(int(code), 0) for code in codes])
    return means[rows], deviations[rows]


def t1_contrast(generator: Generator, codes: np.ndarray, root: Path) -> tuple[Tensor, Tensor]:
    """Mean and SD (n,) of every label value for a T1-like image on the model scale (grey 0.70, white
    1.00).
    """
    classes, means, deviations = t1_priors(root)
    rows = [classes.get(int(code), 0) for code in codes]
    grey, white = means[3], means[2]
    scaled = np.interp(means[rows], [0, means[1], grey, white, 2 * white], [0, 0.3, GREY, WHITE, 2 * WHITE])
    jitter = 1 + 0.04 * torch.randn(_CLASSES, generator=generator)[torch.tensor(rows)]
    return torch.from_numpy(scaled).float() * jitter, torch.from_numpy(deviations[rows] / white).float() * 0.7


def strip(generator: Generator, fine: Tensor, codes: np.ndarray, keep_csf: bool) -> Tensor:
    """1 mm labels without what lies outside the brain; without outer CSF too unless `keep_csf`."""
    outside = codes >= EXTRACEREBRAL
    if not keep_csf:
        outside = outside | (codes == 24)
    return torch.where(torch.from_numpy(outside)[fine.long()], 0, fine)


ANYWHERE = {"degrees": 20.0, "scale": 0.15, "shear": 0.1, "shift": 12.0, "bend": 3.0}
ALIGNED = {"degrees": 4.0, "scale": 0.06, "shear": 0.03, "shift": 3.0, "bend": 3.0}
_MISPLACED = {"degrees": 2.0, "scale": 0.02, "shear": 0.01, "shift": 2.0}


def place(generator: Generator, subject: Subject, pose: Pose, shape: tuple[int, int, int]) -> Tensor:
    """(4, 4) voxel -> template grid voxel of a posed subject, as a registration with small errors would find
    it.
    """
    return subject.to_template @ slip(generator, _MISPLACED) @ pose.matrix(shape)


def slip(generator: Generator, limits: dict[str, float]) -> Tensor:
    """(4, 4) model voxel -> model voxel: what a registration is off by, up to `degrees`, `scale`, `shear` and
    `shift` (mm).
    """
    error = random_linear(generator, limits["degrees"], limits["scale"], limits["shear"])
    shift = [uniform(generator, -limits["shift"], limits["shift"]) / GRID_SPACING for _ in range(3)]
    return Pose(error, torch.tensor(shift), torch.empty(0)).matrix(GRID_SHAPE)


def anatomy_pair(
    generator: Generator, subject: Subject, shape: tuple[int, int, int], root: Path, aligned: bool = False
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Image [1, X, Y, Z] in 0..1 of random contrast, its truth [X, Y, Z] (indices of `anatomy.STRUCTURES`),
    and, where it is `aligned`, where it lies: (4, 4) voxel -> template grid voxel.
    """
    pose = draw_pose(generator, shape, ALIGNED if aligned else ANYWHERE)
    if chance(generator, 0.4):
        pose = widened(subject, shape, pose, uniform(generator, 2.0, 14.0))
    fine, truth = posed_labels(subject, shape, pose)
    target = torch.from_numpy(from_freesurfer(subject.codes))[truth.long()]
    if chance(generator, 0.45):
        keep_csf = chance(generator, 0.75)
        fine = strip(generator, fine, subject.codes, keep_csf)
        if not keep_csf:
            target = torch.where(torch.from_numpy(subject.codes == 24)[truth.long()], 0, target)
    t1_like = chance(generator, 0.8)
    classes, _, _ = t1_priors(root)
    contrast = (
        t1_contrast(generator, subject.codes, root)
        if t1_like
        else random_contrast(generator, subject.codes, classes)
    )
    image = paint_labels(generator, fine, *contrast)
    stripped = functional.avg_pool3d((fine > 0).float()[None, None], 2)[0, 0] > 0.3
    if chance(generator, 0.25):
        lump = blob(generator, target > 0, log_uniform(generator, 0.2, 40))
        image, _ = paint(generator, image, lump)
    image = degrade(generator, image, 0.35, 1.0, 0.08, 0.3)
    if not bool((fine > 0).any()) or float(stripped.float().mean()) < 0.33:
        image = image * stripped
    image = normalise(image) ** uniform(generator, 0.7, 1.4)
    where = place(generator, subject, pose, shape) if aligned else None
    if chance(generator, 0.5):
        image, target = image.flip(0), torch.from_numpy(MIRROR)[target.long()].flip(0)
        where = mirror(GRID_SHAPE) @ where @ mirror(shape) if where is not None else None
    return image[None], target.to(torch.uint8), where
