"""The healed counterpart of a brain, from a diffusion prior: guided by the scan itself, or by partial
diffusion.

Both work on the model grid, [80, 96, 80] with white matter 1, and both are generators of progress like the
solvers. `composites` puts what they give into the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from .diffusion.cond import Cond
from .diffusion.noise import gaussian
from .diffusion.path import Node, NoisePath
from .diffusion.solve import Step, dpmpp2m, q_sample
from .imaging.expected import Expected
from .imaging.frame import Frame
from .models.loading import Model
from .nets.prior import context_of
from .telling import finished

GUIDED_START = 5.0
"""sigma at which guided sampling begins: the guide already says all that noise of this strength leaves
visible.
"""
PARTIAL_LEVELS = (0.15, 0.3, 0.6)
"""sigma to which partial diffusion takes the scan; white matter is 1."""
FEATHER_VOXELS = 2
"""Width in model voxels (2 mm) of the border over which healed voxels replace the scan's."""
HEALED_FROM = ("ventricles", "brain")
"""Conditions that healing never uses: a prior that is told of the large ventricles cannot find them."""

Denoise = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Healed:
    """Healthy counterparts of one brain, 0 outside it.

    samples: [N, 80, 96, 80]. mean: [80, 96, 80], what the prior expects of the healthy brain; with a guide it
    is asked itself (`expected_given`), whatever the steps of sampling make of it.
    """

    samples: np.ndarray
    mean: np.ndarray

    @classmethod
    def of(cls, samples: np.ndarray) -> Healed:
        """Samples whose own mean is all that is known."""
        return cls(samples, samples.mean(0))


@dataclass(frozen=True)
class Partway:
    """How far healing is: the share done (0 to 1), and the clean images that the samples show so far.

    done: samples that are finished, each [n, 80, 96, 80]. x0: [n, 1, 80, 96, 80], those under way.
    """

    share: float
    done: Sequence[np.ndarray]
    x0: torch.Tensor

    def mean(self) -> np.ndarray:
        """Mean of all clean images so far, [80, 96, 80]; worked out only for who asks."""
        return np.concatenate([*self.done, _array(self.x0)]).mean(0).clip(0, None)


def conditions(model: Model, values: Mapping[str, Any], n: int) -> Cond:
    """Conditions of `n` samples of a real brain: age and sex where given, sizes never; values outside the
    range are flagged.
    """
    told = {name: value for name, value in values.items() if value is not None and name not in HEALED_FROM}
    return Cond.from_values(model.covariates, [told] * n, real=1.0, allow_outside=True)


def guided_steps(
    denoise: Denoise,
    path: NoisePath,
    cond: Cond,
    image: np.ndarray,
    seeds: Sequence[int],
    steps: int,
    around: Expected | None = None,
    start: float = GUIDED_START,
) -> Iterator[Step]:
    """Sample healthy counterparts given the scan (methods.md B3.9): DPM-Solver++(2M) on a Karras grid from
    sigma `start`.

    image: [80, 96, 80]. around: what the population shows there, if it is known. One sample per seed;
    `Step.x` is [N, 1, 80, 96, 80].
    """
    nodes = path.karras(steps, start=path.at_ratio(start))
    # Noise drowns the image here, but its mean is known: it is the guide's.
    guide, x = _noised(image, seeds, nodes[0], cond.real.device)
    return dpmpp2m(denoise, x, nodes, cond.with_guide(guide, context=guide_context(guide, around)))


@torch.no_grad()
def expected_given(
    denoise: Denoise,
    node: Node,
    cond: Cond,
    image: np.ndarray,
    seeds: Sequence[int],
    around: Expected | None = None,
) -> np.ndarray:
    """The posterior mean of the healthy brain given the scan `image` [80, 96, 80], once per seed: [N, 80, 96,
    80].

    Asked at the noise of `node`, which leaves the guide as all that is known, for the scan and for its mirror
    image, which is as likely a brain: the average of both errs less.
    """
    answers = []
    for side in (1, -1):
        turned = None if around is None else Expected(*(array[::side] for array in around))
        guide, x = _noised(image[::side], seeds, node, cond.real.device)
        told = cond.with_guide(guide, context=guide_context(guide, turned))
        answers.append(_array(denoise(x, node, told))[:, ::side])
    return (answers[0] + answers[1]) / 2


def guide_context(guide: torch.Tensor, around: Expected | None) -> torch.Tensor | None:
    """What goes with a whole guide [N, 1, X, Y, Z] (`nets.prior.context_of`); None where it is not known."""
    if around is None:
        return None
    mean, deviation = (torch.from_numpy(array.copy()).to(guide).expand_as(guide) for array in around)
    return context_of(guide, torch.zeros_like(guide), mean, deviation)


