"""Anatomy of a scan: `brain-anatomy-2mm` on any head or brain, any contrast, in any orientation.

A stripped brain is aligned with the template; of a whole head, the head is aligned first, and the network
finds the intracranial space in it. Then the network, told where it looks, finds the structures.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import binary_dilation, binary_fill_holes, label

from .anatomy import MIRROR, STRUCTURES, volumes_ml
from .errors import Refused
from .imaging.align import head_to_template
from .imaging.atlas import atlas
from .imaging.expected import population
from .imaging.frame import Frame, Placement
from .imaging.grid import GRID_AFFINE, GRID_SHAPE, VOXEL_ML, sample
from .imaging.intensity import Ground
from .imaging.template import template
from .imaging.volume import Volume
from .models.loading import Model, load_model, prepared
from .nets.anatomy import located, mirror, normalise
from .nets.tissue import tissue_model
from .nets.warping import warp
from .telling import Tell, between, silent

ANATOMY_MODEL = "brain-anatomy-2mm"
_STRIPPED_ML = (700.0, 2300.0)
"""What is not background in a scan whose skull was removed, in millilitre; a whole head has more than 2.5
litres.
"""
_LEAST_ML = 100.0
"""A region that is smaller is no brain, nor can it be aligned."""
_LEAST_MM, _LEAST_VOXELS = 60.0, 8
"""Along its shortest axis, an image that is smaller holds no brain."""
_AT_ONCE = 100_000
"""Voxels whose structures are compared at once: more would take hundreds of megabytes."""
_NEVER = 0.99
"""Probability of the atlas above which a voxel is outside whatever it looks like."""


@dataclass(frozen=True)
class Segmentation:
    """Structures on a 2 mm grid that is aligned with the template.

    probabilities: float16 [structures, 80, 96, 80], in the order of `anatomy.STRUCTURES`. inside: float32
    [80, 96, 80], probability of the intracranial space, above 0.5 in one region. affine: (4, 4) its voxel ->
    native RAS mm. confidence: mean probability of the chosen structures.
    """

    probabilities: np.ndarray
    inside: np.ndarray
    affine: np.ndarray
    confidence: float

    @classmethod
    def certain(cls, labels: np.ndarray, affine: np.ndarray, confidence: float = 1.0) -> Segmentation:
        """That of `labels` [80, 96, 80] of which there is no doubt."""
        sure = np.stack([labels == s.index for s in STRUCTURES]).astype(np.float16)
        return cls(sure, (labels > 0).astype(np.float32), affine, confidence)

    @cached_property
    def labels(self) -> np.ndarray:
        """uint8 [80, 96, 80], indices of `anatomy.STRUCTURES`."""
        return np.where(self.inside > 0.5, self.probabilities[1:].argmax(0) + 1, 0).astype(np.uint8)

    def volumes(self) -> dict[str, float]:
        """Intracranial, brain and ventricular volume in millilitre; the grid is rigid, so they are native
        ones.
        """
        return volumes_ml(self.labels, VOXEL_ML)

    def labels_on(self, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
        """The labels on another grid, uint8: the likeliest structure by interpolated probabilities, which
        follows borders between the voxels of 2 mm.
        """
        to_own = np.linalg.inv(self.affine) @ affine
        inside = sample(self.inside, to_own, shape) > 0.5
        labels = np.zeros(shape, np.uint8)
        labels[inside] = self._likeliest(np.argwhere(inside) @ to_own[:3, :3].T + to_own[:3, 3])
        return labels

    def _likeliest(self, voxels: np.ndarray) -> np.ndarray:
        """Indices (N,) of structures at `voxels` (N, 3), positions between this grid's."""
        structures = torch.from_numpy(self.probabilities[1:]).float()
        found = [
            warp(structures, torch.from_numpy(some.T.astype(np.float32))[..., None, None]).argmax(0).flatten()
            + 1
            for some in np.array_split(voxels, len(voxels) // _AT_ONCE + 1)
        ]
        return torch.cat(found).to(torch.uint8).numpy()

    def mask_on(self, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
        """The intracranial mask on another grid, bool: the one region that is more likely in than out, holes
        filled.
        """
        return one_region(sample(self.inside, np.linalg.inv(self.affine) @ affine, shape) > 0.5)


@dataclass(frozen=True)
class Segmenter:
    """The anatomy network, ready on a device."""

    net: torch.nn.Module
    device: str = "cpu"

    @classmethod
    def load(cls, device: str = "cpu", precision: str = "fp32", model: Model | None = None) -> Segmenter:
        """The shipped network, or that of `model`."""
        return cls(prepared((model or load_model(ANATOMY_MODEL)).net, device, precision), device)

    def frame(self, volume: Volume, tell: Tell = silent) -> Frame:
        """The frame of a head or a brain. A stripped brain's mask is what is not background; of a head,
        which alignment places, the network finds the mask.

        `tell` takes the share that is done. Raises Refused where there is no brain.
        """
        data = np.asarray(volume.data, np.float32)
        _require_extent(volume)
        if is_stripped(volume):
            mask, ground = stripped_mask(volume), Ground.of(data)
            frame = Frame.fit(ground.lifted(data), volume.affine, mask, tell=between(tell, 0.1, 1.0))
            return replace(frame, ground=ground)
        head = find(volume, between(tell, 0.0, 0.35))
        place = Placement.by_head(data.shape, volume.affine, head.to_template)
        image = normalise(torch.from_numpy(place.to_model(data)))
        anatomy = self.segment_model(image, place, between(tell, 0.4, 0.65))
        found = one_region(anatomy.mask_on(volume.shape, volume.affine) & head.intracranial)
        _require(found, volume)
        return Frame.fit(data, volume.affine, found, tell=between(tell, 0.7, 1.0))

    def segment(self, frame: Frame, data: np.ndarray, tell: Tell = silent) -> Segmentation:
        """The structures of the scan `data` [X, Y, Z] that `frame` was fitted to."""
        lifted = frame.ground.lifted(data)
        return self.segment_model(normalise(torch.from_numpy(frame.to_model(lifted))), frame, tell)

    def segment_model(self, image: torch.Tensor, place: Placement, tell: Tell = silent) -> Segmentation:
        """The structures of an `image` [80, 96, 80] in 0..1 that lies as `place` says.

        The mean of the image and its mirror image with the labels swapped, so that left and right are treated
        alike. `tell` takes the share that is done.
        """
        to_template = torch.from_numpy(np.linalg.inv(place.template_index)).float()
        flip = mirror(GRID_SHAPE)
        straight = self._probabilities(image, to_template, between(tell, 0.0, 0.45))
        turned = flip @ to_template @ flip
        mirrored = self._probabilities(image.flip(0), turned, between(tell, 0.45, 0.9))
        mean = (straight + mirrored[torch.from_numpy(MIRROR)].flip(1)) / 2
        tell(0.95)
        outside = mean[0].numpy()
        region = one_region(outside < 0.5)
        confidence = float(mean.amax(0).numpy()[region].mean()) if region.any() else 0.0
        inside = np.where(region, np.maximum(1 - outside, 0.5001), np.minimum(1 - outside, 0.4999))
        index = place.affine @ place.index
        # NumPy takes a second to make the same halves of numbers as small as these.
        halves = mean.half().numpy()
        return Segmentation(halves, inside.astype(np.float32), index, confidence)

    @torch.inference_mode()
    def _probabilities(self, image: torch.Tensor, to_template: torch.Tensor, tell: Tell) -> torch.Tensor:
        """Probabilities [structures, 80, 96, 80] of one image [80, 96, 80] in 0..1, whose place is known."""
        batch = image[None, None].to(self.device).contiguous(memory_format=torch.channels_last_3d)
        prior, coordinates = located(torch.from_numpy(np.array(atlas())), to_template, GRID_SHAPE)
        place = (prior, coordinates, tissue_model(image, prior))
        tell(0.1)
        with _telling(self.net, between(tell, 0.1, 0.9)):
            logits = self.net(batch, *(part[None].to(self.device) for part in place))
        tell(0.9)
        # Skin and neck may look like brain, but not where no brain of the atlas ever reached.
        never = torch.nn.functional.interpolate(prior[None, :1].exp(), scale_factor=2.0, mode="trilinear")
        logits[:, :1] += 50.0 * (never > _NEVER).to(logits)
        return logits.float().softmax(1)[0].cpu()


def segment(volume: Volume, device: str = "cpu", precision: str = "fp32") -> Segmentation:
    """The structures of `volume`, any orientation and contrast. Raises Refused where there is no brain."""
    segmenter = Segmenter.load(device, precision)
    return segmenter.segment(segmenter.frame(volume), np.asarray(volume.data, np.float32))


@contextmanager
def _telling(net: torch.nn.Module, tell: Tell) -> Iterator[None]:
    """Whenever a layer of `net` has computed, tell how many of them have, even those that do so twice."""
    layers = [part for part in net.modules() if not any(part.children())]
    done: set[torch.nn.Module] = set()

    def computed(layer: torch.nn.Module, *_: object) -> None:
        done.add(layer)
        tell(len(done) / len(layers))

    hooks = [layer.register_forward_hook(computed) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class Head(NamedTuple):
    """What alignment with a head shows: the brain alone, and all that may be intracranial, bool [X, Y, Z]
    each; and the alignment (4, 4), native RAS mm -> template RAS mm.
    """

    brain: np.ndarray
    intracranial: np.ndarray
    to_template: np.ndarray


def find(volume: Volume, tell: Tell = silent) -> Head:
    """Where the brain of a whole head lies by alignment with a head. `tell` takes the share that is done.
    Raises Refused where there is nothing to align.
    """
    data = np.asarray(volume.data, np.float32)
    if not (data > 0).any():
        raise Refused("No brain was found in this image; check that it is a head or brain scan.")
    to_template = head_to_template(data, volume.affine, tell)
    to_grid = np.linalg.inv(GRID_AFFINE) @ to_template @ volume.affine
    brain = binary_fill_holes(template().t1 > 0.2)
    space = binary_dilation(binary_fill_holes(population().aligned.mean > 0.1))
    masks = [sample(mask.astype(np.float32), to_grid, volume.shape) > 0.5 for mask in (brain, space)]
    _require(masks[0], volume)
    return Head(masks[0], masks[1], to_template)


def is_stripped(volume: Volume) -> bool:
    """Whether the skull was removed: one value as background, and a brain's volume that is not."""
    nonzero = _foreground(volume)
    background = 1 - nonzero.mean()
    return bool(background > 0.3 and _STRIPPED_ML[0] < nonzero.sum() * volume.voxel_ml < _STRIPPED_ML[1])


def stripped_mask(volume: Volume) -> np.ndarray:
    """Intracranial mask [X, Y, Z] of a skull-stripped scan: its largest region that is not background, holes
    filled.
    """
    return one_region(_foreground(volume))


def _foreground(volume: Volume) -> np.ndarray:
    data = np.asarray(volume.data)
    return Ground.of(data).lifted(data) > 0


def one_region(mask: np.ndarray) -> np.ndarray:
    """The largest connected region of `mask`, holes filled."""
    numbered, count = label(mask)
    if not count:
        return mask
    largest = np.bincount(numbered.ravel())[1:].argmax() + 1
    return binary_fill_holes(numbered == largest)


def _require_extent(volume: Volume) -> None:
    """Raise Refused for what is too small to hold a brain, or to be aligned."""
    extent = volume.spacing * volume.shape
    if extent.min() < _LEAST_MM or min(volume.shape) < _LEAST_VOXELS:
        size = " x ".join(f"{mm:.0f}" for mm in extent)
        raise Refused(
            f"The image is only {size} mm large ({' x '.join(map(str, volume.shape))} voxels), which is too "
            "little for a brain; give the whole scan, or check the voxel spacing in the file."
        )


def _require(mask: np.ndarray, volume: Volume) -> None:
    if mask.sum() * volume.voxel_ml < _LEAST_ML:
        raise Refused("No brain was found in this image; check that it is a head or brain scan.")
