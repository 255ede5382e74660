"""Lesions for training: made-up shapes and appearances that a healer must learn to remove.

The evaluation never uses this simulator (methods.md B3.9): its implants live in `evaluation/implants.py`.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..imaging.grid import VOXEL_ML
from .fields import chance, gaussian_blur, log_uniform, rolled, smooth_field, uniform


def blob(generator: Generator, inside: Tensor, volume_ml: float) -> Tensor:
    """A random lump [X, Y, Z] in 0..1 of about `volume_ml`, whose middle lies where `inside` [X, Y, Z] is
    true.

    A ball whose radius is modulated by smooth noise; the threshold that gives the wanted volume is found by
    sorting.
    """
    places = torch.nonzero(inside)
    centre = places[int(torch.randint(len(places), (), generator=generator))]
    radius = (volume_ml / VOXEL_ML * 3 / 12.566) ** (1 / 3)
    half = int(min(3 * radius + 3, 40))
    low = (centre - half).clamp(min=0)
    high = torch.minimum(centre + half + 1, torch.tensor(inside.shape))
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high))
    axes = [
        torch.arange(int(a), int(b), dtype=torch.float32) - float(c) for a, b, c in zip(low, high, centre)
    ]
    stretch = [log_uniform(generator, 0.6, 1.6) for _ in range(3)]
    offsets = torch.meshgrid(*(axis / s for axis, s in zip(axes, stretch)), indexing="ij")
    distance = torch.stack(offsets).square().sum(0).sqrt() / max(radius, 0.5)
    rough = smooth_field(generator, distance.shape, max(3.0, 1.2 * radius))[0] * uniform(generator, 0.0, 0.6)
    score = torch.where(inside[box], distance + rough, torch.inf)
    wanted = max(1, min(int(volume_ml / VOXEL_ML), int(inside[box].sum())))
    cut = score.flatten().kthvalue(wanted).values
    mask = torch.zeros(inside.shape)
    mask[box] = (score <= cut).float()
    return mask


def library_shape(generator: Generator, shapes: list[Tensor], inside: Tensor) -> Tensor:
    """A real lesion's shape (bool [x, y, z], 2 mm), turned and mirrored at random, put where `inside` is
    true.
    """
    shape = shapes[int(torch.randint(len(shapes), (), generator=generator))]
    axes = torch.randperm(3, generator=generator).tolist()
    shape = shape.permute(axes).flip([axis for axis in range(3) if chance(generator, 0.5)])
    places = torch.nonzero(inside)
    centre = places[int(torch.randint(len(places), (), generator=generator))].tolist()
    mask = torch.zeros(inside.shape)
    target, source = [], []
    for place, size, limit in zip(centre, shape.shape, inside.shape):
        start = place - size // 2
        target.append(slice(max(0, start), min(limit, start + size)))
        source.append(slice(max(0, -start), max(0, -start) + min(limit, start + size) - max(0, start)))
    mask[tuple(target)] = shape[tuple(source)].float()
    return mask * inside


def paint(generator: Generator, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """`image` [X, Y, Z] with one lesion of random appearance on `mask`, and the soft mask [X, Y, Z] that was
    used.

    Darker or brighter by a fraction, a flat value of its own, texture of its own, a rim: enough kinds that
    none is learnt by heart.
    """
    edge = uniform(generator, 0.0, 1.2)
    soft = gaussian_blur(mask[None], edge)[0].clamp(max=1) if edge > 0.2 else mask
    local = float((image * mask).sum() / mask.sum().clamp(min=1))
    contrast = log_uniform(generator, 0.15, 0.8) * (-1 if chance(generator, 0.65) else 1)
    if chance(generator, 0.55):
        painted = image * (1 + contrast)
    else:
        keep = uniform(generator, 0.0, 0.8)
        painted = keep * image + (1 - keep) * local * (1 + contrast) + (contrast * local * keep)
    if chance(generator, 0.5):
        painted = painted * (
            1 + 0.15 * smooth_field(generator, image.shape, log_uniform(generator, 2, 12))[0]
        )
    if chance(generator, 0.15):
        rim = (gaussian_blur(mask[None], 1.5)[0] - mask).clamp(min=0) * 2
        painted = painted + local * uniform(generator, -0.4, 0.4) * rim
        soft = torch.maximum(soft, (rim * 2).clamp(max=1))
    return image + soft * (painted.clamp(min=0.0) - image), soft


DISTURBANCE = 0.2
"""Standard deviation of coarse noise, where white matter is 1. Always the same: a network that could tell how
much there is would trust a scan that has none, and its lesions with it.
"""


def disturb(
    generator: Generator,
    image: Tensor,
    strength: float = DISTURBANCE,
    across: tuple[float, float] = (8, 16),
    brain: float = 0.05,
) -> Tensor:
    """`image` [X, Y, Z] with coarse noise all over what is brighter than `brain` (methods.md B3.5, A27): a
    smooth field times `strength`, whose features are `across` voxels wide, drawn anew each time.

    Lesions are rare voxels; this changes every one and teaches the same: what of an image its surroundings
    and the population do not explain.
    """
    noise = smooth_field(generator, tuple(image.shape), log_uniform(generator, *across))[0]
    return torch.where(image > brain, image + strength * rolled(generator, noise), image)


def implant(generator: Generator, image: Tensor, shapes: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """`image` [X, Y, Z] with up to eight lesions inside the brain (image > 0.05), and the union of their soft
    masks.

    Where the union is 0 the image comes back bit for bit.
    """
    inside, healthy = image > 0.05, image
    union = torch.zeros_like(image)
    count = 1 + int(torch.randint(8, (), generator=generator)) if chance(generator, 0.7) else 1
    for _ in range(count):
        if shapes and chance(generator, 0.4):
            mask = library_shape(generator, shapes, inside)
        else:
            mask = blob(generator, inside, log_uniform(generator, 0.2, 60 if count == 1 else 15)) * inside
        if mask.sum() < 1:
            continue
        image, soft = paint(generator, image, mask)
        union = torch.maximum(union, soft)
    # The faint voxels at the brain's rim stay as they are: without them a guide would betray that it was
    # painted on.
    return torch.where(inside, image, healthy), union * inside
