"""The network of `brain-anatomy-2mm`: one image of any contrast -> logits of every structure.

MONAI's SegResNet on one Haar level gathers context at half resolution; a narrow path at full resolution
decides each voxel from its own intensity and that context. Where the brain's place is known, an atlas of the
training label maps is added as a logarithmic prior and the template's coordinates as input, so that the
network only learns what the image changes about it; where it is not, a flat prior stands in, and the network
finds the intracranial space.
"""

from __future__ import annotations

import torch
from monai.networks.nets import SegResNet
from torch import Tensor, nn
from torch.nn import functional

from ..imaging.grid import GRID_AFFINE
from .haar import fold
from .tissue import CLASS_OF, CLASSES, log_likelihood

_LEAST = 1e-3
"""Smallest probability of the atlas: a structure may lie where thirteen brains had none."""


_GAIN = 8.0
"""Factor on what the image changes: logits of several units would take a small last layer thousands of
steps.
"""


class AnatomyNet(nn.Module):
    """Image [B, 1, X, Y, Z] in 0..1 and where it lies -> logits [B, structures, X, Y, Z]; sides divide by
    16.
    """

    def __init__(
        self,
        structures: int,
        width: int = 16,
        blocks: tuple[int, ...] = (1, 2, 2, 2),
        context: int = 24,
        fine: int = 8,
    ) -> None:
        super().__init__()
        self.structures = structures
        self.body = SegResNet(
            3,
            init_filters=width,
            in_channels=8 * 4,
            out_channels=structures + context,
            blocks_down=tuple(blocks),
            blocks_up=(1, 1, 1),
        )
        self.near = nn.Conv3d(1, fine, 3, padding=1)
        self.mix = nn.Conv3d(1 + fine + context + CLASSES, 32, 1)
        self.decide = nn.Conv3d(32, structures, 1)
        last = self.body.conv_final[-1].conv
        for parameter in (*self.decide.parameters(), last.weight[:structures], last.bias[:structures]):
            nn.init.zeros_(parameter)

    def forward(
        self,
        image: Tensor,
        prior: Tensor | None = None,
        coordinates: Tensor | None = None,
        tissue: Tensor | None = None,
        part: tuple[int, int] | None = None,
    ) -> Tensor:
        """prior [B, structures, X/2, Y/2, Z/2] and coordinates [B, 3, X, Y, Z] as `located` gives them,
        tissue [B, 2, classes] as `tissue_model` gives it, or None.

        part: only these of the X/2 slabs at half resolution are decoded, first and end, which makes training
        cheaper.
        """
        first, end = part or (0, image.shape[2] // 2)
        if prior is None:
            prior = flat_prior(self.structures, [n // 2 for n in image.shape[2:]]).to(image.device)
            prior = prior.expand(image.shape[0], -1, -1, -1, -1)
        if coordinates is None:
            coordinates = image.new_zeros(image.shape[0], 3, *image.shape[2:])
        coarse = self.body(fold(torch.cat([image, coordinates.to(image)], 1)))[:, :, first:end]
        change, context = coarse.split([self.structures, coarse.shape[1] - self.structures], 1)
        before = prior[:, :, first:end].float() + _GAIN * change.float()
        own = image[:, :, 2 * first : 2 * end]
        evidence = _evidence(own, tissue)
        seen = torch.cat([own, self.near(own), _doubled(context), evidence.to(own) / _GAIN], 1)
        decided = self.decide(functional.relu(self.mix(seen)))
        return _doubled(before) + _GAIN * decided.float() + evidence[:, CLASS_OF]


def _evidence(image: Tensor, tissue: Tensor | None) -> Tensor:
    """Logarithmic likelihood [B, classes, X, Y, Z] of each tissue class, limited to what an atlas may still
    overrule.
    """
    if tissue is None:
        return image.new_zeros(image.shape[0], CLASSES, *image.shape[2:], dtype=torch.float32)
    rows = [log_likelihood(own[0].float(), *model) for own, model in zip(image, tissue.float())]
    return torch.stack(rows).clamp(-6, 4)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="trilinear")


def flat_prior(structures: int, shape: list[int]) -> Tensor:
    """Logits [1, structures, X, Y, Z] where the place is unknown: most voxels are outside."""
    prior = torch.full((1, structures, *shape), -3.0)
    prior[:, 0] = 1.0
    return prior


def located(atlas: Tensor, to_template: Tensor, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """The prior logits [structures, X/2, Y/2, Z/2] and coordinates [3, X, Y, Z] of an image of `shape` [X, Y,
    Z].

    atlas: probabilities [structures, 40, 48, 40] on the template grid at half resolution. to_template: (4, 4)
    voxel of the image -> voxel of the template grid. Coordinates are template RAS decimetre.
    """
    half = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0]))
    half[:3, 3] = 0.5
    points = _transformed(torch.linalg.inv(half) @ to_template @ half, tuple(n // 2 for n in shape))
    sides = torch.tensor(atlas.shape[1:], dtype=torch.float32)
    unit = (2 * points / (sides - 1) - 1).flip(-1)
    probability = functional.grid_sample(atlas[None], unit[None], align_corners=True)[0]
    probability[0] = 1 - probability[1:].sum(0)
    millimetre = torch.from_numpy(GRID_AFFINE).float() @ to_template
    return probability.clamp(min=_LEAST).log(), _transformed(millimetre, shape).movedim(-1, 0) / 100


def mirror(shape: tuple[int, int, int]) -> Tensor:
    """(4, 4) voxel of a grid of `shape` -> voxel of its left-right mirror image."""
    matrix = torch.eye(4)
    matrix[0, 0], matrix[0, 3] = -1.0, shape[0] - 1.0
    return matrix


def _transformed(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    """matrix @ index for every index of a grid of `shape`: [*shape, 3]."""
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    return grid @ matrix[:3, :3].T + matrix[:3, 3]


def normalise(image: Tensor) -> Tensor:
    """Intensities to 0..1: the 0.5th and 99.5th percentile of the voxels above zero, clipped. The anatomy
    network's input.
    """
    positive = image[image > 0]
    if positive.numel() < 8:
        return torch.zeros_like(image)
    some = positive.flatten()[:: max(1, positive.numel() // 50_000)]
    low, high = torch.quantile(some, torch.tensor([0.005, 0.995])).tolist()
    low = min(low, 0.0) if float((image <= 0).float().mean()) > 0.2 else low
    return ((image - low) / max(high - low, 1e-6)).clamp(0, 1)
