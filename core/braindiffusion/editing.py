"""A real brain changed, and one brain turned into another, through the noise that the prior makes them from.

Encoding follows the probability flow from the image to noise (methods.md A06), decoding back to an image:
under another condition it is the counterfactual (C20), and from noise between that of two brains a morph
(A07). What encoding and decoding lose on the way is put back, so no change gives the very brain, and the ends
of a morph are the two brains. All on the model grid, [80, 96, 80], white matter 1; `in_scan` brings a change
to the scan, whose detail the model grid does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes, map_coordinates, maximum_filter, minimum_filter, spline_filter

from .diffusion.path import Grid
from .diffusion.solve import dpmpp2m, invert
from .generating import BACKGROUND, conditions, numbers, template_of
from .healing import Partway
from .imaging.expected import population
from .imaging.frame import Frame
from .imaging.grid import GRID_SPACING
from .models.loading import Model
from .nets.deformable import FILE, DeformableTemplate
from .nets.warping import inverse, pull
from .telling import Tell, between, silent

EDIT_START = 10.0
"""sigma (white matter is 1) to which a brain is encoded: what is larger than its noise, such as where the
person's folds lie, is kept, and what is asked for is decided below it.
"""

CHANGED = 0.02
"""Difference (white matter is 1) from which the intensity of a place is changed in the scan."""
MOVED_MM = 0.1
"""Distance in millimetre from which a place of the scan is moved."""
_ORDER = 5
"""Of the splines that a scan is moved with: cubic ones blur the finest detail visibly."""
_AT_ONCE = 200_000
"""Voxels that are moved at once: more would take hundreds of megabytes."""

_ROUNDS = 4
"""How often a change of shape is measured and, where it is too small or too large, asked for again."""
_NEAR = 0.02
"""Share of a volume by which it may miss what was asked for."""

Values = Mapping[str, Any]
Measure = Callable[[np.ndarray], Mapping[str, float]]
"""Volumes in ml by name of a brain [80, 96, 80]."""


@dataclass(frozen=True)
class Edited:
    """image: [80, 96, 80]. moved: the same as the change of shape alone leaves it. shift: [3, 80, 96, 80] in
    model voxels: `moved` shows at p what the brain showed at p + shift(p). error: root mean square inside the
    brain, white matter 1, of encoding and decoding the brain without a change.
    """

    image: np.ndarray
    moved: np.ndarray
    shift: np.ndarray
    error: float


def edit(
    model: Model,
    image: np.ndarray,
    own: Values,
    changed: Values,
    steps: int = 20,
    *,
    start: float = EDIT_START,
    measure: Measure | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    tell: Tell = silent,
) -> Generator[Partway, None, Edited]:
    """Yields how far it is after each step, and returns `image` as it would be with other covariates.

    own, changed: covariates of the person as they are and as they shall be. First the brain is moved as its
    shape changes with them; where `measure` finds that it has not the volumes that were asked for, by more or
    by less. What changes besides is the difference between what the moved brain's noise
    decodes to under either, within the brain as it is (image > 0).
    """
    denoise = model.denoiser(device, precision)
    nodes = model.path.karras(steps, start=model.path.at_ratio(start))
    wanted = [own] if dict(changed) == dict(own) else [own, changed]
    inside = image > 0
    shift, shape = _reshaped(model, image, own, changed, measure, tell)
    moved = _moved(image, shift)
    shapes = [shape] * len(wanted)
    noise = yield from _encoded(denoise, model, [moved], [own], shapes, nodes, device, 0.4)
    noises = noise.expand(len(wanted), *noise.shape[1:])
    decoded = yield from _decoded(denoise, model, noises, wanted, shapes, nodes, device, 0.4, len(wanted))
    error = float(np.sqrt(((decoded[0] - moved)[inside] ** 2).mean())) if inside.any() else 0.0
    difference = np.where(inside, decoded[-1] - decoded[0], 0)
    return Edited((moved + difference).clip(0).astype(np.float32), moved, shift, error)


def in_scan(data: np.ndarray, frame: Frame, edited: Edited) -> tuple[np.ndarray, np.ndarray]:
    """The scan `data` [X, Y, Z] as it was edited, and where voxels changed (bool).

    The scan itself is moved, so its detail stays, and what else was changed is added to it. Changes smaller
    than MOVED_MM and CHANGED, and what lies outside the brain, stay as they are, bit for bit.
    """
    share = frame.to_native(frame.mask.astype(np.float32))
    # The mask's voxels are coarse, and the background of a stripped brain reaches between them.
    inside = (share > 0) & binary_fill_holes(data != frame.ground.background)
    shift = edited.shift * _noticed(GRID_SPACING * np.linalg.norm(edited.shift, axis=0), MOVED_MM)
    moves = inside & (frame.to_native(shift.any(0)) > 0)
    mixed = data.copy()
    if moves.any():
        # Nothing from outside the brain, such as a skull, may come into a brain that shrinks.
        mixed[moves] = _pulled(np.where(share > 0, data, frame.ground.lowest), frame, shift, moves)
    besides = frame.scanner_intensity(edited.image) - frame.scanner_intensity(edited.moved)
    besides = frame.to_native(besides * _noticed(np.abs(edited.image - edited.moved), CHANGED))
    adds = inside & (besides != 0)
    mixed[adds] = np.maximum(mixed[adds] + besides[adds], frame.ground.lowest)
    return mixed, moves | adds


def _noticed(size: np.ndarray, least: float) -> np.ndarray:
    """0 up to `least`, 1 from twice as much on: what is negligible is left out, and no edge comes of it."""
    return np.clip(size / least - 1, 0, 1).astype(np.float32)


def _pulled(data: np.ndarray, frame: Frame, shift: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Intensities (N,) that the voxels in `where` (bool [X, Y, Z]) show after the scan `data` [X, Y, Z] was
    moved by `shift` [3, 80, 96, 80], in model voxels.
    """
    splines = spline_filter(data, _ORDER, output=np.float32)
    least, most = minimum_filter(data, 3), maximum_filter(data, 3)
    to_model, found = np.linalg.inv(frame.index), []
    voxels = np.argwhere(where)
    for some in np.array_split(voxels, len(voxels) // _AT_ONCE + 1):
        here = to_model[:3, :3] @ some.T + to_model[:3, 3:]
        way = np.stack([map_coordinates(axis, here, order=1, mode="nearest") for axis in shift])
        # A way is turned and stretched from grid to grid, but not shifted as a place is.
        there = some.T + frame.index[:3, :3] @ way
        shown = map_coordinates(splines, there, order=_ORDER, mode="mirror", prefilter=False)
        # Splines ring: nothing may be darker or brighter than all that lies around.
        bounds = (map_coordinates(bound, there, order=0, mode="nearest") for bound in (least, most))
        shown = np.clip(shown, *bounds) - frame.ground.lowest
        # The bias field belongs to the scanner and does not move with the brain.
        bias, behind = (
            map_coordinates(frame.log_bias, place, order=1, mode="nearest") for place in (here, here + way)
        )
        found.append(shown * np.exp(bias - behind) + frame.ground.lowest)
    return np.concatenate(found)


def morph(
    model: Model,
    brains: Sequence[np.ndarray],
    own: Sequence[Values],
    shares: Sequence[float],
    steps: int = 20,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    batch: int = 0,
    tell: Tell = silent,
) -> Generator[Partway, None, np.ndarray]:
    """Yields how far it is after each step, and returns brains [N, 80, 96, 80] on the way from the first of
    the two `brains` [80, 96, 80] (share 0) to the second (share 1), one for each of `shares`.

    own: covariates of the two; numbers that both have go along evenly, all else is unknown on the way.
    """
    denoise = model.denoiser(device, precision)
    nodes = model.path.karras(steps)
    way = _Between(model, brains, tell)
    ends = [way.at(share) for share in (0.0, 1.0)]
    noise = yield from _encoded(denoise, model, brains, own, ends, nodes, device, 0.3)
    # Both ends are decoded too, to know what they lose on the way.
    all_shares = [0.0, 1.0, *shares]
    noises = torch.stack([slerp(noise[0], noise[1], share) for share in all_shares])
    told = [_mixed(own, share) for share in all_shares]
    shapes = [way.at(share) for share in all_shares]
    decoded = yield from _decoded(
        denoise, model, noises, told, shapes, nodes, device, 0.3, batch or len(noises)
    )
    lost = [brain - back for brain, back in zip(brains, decoded)]
    made = [x + (1 - share) * lost[0] + share * lost[1] for x, share in zip(decoded[2:], shares, strict=True)]
    return np.stack(made).clip(0).astype(np.float32)


def _template(model: Model) -> DeformableTemplate | None:
    return template_of(model.file(FILE)) if FILE in model.card.files else None


def _moved(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The brain `image` [80, 96, 80] moved by `shift` (`Edited.shift`), within its outline."""
    if not shift.any():
        return image
    return pull(torch.from_numpy(image)[None], torch.from_numpy(shift))[0].numpy() * (image > 0)


def _reshaped(
    model: Model, image: np.ndarray, own: Values, changed: Values, measure: Measure | None, tell: Tell
) -> tuple[np.ndarray, np.ndarray]:
    """How the brain `image` [80, 96, 80] moves when its covariates go from `own` to `changed`
    (`Edited.shift`), and what is expected of it then, [80, 96, 80].

    The template's volumes are not quite those of a brain: what `measure` finds missing is asked for too.
    """
    template = _template(model)
    if template is None:
        return np.zeros((3, *image.shape), np.float32), population().typical
    before = template.fit(image, tell)
    told, wanted = numbers(model, own), numbers(model, changed)
    if measure is None or told == wanted:
        return _way(template, before, told, wanted)
    asked, tries = dict(wanted), []
    for _ in range(_ROUNDS):
        shift, shape = _way(template, before, told, asked)
        found = measure(_moved(image, shift))
        missing = {name: wanted[name] - ml for name, ml in found.items() if name in wanted}
        tries.append((max(abs(ml) / wanted[name] for name, ml in missing.items()), shift, shape))
        if tries[-1][0] < _NEAR:
            break
        asked |= {name: max(asked[name] + ml, 0.1) for name, ml in missing.items()}
    _, shift, shape = min(tries, key=lambda one: one[0])
    return shift, shape


def _way(
    template: DeformableTemplate, before: np.ndarray, told: Mapping[str, float], asked: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Shift and shape (`_reshaped`) when the covariates of the brain with the field `before` go from `told`
    to `asked`.
    """
    after = template.changed(before, told, asked)
    grown = after - before
    # Where a brain lies is not its shape: most of it stays in place.
    level = np.median(grown[:, template.mean > BACKGROUND], axis=1)
    after = after - level[:, None, None, None]
    # Only the difference is looked up, so that nothing moves where the two are the same.
    back = inverse(torch.from_numpy(after))
    shift = pull(torch.from_numpy(before - after), back, "border").numpy()
    return shift, template.show(after)


class _Between:
    """What is expected on the way from one of two brains [80, 96, 80] to the other."""

    def __init__(self, model: Model, brains: Sequence[np.ndarray], tell: Tell) -> None:
        self._template = template = _template(model)
        if template is not None:
            parts = [between(tell, n / len(brains), (n + 1) / len(brains)) for n in range(len(brains))]
            self._fields = [template.fit(brain, part) for brain, part in zip(brains, parts, strict=True)]

    def at(self, share: float) -> np.ndarray:
        """[80, 96, 80] at `share` of the way."""
        if self._template is None:
            return population().typical
        first, second = self._fields
        return self._template.show((1 - share) * first + share * second)


def slerp(first: torch.Tensor, second: torch.Tensor, share: float) -> torch.Tensor:
    """Spherical interpolation of two tensors of one shape: unlike a straight line, it keeps the strength of
    noise (methods.md A07).
    """
    a, b = first.double().flatten(), second.double().flatten()
    cosine = torch.dot(a, b) / (a.norm() * b.norm()).clamp(min=1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1))
    if angle.sin() < 1e-6:
        return first + share * (second - first)
    weights = torch.sin(torch.stack([(1 - share) * angle, share * angle])) / angle.sin()
    return (weights[0] * first.double() + weights[1] * second.double()).to(first)


def _mixed(own: Sequence[Values], share: float) -> dict[str, Any]:
    """Covariates at `share` of the way; at an end they are those of the brain there."""
    if share in (0, 1):
        return dict(own[int(share)])
    mixed = {}
    for name in set(own[0]) & set(own[1]):
        first, second = own[0][name], own[1][name]
        if first == second:
            mixed[name] = first
        elif all(isinstance(value, (int, float)) for value in (first, second)):
            mixed[name] = (1 - share) * first + share * second
    return mixed


Denoise = Callable[..., torch.Tensor]


def _encoded(
    denoise: Denoise,
    model: Model,
    images: Sequence[np.ndarray],
    own: Sequence[Values],
    shapes: Sequence[np.ndarray],
    nodes: Grid,
    device: str,
    high: float,
) -> Generator[Partway, None, torch.Tensor]:
    """The noise [N, 1, 80, 96, 80] of each image; progress goes from 0 to `high`."""
    found = []
    for n, (image, values, shape) in enumerate(zip(images, own, shapes)):
        x = torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None].to(device)
        for step in invert(denoise, x, nodes, conditions(model, [values], [shape]).to(device)):
            yield Partway(high * (n + step.i / step.n) / len(images), (), step.x0)
        found.append(step.x)
    return torch.cat(found)


def _decoded(
    denoise: Denoise,
    model: Model,
    noises: torch.Tensor,
    told: Sequence[Values],
    shapes: Sequence[np.ndarray],
    nodes: Grid,
    device: str,
    low: float,
    batch: int,
) -> Generator[Partway, None, np.ndarray]:
    """The images [N, 80, 96, 80] of noise [N, 1, 80, 96, 80]; progress goes from `low` to 1."""
    made: list[np.ndarray] = []
    for first in range(0, len(told), batch):
        part = slice(first, first + batch)
        cond = conditions(model, told[part], shapes[part]).to(device)
        for step in dpmpp2m(denoise, noises[part], nodes, cond):
            share = (first + len(cond.real) * step.i / step.n) / len(told)
            yield Partway(low + (1 - low) * share, tuple(made), step.x0)
        made.append(step.x[:, 0].float().cpu().numpy())
    return np.concatenate(made)
