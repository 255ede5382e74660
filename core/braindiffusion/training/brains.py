"""Real brains for training: each once on a 1 mm copy of the model grid, then drawn at 2 mm with small changes
of pose.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import torch
from torch import Generator, Tensor

from ..imaging.align import affine_to_template
from ..imaging.frame import Frame
from ..imaging.grid import (
    FINE_SHAPE,
    GRID_AFFINE,
    GRID_SHAPE,
    GRID_SPACING,
    TO_GRID,
    sample,
    smooth_for,
    spacing_of,
)
from ..nets.anatomy import mirror
from ..nets.warping import identity_grid, warp
from .fields import (
    chance,
    diffeomorphism,
    log_uniform,
    moved_grid,
    random_linear,
    uniform,
)
from .population import Pose

QUANTUM = 1 / 127
"""Step of the stored intensity: white matter is 127, so that bytes reach twice white matter."""


@dataclass(frozen=True)
class Brain:
    """One scan. fine: uint8 [160, 192, 160] at 1 mm on the model grid's field of view, already blurred for 2
    mm. to_template: (4, 4) model voxel -> template grid voxel, an affine.
    """

    name: str
    age: float
    sex: float
    fine: Tensor
    to_template: Tensor

    @cached_property
    def image(self) -> Tensor:
        """The brain on the model grid as it is, [80, 96, 80]: what a frame would show the models."""
        return self.sample(identity_grid(GRID_SHAPE))

    def sample(self, points: Tensor) -> Tensor:
        """Model intensities at model voxel indices `points` [3, X, Y, Z]."""
        return warp(self.fine[None].float(), 2 * points + 0.5)[0] * QUANTUM


def participants(root: Path, split: str) -> list[dict[str, str]]:
    """Rows of `t1_brains/participants.tsv` whose column `split` says "train" or "val"."""
    with open(root / "t1_brains" / "participants.tsv") as table:
        return [row for row in csv.DictReader(table, delimiter="\t") if row["split"] == split]


def brains(root: Path, split: str, cache: Path) -> list[Brain]:
    """The real brains of `split`, framed once and kept in `cache` (a folder)."""
    cache.mkdir(parents=True, exist_ok=True)
    return [_brain(root, row, cache) for row in participants(root, split)]


def _brain(root: Path, row: dict[str, str], cache: Path) -> Brain:
    name = row["participant_id"]
    file = cache / f"{name}.npy"
    if not file.exists():
        np.save(file, _fine(root / "t1_brains" / f"{name}_T1w_brain.nii.gz"))
    fine = torch.from_numpy(np.load(file))
    brain = Brain(name, float(row["age"]), 1.0 if row["sex"] == "m" else 0.0, fine, torch.eye(4))
    return replace(brain, to_template=_place(brain, cache / f"{name}-place.npy"))


def _place(brain: Brain, file: Path) -> Tensor:
    if not file.exists():
        matrix = affine_to_template(brain.image.numpy())
        np.save(file, np.linalg.inv(GRID_AFFINE) @ matrix @ GRID_AFFINE)
    return torch.from_numpy(np.load(file)).float()


def _fine(path: Path) -> np.ndarray:
    data, frame = framed(path)
    blurred = smooth_for(data, spacing_of(frame.affine), GRID_SPACING)
    inside = sample(frame.mask.astype(np.float32), TO_GRID, FINE_SHAPE) > 0.5
    return in_bytes(on_fine_grid(blurred, frame) * inside)


def framed(path: Path) -> tuple[np.ndarray, Frame]:
    """The voxels [X, Y, Z] of a skull-stripped scan, and its frame."""
    image = nib.load(path)
    data = image.get_fdata(dtype=np.float32)  # type: ignore[attr-defined]
    return data, Frame.fit(data, image.affine, data > 0)  # type: ignore[attr-defined]


def on_fine_grid(data: np.ndarray, frame: Frame, order: int = 1) -> np.ndarray:
    """`data` [X, Y, Z] on the grid of a framed scan, in model intensities on the 1 mm copy of the model grid,
    [160, 192, 160] float32.
    """
    native = sample(data, frame.index @ TO_GRID, FINE_SHAPE, order)
    return np.clip(frame.scale.to_model(native * np.exp(-sample(frame.log_bias, TO_GRID, FINE_SHAPE))), 0, 2)


def in_bytes(image: np.ndarray) -> np.ndarray:
    """Model intensities as uint8, white matter 127."""
    return np.rint(image / QUANTUM).clip(0, 255).astype(np.uint8)


class Moved(NamedTuple):
    """How a copy of a brain is moved. points: [3, X, Y, Z], where its voxels lie in the brain, as model voxel
    indices. matrix: (4, 4) the affine part of that. mirrored: whether the copy is then turned left to right.
    """

    points: Tensor
    matrix: Tensor
    mirrored: bool

    @property
    def growth(self) -> float:
        """Factor of the volumes."""
        return 1 / float(torch.linalg.det(self.matrix[:3, :3]))

    def turned(self, image: Tensor) -> Tensor:
        """`image` [X, Y, Z], mirrored if the copy is."""
        return image.flip(0) if self.mirrored else image


def draw_move(generator: Generator, gentle: bool = False) -> Moved:
    """A slight shift, turn, stretch and bend, mirrored half the time.

    `gentle` leaves all but the mirror out in some draws: what generation should look like.
    """
    points, matrix = identity_grid(GRID_SHAPE), torch.eye(4)
    if not gentle or chance(generator, 0.6):
        linear = random_linear(generator, 3.0, 0.05, 0.02)
        shift = torch.tensor([uniform(generator, -1.5, 1.5) for _ in range(3)])
        bend = diffeomorphism(
            generator, GRID_SHAPE, uniform(generator, 0, 0.8), log_uniform(generator, 16, 40)
        )
        matrix = Pose(linear, shift, bend).matrix(GRID_SHAPE)
        points = moved_grid(matrix, GRID_SHAPE) + bend
    return Moved(points, matrix, chance(generator, 0.5))


class Drawn(NamedTuple):
    """image: [80, 96, 80]. growth: factor of its volumes. to_template: (4, 4) its voxel -> template grid
    voxel.
    """

    image: Tensor
    growth: float
    to_template: Tensor


def draw_brain(generator: Generator, brain: Brain, gentle: bool = False) -> Drawn:
    """A copy of `brain` as `draw_move` moves it."""
    move = draw_move(generator, gentle)
    to_template = brain.to_template @ move.matrix
    if move.mirrored:
        to_template = mirror(GRID_SHAPE) @ to_template @ mirror(GRID_SHAPE)
    return Drawn(move.turned(brain.sample(move.points)), move.growth, to_template)
