"""A real brain changed, and one brain turned into another, through the noise that the prior makes them from.

Encoding follows the probability flow from the image to noise (methods.md A06), decoding back to an image:
under another condition it is the counterfactual (C20), and from noise between that of two brains a morph
(A07). What encoding and decoding lose on the way is put back, so no change gives the very brain, and the ends
of a morph are the two brains. All on the model grid, [80, 96, 80], white matter 1.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .diffusion.path import Grid
from .diffusion.solve import dpmpp2m, invert
from .generating import conditions, numbers, template_of
from .healing import Partway
from .imaging.expected import population
from .models.loading import Model
from .nets.deformable import FILE, DeformableTemplate
from .telling import Tell, between, silent

EDIT_START = 10.0
"""sigma (white matter is 1) to which a brain is encoded: what is larger than its noise, such as where the
person's folds lie, is kept, and what is asked for is decided below it.
"""

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Edited:
    """image: [80, 96, 80]. error: root mean square inside the brain, white matter 1, of encoding and decoding
    the brain without a change.
    """

    image: np.ndarray
    error: float


def edit(
    model: Model,
    image: np.ndarray,
    own: Values,
    changed: Values,
    steps: int = 20,
    *,
    start: float = EDIT_START,
    device: str = "cpu",
    precision: str = "fp32",
    tell: Tell = silent,
) -> Generator[Partway, None, Edited]:
    """Yields how far it is after each step, and returns `image` as it would be with other covariates.

    own, changed: covariates of the person as they are and as they shall be. The result is the image and the
    difference between what its noise decodes to under either, within the brain as it is (image > 0).
    """
    denoise = model.denoiser(device, precision)
    nodes = model.path.karras(steps, start=model.path.at_ratio(start))
    wanted = [own] if dict(changed) == dict(own) else [own, changed]
    shapes = _shapes(model, image, own, wanted, tell)
    noise = yield from _encoded(denoise, model, [image], [own], shapes, nodes, device, 0.4)
    noises = noise.expand(len(wanted), *noise.shape[1:])
    decoded = yield from _decoded(denoise, model, noises, wanted, shapes, nodes, device, 0.4, len(wanted))
    inside = image > 0
    error = float(np.sqrt(((decoded[0] - image)[inside] ** 2).mean())) if inside.any() else 0.0
    difference = np.where(inside, decoded[-1] - decoded[0], 0)
    return Edited((image + difference).clip(0).astype(np.float32), error)


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


def _shapes(
    model: Model, image: np.ndarray, own: Values, wanted: Sequence[Values], tell: Tell
) -> list[np.ndarray]:
    """What is expected of the person `image` [80, 96, 80] shows, with each of the `wanted` covariates."""
    template = _template(model)
    if template is None:
        return [population().typical] * len(wanted)
    field, before = template.fit(image, tell), numbers(model, own)
    return [template.show(template.changed(field, before, numbers(model, after))) for after in wanted]


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
