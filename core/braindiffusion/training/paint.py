"""Training of `t1-brain-2mm-paint` (`braindiffusion train t1-brain-2mm-paint --hours H`): pathology where
labels are painted.

An example is a healthy brain, random labels on it, and its image with tissue of a simulated appearance there.
Nothing here has seen a patient's lesion but for its outline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.ndimage import distance_transform_edt
from torch import Generator, Tensor, nn

from ..diffusion.cond import Cond
from ..diffusion.path import Node
from ..nets.paint import SIGMA_DATA, PaintDenoiser, context_of
from ..nets.prior import PriorNet
from ..pathology import NATIVE_RIM, OEDEMA, RIM, TISSUES
from ..paths import require_data
from .brains import Brain, brains, draw_move
from .fields import chance, gaussian_blur, log_uniform, smooth_field, uniform
from .lesions import blob, library_shape
from .population import degrade
from .shapes import training_shapes
from .trainer import Batch, Plan, train

NAME = "t1-brain-2mm-paint"
SIGMA_MIN, SIGMA_MAX = 0.02, 2.0
PART = (40, 40, 40)
"""Voxels of the part of a brain that a step sees: one painted region with what lies around it."""
NETWORK: dict[str, Any] = {
    "covariates": 0,
    "widths": [24, 64, 80],
    "blocks": [2, 2, 2],
    "fine": 12,
    "context": len(TISSUES) + 1,
    "folds": 1,
    "sigma_data": SIGMA_DATA,
}
NECROSIS, LESION = 0, 2
_TEXTURE = (0.10, 0.05, 0.10, 0.08)
"""How much each tissue's intensity varies at most, in shares of it."""
_VAGUE = {OEDEMA: (0.5, 1.2), LESION: (0.2, 0.6)}
"""Tissues whose border is vague, over how many voxels; that of the others is as sharp as the grid."""
_SOLID, _WHITENS = (0.4, 0.6), (0.5, 0.9)
"""Intensities between which a voxel turns from fluid to tissue, and from grey to white matter."""


class Draw:
    """`draw(generator)` of the trainer. `shapes` are those of real lesions, bool at 2 mm."""

    def __init__(self, some: Sequence[Brain], shapes: list[Tensor]) -> None:
        self.brains, self.shapes = some, shapes

    def __call__(self, generator: Generator) -> Batch:
        brain = self.brains[int(torch.randint(len(self.brains), (), generator=generator))]
        move = draw_move(generator)
        firsts = [
            int(torch.randint(whole - size + 1, (), generator=generator))
            for whole, size in zip(move.points.shape[1:], PART)
        ]
        part = tuple(slice(first, first + size) for first, size in zip(firsts, PART))
        image = move.turned(brain.sample(move.points[(slice(None), *part)]))
        inside = image > 0.05
        if inside.float().mean() < 0.3:
            return self(generator)
        if chance(generator, 0.5):
            image = degrade(generator, image, 0.05, 0.3, 0.03, 0.0).clamp(0, 2) * inside
        shares = shares_of(generator, draw_labels(generator, image, self.shapes)) * inside
        levels = draw_levels(generator)
        return {
            "x0": show(generator, image, shares, levels)[None],
            "guide": image[None],
            "shares": shares,
            "levels": levels,
            "sigma": torch.tensor(noise_level(generator)),
            "noise": torch.randn((1, *PART), generator=generator),
        }


def draw_labels(generator: Generator, image: Tensor, shapes: list[Tensor]) -> Tensor:
    """What is painted on a brain `image` [X, Y, Z]: bool [4, X, Y, Z], no two tissues in a voxel.

    A tumour (core in a rim in oedema, some of them missing), lesions without parts, or anything anywhere:
    what a user paints need not look like a disease.
    """
    labels = torch.zeros(len(TISSUES), *image.shape, dtype=torch.bool)
    kind, inside = uniform(generator, 0, 1), image > 0.05
    if kind < 0.45:
        _tumour(generator, labels, image, shapes)
    elif kind < 0.7:
        for _ in range(1 + int(torch.randint(8, (), generator=generator))):
            _put(labels, LESION, _piece(generator, inside, shapes, log_uniform(generator, 0.05, 12)))
    else:
        for _ in range(1 + int(torch.randint(5, (), generator=generator))):
            tissue = int(torch.randint(len(TISSUES), (), generator=generator))
            _put(labels, tissue, _piece(generator, inside, shapes, log_uniform(generator, 0.1, 30)))
    return labels & inside


def _piece(generator: Generator, inside: Tensor, shapes: list[Tensor], volume_ml: float) -> Tensor:
    """A lump of that volume, or a real lesion's shape of any; bool [X, Y, Z]."""
    if shapes and chance(generator, 0.4):
        return library_shape(generator, shapes, inside) > 0
    return blob(generator, inside, volume_ml) > 0


def _put(labels: Tensor, tissue: int, piece: Tensor) -> None:
    """Paint `piece` over what was there."""
    labels &= ~piece
    labels[tissue] |= piece


