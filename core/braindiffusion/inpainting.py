"""Plausible healthy tissue in a marked region of a scan (methods.md B2.1, B2.3, B2.4, C5).

`inpaint` works on the model grid, [80, 96, 80] with white matter 1, and is a generator of progress like the
solvers; `put_in` brings what it gives to the scan's own voxels. What the scan shows in the region is never
looked at: before anything else does, `unseen` replaces it by the smooth continuation of its surroundings, so
that it shifts neither the alignment nor the bias field nor the intensities' landmarks.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

from .diffusion.cond import Cond
from .diffusion.guide import posterior
from .diffusion.noise import NoiseStream, gaussian
from .diffusion.path import NoisePath
from .diffusion.resample import resample
from .diffusion.solve import Step, dpmpp2m, q_sample
from .errors import Refused
from .generating import template_of
from .healing import GUIDED_START, Denoise, Partway, conditions
from .imaging.expected import Expected, population
from .imaging.frame import Frame
from .imaging.grid import GRID_SHAPE, sample, sample_at
from .imaging.intensity import Ground
from .imaging.membrane import Membrane, box_around, steepness
from .imaging.volume import Volume
from .models.loading import Model
from .nets.deformable import FILE, DeformableTemplate
from .nets.prior import CONTEXT, context_of
from .nets.warping import mirrored
from .segment import is_stripped, stripped_mask
from .telling import Tell, between, silent

Method = Literal["guided", "resample", "posterior"]
Box = tuple[slice, ...]

PART = (64, 80, 64)
"""Voxels of the part of a brain that most steps of training saw (`training.prior.PART`): a hole that fits
into one, with `_MARGIN` around it, is filled in half the time.
"""
_MARGIN = 4
LARGEST_ML = 120.0
"""The largest hole of training."""
_MOST_ML, _MOST_SHARE = 600.0, 0.5
"""A mask that covers more, or more of the brain, leaves too little to go by."""
RIM = 1
"""Model voxels around the region that are filled too: what is made of known tissue there tells how far the
filling is off, and the join with the scan corrects it.
"""
_DEEP = 3.0
"""Voxels from a hole's border at which its surroundings alone say no more how it is shaped."""
_ROUNDS = 20
"""Of each of the two fits of the template about a hole, of which the second goes on from the first."""
_STRAYS = 1.5
"""Factor of the shapes that are drawn for a hole: the larger, the oftener the truth lies among the fillings;
twice as far they tear.
"""
_TOUCHED = 0.05
"""Share of a model voxel in the region from which on its value is not to be trusted."""
SHAPED_START = 0.5
"""sigma at which filling begins where the shape is known."""
SCAN_NOISE = 0.03
"""Standard deviation of what the posterior method takes the known voxels' noise to be; white matter is 1."""
_NEAR_VOXELS = 6
"""How far around the region its surroundings' steepness is measured."""


def unseen(scan: Volume, region: np.ndarray) -> tuple[Volume, np.ndarray | None]:
    """The scan with the region's voxels replaced by the smooth continuation of what lies around them, and the
    brain of a stripped scan, bool [X, Y, Z] (None for a head).

    Inside the region a stripped brain is what is not background there; where most of it was cut out, what
    its outline encloses. Raises Refused where the region is most of a brain.
    """
    volume_ml = float(region.sum()) * scan.voxel_ml
    if volume_ml > _MOST_ML:
        raise _too_much(f"{volume_ml:.0f} ml")
    data, spacing = np.array(scan.data, np.float32), scan.spacing
    brain, source = None, region
    if is_stripped(scan):
        brain = stripped_mask(scan)
        if not brain[region].all():
            brain |= _cut_out(brain, region, spacing)
        source = region & brain
        data[region] = Ground.of(data).background
    if source.any():
        known = ~region if brain is None else brain & ~region
        data[source] = Membrane(source, known, spacing)(data)
    return scan.with_data(data), brain