def partial_steps(
    denoise: Denoise,
    path: NoisePath,
    cond: Cond,
    image: np.ndarray,
    seeds: Sequence[int],
    steps: int,
    sigma: float,
) -> Iterator[Step]:
    """Noise the scan to `sigma` and denoise it with the prior alone (methods.md A29)."""
    nodes = path.karras(steps, start=path.at_ratio(sigma))
    _, x = _noised(image, seeds, nodes[0], cond.real.device)
    return dpmpp2m(denoise, x, nodes, cond)


def _noised(
    image: np.ndarray, seeds: Sequence[int], node: Node, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The image [80, 96, 80] once per seed, and the same at the noise of `node`: each [N, 1, 80, 96, 80]."""
    scan = torch.from_numpy(np.ascontiguousarray(image, np.float32)).to(device)
    scan = scan[None, None].expand(len(seeds), -1, -1, -1, -1)
    return scan, q_sample(scan, gaussian((1, *image.shape), seeds).to(device), node)


def heal(
    model: Model,
    image: np.ndarray,
    seeds: Sequence[int],
    steps: int = 8,
    values: Mapping[str, Any] | None = None,
    *,
    method: str = "guided",
    levels: Sequence[float] = PARTIAL_LEVELS,
    start: float = GUIDED_START,
    around: Expected | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    batch: int = 0,
) -> Generator[Partway, None, Healed]:
    """Yields how far it is after each step, and returns the healed brain.

    image: [80, 96, 80], 0 outside the brain. With "guided" one sample per seed; with "partial" one per level
    and seed. `start`: sigma at which "guided" begins. `around`: `Frame.expected` of the brain, for "guided".
    Samples are computed `batch` at a time
    (0: all); their noise belongs to their seed, so the batch changes nothing but rounding.
    """
    denoise, together = model.denoiser(device, precision), model.guided_denoiser(device, precision)
    runs = [(sigma, list(seeds)) for sigma in (levels if method == "partial" else (None,))]
    chunk = batch or len(seeds)
    parts = [(sigma, some[i : i + chunk]) for sigma, some in runs for i in range(0, len(some), chunk)]
    healed: list[np.ndarray] = []
    expected: np.ndarray | None = None
    for number, (sigma, some) in enumerate(parts):
        cond = conditions(model, values or {}, len(some)).to(device)
        if sigma is None:
            if expected is None:  # noise so strong tells nothing: one draw of it is enough
                alone = conditions(model, values or {}, 1).to(device)
                given = expected_given(together, model.path.at_ratio(start), alone, image, some[:1], around)
                expected = given[0].clip(0, None) * (image > 0)
            solver = guided_steps(denoise, model.path, cond, image, some, steps, around, start)
        else:
            solver = partial_steps(denoise, model.path, cond, image, some, steps, sigma)
        for step in solver:
            yield Partway((number + step.i / step.n) / len(parts), tuple(healed), step.x0)
        healed.append(_array(step.x))
    samples = np.concatenate(healed).clip(0, None) * (image > 0)
    return Healed.of(samples) if expected is None else Healed(samples, expected)


def _array(images: torch.Tensor) -> np.ndarray:
    return images[:, 0].float().cpu().numpy()


def composites(
    data: np.ndarray, frame: Frame, images: Sequence[np.ndarray], region: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """The scan [X, Y, Z] with each of `images` [80, 96, 80] in `region`, feathered, and where voxels changed
    (bool).

    Healed voxels replace the scan's inside: adding a residual would leave the lesion's edge behind. Elsewhere
    every voxel is the input's, bit for bit.
    """
    if not region.any():
        return [data.copy() for _ in images], np.zeros(data.shape, bool)
    distance = distance_transform_edt(~region)
    feather = np.clip(1 - (distance - 1) / (FEATHER_VOXELS + 1), 0, 1).astype(np.float32) * frame.mask
    weight = frame.to_native(feather)
    share = frame.to_native(frame.mask.astype(np.float32))
    changed = (weight > 0) & (share > 0.5)
    weight, share = weight[changed] / share[changed], share[changed]
    blended = []
    for image in images:
        # Weighted before it is sampled, and by the brain's share after it: no background is mixed in at the
        # edge.
        above = feather * frame.scale.to_native(image) * np.exp(frame.log_bias)
        ours = frame.to_native(above + feather * frame.ground.lowest)
        mixed = data.copy()
        mixed[changed] = (1 - weight) * data[changed] + ours[changed] / share
        blended.append(mixed)
    return blended, changed


def guided(
    model: Model,
    image: np.ndarray,
    seeds: Sequence[int],
    steps: int = 8,
    values: Mapping[str, Any] | None = None,
    **how: Any,
) -> Healed:
    """`heal` with method "guided", without the progress."""
    return finished(heal(model, image, seeds, steps, values, method="guided", **how))


def partial(
    model: Model,
    image: np.ndarray,
    seeds: Sequence[int],
    steps: int = 6,
    levels: Sequence[float] = PARTIAL_LEVELS,
    **how: Any,
) -> Healed:
    """`heal` with method "partial", without the progress: one sample per level and seed, levels first."""
    return finished(heal(model, image, seeds, steps, method="partial", levels=levels, **how))