def _tumour(generator: Generator, labels: Tensor, image: Tensor, shapes: list[Tensor]) -> None:
    """A core in a rim of uneven thickness in oedema that spreads along white matter."""
    inside = image > 0.05
    core = _piece(generator, inside, shapes, log_uniform(generator, 0.3, 25))
    away = torch.from_numpy(distance_transform_edt(~core.numpy())).float()
    uneven = smooth_field(generator, tuple(image.shape), log_uniform(generator, 4, 10))[0]
    thickness = uniform(generator, 1.0, 2.5)
    rim = away <= (thickness * (1 + 0.4 * uneven)).clamp(min=1) if chance(generator, 0.85) else core
    if chance(generator, 0.8):
        reach, follow = uniform(generator, 2, 12), uniform(generator, 0, 1)
        white = ((image - _WHITENS[0]) / (_WHITENS[1] - _WHITENS[0])).clamp(0, 1)
        far = away - thickness + 3 * uneven + reach * follow * (1 - white)
        _put(labels, OEDEMA, (far <= reach) & inside)
    _put(labels, RIM, rim & inside)
    if chance(generator, 0.85):
        _put(labels, NECROSIS, core)


def shares_of(generator: Generator, labels: Tensor) -> Tensor:
    """How much of each voxel each tissue fills [4, X, Y, Z]: labels drawn on a finer grid than the model's
    fill its voxels partly.
    """
    shares = labels.float()
    return gaussian_blur(shares, uniform(generator, 0.3, 0.6)) if chance(generator, 0.7) else shares


def draw_levels(generator: Generator) -> Tensor:
    """How bright each tissue is [4], a little beyond what a user may ask for."""
    rim = NATIVE_RIM if chance(generator, 0.4) else TISSUES[RIM]
    ranges = [(tissue.low, tissue.high) for tissue in (*TISSUES[:RIM], rim)]
    return torch.tensor([uniform(generator, low, high) for low, high in ranges])


def show(generator: Generator, image: Tensor, shares: Tensor, levels: Tensor) -> Tensor:
    """The image [X, Y, Z] of a brain with tissue of mean `levels` [4] in `shares` [4, X, Y, Z] of its voxels.

    Beneath oedema the brain stays visible: white matter darkens most, cortex less, fluid not at all.
    """
    shape = tuple(image.shape)
    tissue = torch.stack(
        [
            level * (1 + uniform(generator, 0.3, 1) * most * _texture(generator, shape))
            for level, most in zip(levels, _TEXTURE)
        ]
    )
    white, solid = (((image - low) / (high - low)).clamp(0, 1) for low, high in (_WHITENS, _SOLID))
    swollen = uniform(generator, 0.75, 1) * (0.3 * solid + 0.7 * white)
    tissue[OEDEMA] = image + swollen * (torch.minimum(tissue[OEDEMA], 0.95 * image) - image)
    weights = shares.clone()
    for n, (least, most) in _VAGUE.items():
        # Vague towards the healthy brain alone.
        vague = gaussian_blur(shares.sum(0, keepdim=True), uniform(generator, least, most))[0]
        weights[n] = torch.minimum(shares[n], shares[n] * vague * 1.1)
    grain = uniform(generator, 0, 0.03) * torch.randn(shape, generator=generator)
    painted = (weights * (tissue - image)).sum(0) + shares.sum(0) * grain
    return (image + painted).clamp(min=0)


def _texture(generator: Generator, shape: tuple[int, ...]) -> Tensor:
    """Patches of several sizes, about unit variance, [X, Y, Z]."""
    coarse, fine = log_uniform(generator, 5, 14), log_uniform(generator, 2, 4)
    return 0.7 * (smooth_field(generator, shape, coarse)[0] + smooth_field(generator, shape, fine)[0])


def noise_level(generator: Generator) -> float:
    """sigma: mostly log-normal about where texture takes shape, else log-uniform up to where sampling
    starts.
    """
    if chance(generator, 0.7):
        drawn = math.exp(math.log(0.12) + 0.9 * float(torch.randn((), generator=generator)))
        return min(max(drawn, SIGMA_MIN), SIGMA_MAX)
    return log_uniform(generator, 0.1, SIGMA_MAX)


def loss_of(net: nn.Module, batch: Batch) -> Tensor:
    """EDM's loss of the difference to flat tissue, where something is painted."""
    count = len(batch["x0"])
    none = batch["x0"].new_zeros(count, 0)
    cond = Cond(none, none.bool(), none.new_ones(count), batch["guide"], has_guide=none.new_ones(count))
    cond = cond.with_guide(batch["guide"], context=context_of(batch["shares"], batch["levels"]))
    sigma = batch["sigma"].view(-1, 1, 1, 1, 1)
    node = Node(1.0, sigma, sigma)  # type: ignore[arg-type]
    x, denoiser = batch["x0"] + sigma * batch["noise"], PaintDenoiser(net)
    shown = denoiser.shown(x, cond)
    raw = denoiser.raw(x, node, cond, shown).float()
    error = (raw - denoiser.target(batch["x0"], x, node, shown)).square() * ~shown.followed
    return error.sum() / (~shown.followed).sum().clamp(min=1)


def main(plan: Plan) -> Path:
    """Train for `plan.hours`; returns the EMA weights. Framed brains are kept in the folder."""
    root = require_data("t1_brains", "ms", "stroke")
    torch.manual_seed(plan.seed)
    draw = Draw(brains(root, "train", plan.folder / "brains"), training_shapes(root))
    return train(PriorNet(**NETWORK), draw, loss_of, plan)