def _cut_out(brain: np.ndarray, region: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """What the outline of `brain` encloses in the region, bool [X, Y, Z], if most of that is missing."""
    enclosed = np.zeros(region.shape, bool)
    enclosed[region] = Membrane(region, ~region, spacing)(brain.astype(np.float32)) > 0.5
    missing = enclosed & ~brain
    return enclosed & (2 * missing.sum() > enclosed.sum())


def hole_in(frame: Frame, region: np.ndarray, rim: int = RIM) -> np.ndarray:
    """The voxels of the model grid that the region touches inside the brain, and `rim` voxels around them,
    bool [80, 96, 80].

    Raises Refused where there are none, and where they are most of the brain.
    """
    hole = frame.to_model(region.astype(np.float32)) > _TOUCHED
    to_model = np.linalg.inv(frame.index)
    # A region of a few small voxels would be lost between the large ones.
    nearest = np.rint(np.argwhere(region) @ to_model[:3, :3].T + to_model[:3, 3]).astype(int)
    on_grid = ((nearest >= 0) & (nearest < GRID_SHAPE)).all(1)
    hole[tuple(nearest[on_grid].T)] = True
    hole &= frame.mask
    if not hole.any():
        raise Refused("The mask lies outside the brain; mark a region in the brain.")
    hole = binary_dilation(hole, iterations=rim) & frame.mask if rim else hole
    share = float(hole.sum() / frame.mask.sum())
    if share > _MOST_SHARE:
        raise _too_much(f"{share:.0%} of the brain")
    return hole


def _too_much(amount: str) -> Refused:
    return Refused(
        f"The mask covers {amount}, which leaves too little of the brain to tell what belongs there; "
        "mark a smaller region."
    )


def part_around(hole: np.ndarray) -> Box:
    """The part of the grid to compute for a `hole` (bool [80, 96, 80]): along each axis as much as PART where
    that is enough, else all.
    """
    part = []
    for side, size, whole in zip(box_around(hole, _MARGIN), PART, hole.shape):
        size = size if side.stop - side.start <= size else whole
        first = min(max(0, (side.start + side.stop - size) // 2), whole - size)
        part.append(slice(first, first + size))
    return tuple(part)


@dataclass(frozen=True)
class _Shown:
    """What is known of one brain in the part that is computed, [1, 1, x, y, z] each: the image, 0 in the
    hole; the hole, 0 or 1; what to expect in the hole; context [1, 3, x, y, z] of a guide, and
    [N, 3, x, y, z] of none for each sample.
    """

    known: torch.Tensor
    hole: torch.Tensor
    mean: torch.Tensor
    told: torch.Tensor
    untold: torch.Tensor

    @classmethod
    def of(
        cls, image: np.ndarray, hole: np.ndarray, around: Expected, shapes: Sequence[np.ndarray], part: Box
    ) -> _Shown:
        """As training shows a hole (`training.prior`): the context is the whole brain's, and cut with it.
        `shapes` are what is expected of each sample without a guide.
        """
        gap = as_tensor(hole)
        guide = as_tensor(image) * (1 - gap)
        mean, deviation = map(as_tensor, around)
        untold = torch.zeros(len(shapes), CONTEXT, *hole.shape)
        untold[:, 0] = torch.from_numpy(np.stack(shapes).astype(np.float32))
        whole = (guide, gap, mean, context_of(guide, gap, mean, deviation), untold)
        return cls(*(array[(slice(None), slice(None), *part)].contiguous() for array in whole))

    def steps(
        self, method: Method, denoise: Denoise, path: NoisePath, cond: Cond, seeds: Sequence[int],
        first: int, steps: int, repeats: int, start: float,
    ) -> Iterator[Step]:  # fmt: skip
        """The solver's steps for one sample per seed, of which the first is number `first` of all; they begin
        at sigma `start`, about the mean.
        """
        count = len(seeds)
        known, hole, mean, told = (
            each.to(cond.real.device).expand(count, -1, -1, -1, -1)
            for each in (self.known, self.hole, self.mean, self.told)
        )
        untold = self.untold[first : first + count].to(cond.real.device)
        nodes = path.karras(steps, start=path.at_ratio(start))
        mean = mean if method == "guided" else untold[:, :1]
        noise = gaussian(tuple(known.shape[1:]), seeds).to(known)
        x = q_sample(torch.where(hole > 0.5, mean, known), noise, nodes[0])
        if method == "guided":
            return dpmpp2m(denoise, x, nodes, cond.with_guide(known, hole, told))
        cond = replace(cond, context=untold)
        if method == "resample":
            stream = NoiseStream(tuple(seeds))
            return resample(denoise, x, nodes, cond, known=known, hole=hole, noise=stream, repeats=repeats)
        return dpmpp2m(posterior(denoise, lambda x0: x0 * (1 - hole), known, SCAN_NOISE), x, nodes, cond)


def inpaint(
    model: Model,
    image: np.ndarray,
    hole: np.ndarray,
    seeds: Sequence[int],
    steps: int = 3,
    values: dict[str, Any] | None = None,
    *,
    around: Expected,
    shapes: Sequence[np.ndarray] | None = None,
    method: Method = "guided",
    repeats: int = 4,
    device: str = "cpu",
    precision: str = "fp32",
    batch: int = 0,
) -> Generator[Partway, None, np.ndarray]:
    """Yields how far it is after each step, and returns one filling per seed, [N, 80, 96, 80]: `image`
    [80, 96, 80] outside `hole` (bool, of that shape).

    around: `Frame.expected` of the brain. shapes: `shapes_of` the brain, [80, 96, 80] for each
    seed, where the model draws around them: sampling then begins where noise hides no more than detail.

    method: "guided", the network that has learnt to fill holes is shown the image without the hole;
    "resample", the unconditional prior hears of the known voxels at each step, which is made `repeats` times;
    "posterior", the known voxels are a measurement that pulls the unconditional prior. Samples are computed
    `batch` at a time (0: all); their noise belongs to their seed.
    """
    denoise = model.denoiser(device, precision)
    part = part_around(hole)
    typical = [population().typical] * len(seeds)
    shown = _Shown.of(image, hole, around, typical if shapes is None else shapes, part)
    start = GUIDED_START if shapes is None else SHAPED_START
    chunk = batch or len(seeds)
    groups = [seeds[i : i + chunk] for i in range(0, len(seeds), chunk)]
    filled: list[np.ndarray] = []
    for number, some in enumerate(groups):
        cond = conditions(model, values or {}, len(some)).to(device)
        for step in shown.steps(
            method, denoise, model.path, cond, some, number * chunk, steps, repeats, start
        ):
            x0 = torch.from_numpy(put_back(step.x0, image, hole, part))[:, None]
            yield Partway((number + step.i / step.n) / len(groups), tuple(filled), x0)
        filled.append(put_back(step.x, image, hole, part))
    return np.concatenate(filled)


def shapes_of(
    model: Model, image: np.ndarray, hole: np.ndarray, seeds: Sequence[int], tell: Tell = silent
) -> list[np.ndarray] | None:
    """What may be expected of the brain `image` [80, 96, 80] in its `hole` (bool) and about it, by the
    model's deformable template, once for each seed; None where it has none. The first is the likeliest.

    The hole is closed smoothly before the template is fitted, coarsely, so that nothing in it is followed;
    what is finer is drawn. How the fitted template differs from the image at the hole's border goes on
    smoothly inside.
    """
    if FILE not in model.card.files:
        return None
    template = template_of(model.file(FILE))
    join = Membrane(hole, (image > 0) & ~hole, np.ones(3))
    closed = np.where(hole, 0, image).astype(np.float32)
    closed[hole] = join(closed).clip(0)
    field = template.fit(closed, between(tell, 0.0, 0.3), finest=2, rounds=_ROUNDS)
    # Closed smoothly, the hole pulled at the template: now it is closed by what was fitted to the rest, and
    # to the other hemisphere.
    closed[hole] = _joined(template.show(_as_the_other_half(field, hole)), closed, hole, join)[hole]
    field = template.fit(closed, between(tell, 0.3, 0.6), finest=2, rounds=_ROUNDS, start=field)
    shapes = template.variants(field, _strays(template, hole, seeds))
    return [_joined(shape, closed, hole, join) for shape in shapes]


def _strays(template: DeformableTemplate, hole: np.ndarray, seeds: Sequence[int]) -> list[np.ndarray]:
    """How far the shape in the `hole` may lie from what its surroundings suggest, [3, X, Y, Z] for each seed
    and 0 outside: nothing for the first, then pairs of one draw and its opposite, so that all lie about the
    first.

    A draw is a brain's own shape less what would be concluded from that shape outside the hole (conditional
    simulation, Journel and Huijbregts 1978).
    """
    inside, strays = Membrane(hole, ~hole, np.ones(3)), [np.zeros((3, *hole.shape), np.float32)]
    for seed in seeds[1::2]:
        drawn = template.stray(torch.Generator().manual_seed(seed))
        stray = np.zeros_like(strays[0])
        for axis in range(3):
            stray[axis, hole] = _STRAYS * (drawn[axis, hole] - inside(drawn[axis]))
        strays += [stray, -stray]
    return strays[: len(seeds)]


def _as_the_other_half(field: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """`field` [3, X, Y, Z] from a mean brain that is its own mirror image, with what it is at the mirrored
    place deep in the `hole` (bool), if that is known: two halves of a brain are shaped alike.
    """
    deep = np.clip(distance_transform_edt(hole) / _DEEP, 0, 1)
    known = gaussian_filter((~hole[::-1]).astype(np.float32), 1.0)
    weight = gaussian_filter((deep * known).astype(np.float32), 1.0)
    other = mirrored(torch.from_numpy(field)).numpy()
    return field + weight * (other - field)


def _joined(shape: np.ndarray, image: np.ndarray, hole: np.ndarray, join: Membrane) -> np.ndarray:
    """`shape` with as much added in the hole as makes it go on from the image without a step."""
    joined = shape.copy()
    joined[hole] = (shape[hole] + join(image - shape)).clip(0)
    return joined


def as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32))[None, None]


def put_back(images: torch.Tensor, image: np.ndarray, hole: np.ndarray, part: Box) -> np.ndarray:
    """`image` [80, 96, 80] with the hole filled from parts of it [N, 1, x, y, z]: [N, 80, 96, 80]."""
    filled = np.repeat(np.asarray(image, np.float32)[None], len(images), 0)
    there = images[:, 0].float().cpu().numpy().clip(0, None)
    filled[:, hole] = there[:, hole[part]]
    return filled


@dataclass(frozen=True)
class Site:
    """The place of a scan that is filled, cut out of it.

    box: where it lies on the scan's grid. region, brain: bool [x, y, z] in the box, what is filled (a part of
    the brain) and the brain. data: the scan there. spacing: (3,) mm.
    """

    box: Box
    region: np.ndarray
    brain: np.ndarray
    data: np.ndarray
    spacing: np.ndarray

    @classmethod
    def of(cls, scan: Volume, frame: Frame, region: np.ndarray, brain: np.ndarray | None) -> Site:
        """The place of `region` bool [X, Y, Z]; of a head, `frame` knows the brain. Raises Refused where no
        voxel of the region is brain.
        """
        box = box_around(region, _NEAR_VOXELS)
        inside = on_box(frame, frame.mask.astype(np.float32), box) > 0.5 if brain is None else brain[box]
        if not (region[box] & inside).any():
            raise Refused("The mask lies outside the brain; mark a region in the brain.")
        return cls(box, region[box] & inside, inside, np.asarray(scan.data[box], np.float32), scan.spacing)

    def put_in(self, frame: Frame, images: np.ndarray) -> list[np.ndarray]:
        """Each of `images` [N, 80, 96, 80] in the region's voxels; elsewhere the scan: [x, y, z] each.

        How the image differs from the scan along the border, where the hole's rim lies, goes on smoothly into
        the region: no edge shows (Perez 2003).
        """
        rim = binary_dilation(self.region) & ~self.region & self.brain
        join, near = Membrane(self.region, rim, self.spacing), self.region | rim
        to_model = np.linalg.inv(frame.index) @ _moved_to(self.box)
        # The background would darken the brain's edge: the brain goes on beyond it.
        beyond = tuple(distance_transform_edt(~frame.mask, return_distances=False, return_indices=True))
        filled = []
        for image in images:
            ours = np.zeros_like(self.data)
            ours[near] = sample_at(frame.scanner_intensity(image)[beyond], to_model, near, order=3)
            whole = self.data.copy()
            whole[self.region] = (ours[self.region] + join(self.data - ours)).clip(frame.ground.lowest)
            filled.append(whole)
        return filled

    def seam(self, image: np.ndarray) -> float | None:
        """How steep `image` [x, y, z] is across the region's border, as a multiple of how steep the brain is
        around it; None where it has no such border.
        """
        outside = self.brain & ~self.region
        across = steepness(image, self.region, outside, self.spacing)
        usual = steepness(image, outside, outside, self.spacing)
        return across / usual if across is not None and usual else None

    def on_scan(self, scan: np.ndarray, image: np.ndarray) -> np.ndarray:
        """The scan [X, Y, Z] with `image` [x, y, z] in the region."""
        whole = scan.copy()
        whole[self.box][self.region] = image[self.region]
        return whole


def on_box(frame: Frame, array: np.ndarray, box: Box, order: int = 1) -> np.ndarray:
    """As `Frame.to_native`, in a box of the user's grid alone."""
    shape = tuple(side.stop - side.start for side in box)
    return sample(array, np.linalg.inv(frame.index) @ _moved_to(box), shape, order)


def _moved_to(box: Box) -> np.ndarray:
    """(4, 4): a voxel of the box -> the same voxel of the grid."""
    move = np.eye(4)
    move[:3, 3] = [side.start for side in box]
    return move
