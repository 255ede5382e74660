"""Anatomy of a scan: `brain-anatomy-2mm` on any head or brain, any contrast, in any orientation.

The network first looks at the whole scan and finds the intracranial space; the frame aligns that to the
template; then the network looks again, now told where it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_dilation, binary_erosion, binary_fill_holes, label

from .anatomy import MIRROR, volumes_ml
from .errors import Refused
from .imaging.atlas import atlas
from .imaging.frame import Frame
from .imaging.grid import GRID_SHAPE, GRID_SPACING, VOXEL_ML, resample, sample, upright
from .imaging.volume import Volume
from .models.loading import Model, load_model, prepared
from .nets.anatomy import located, mirror, normalise
from .nets.tissue import tissue_model

ANATOMY_MODEL = "brain-anatomy-2mm"
_STRIPPED_ML = (700.0, 2300.0)
"""What is not background in a scan whose skull was removed, in millilitre; a whole head has more than 2.5
litres.
"""
_LEAST_ML = 100.0
"""A region that is smaller is no brain, nor can it be aligned."""
_LARGEST = (144, 160, 144)
_TALLEST = 68
"""Voxels of 2 mm from the top of a brain to where the neck begins."""
_NEVER = 0.99
"""Probability of the atlas above which a voxel is outside whatever it looks like."""
_LOOKS = 2
"""Times that a head's rough mask is refined by aligning it and looking again."""


@dataclass(frozen=True)
class Segmentation:
    """Structures on a 2 mm grid that is aligned with the template.

    labels: uint8 [80, 96, 80], indices of `anatomy.STRUCTURES`. inside: float32 of that shape, probability of
    the intracranial space. affine: (4, 4) its voxel -> native RAS mm. confidence: mean probability of the
    chosen structures.
    """

    labels: np.ndarray
    inside: np.ndarray
    affine: np.ndarray
    confidence: float

    def volumes(self) -> dict[str, float]:
        """Intracranial, brain and ventricular volume in millilitre; the grid is rigid, so they are native
        ones.
        """
        return volumes_ml(self.labels, VOXEL_ML)

    def labels_on(self, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
        """The labels on another grid (nearest neighbour), uint8."""
        return sample(self.labels, np.linalg.inv(self.affine) @ affine, shape, order=0)

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

    def frame(self, volume: Volume) -> Frame:
        """The frame of a head or a brain. A stripped brain's mask is what is not 0; a head is looked at
        twice.

        Raises Refused where there is no brain.
        """
        data = np.asarray(volume.data, np.float32)
        if is_stripped(volume):
            return Frame.fit(data, volume.affine, stripped_mask(volume))
        found = self.find(volume)
        for _ in range(_LOOKS):
            rough = Frame.fit(data, volume.affine, found, rough=True)
            found = self.segment(rough, data).mask_on(volume.shape, volume.affine)
            _require(found, volume)
        return Frame.fit(data, volume.affine, found)

    def find(self, volume: Volume) -> np.ndarray:
        """Intracranial mask [X, Y, Z] from one look at the whole scan. Raises Refused where there is no
        brain.
        """
        corners = np.array(np.meshgrid(*((0, n - 1) for n in volume.shape), indexing="ij")).reshape(3, -1)
        points = volume.affine[:3, :3] @ corners + volume.affine[:3, 3:]
        wanted = [16 * np.ceil(extent / GRID_SPACING / 16) for extent in np.ptp(points, axis=1)]
        x, y, z = (int(np.clip(n, 80, limit)) for n, limit in zip(wanted, _LARGEST))
        middle = points.mean(1)
        whole = resample(np.asarray(volume.data), volume.affine, GRID_SPACING, (x, y, z), middle)
        outside = self._probabilities(normalise(torch.from_numpy(whole)))[0]
        to_whole = np.linalg.inv(upright(GRID_SPACING, (x, y, z), middle)) @ volume.affine
        inside = _without_neck(outside < 0.5)
        mask = sample(inside.astype(np.float32), to_whole, volume.shape) > 0.5
        _require(mask, volume)
        return mask

    def segment(self, frame: Frame, data: np.ndarray) -> Segmentation:
        """The structures of the scan `data` [X, Y, Z] that `frame` was fitted to."""
        return self.segment_model(normalise(torch.from_numpy(frame.to_model(data))), frame)

    def segment_model(self, image: torch.Tensor, frame: Frame) -> Segmentation:
        """The structures of an `image` [80, 96, 80] in 0..1 that lies where the brain of `frame` lies.

        The mean of the image and its mirror image with the labels swapped, so that left and right are treated
        alike.
        """
        to_template = torch.from_numpy(np.linalg.inv(frame.template_index)).float()
        flip = mirror(GRID_SHAPE)
        straight = self._probabilities(image, to_template)
        mirrored = self._probabilities(image.flip(0), flip @ to_template @ flip)[MIRROR][:, ::-1]
        mean = (straight + mirrored) / 2
        region = one_region(mean[0] < 0.5)
        labels = np.where(region, mean[1:].argmax(0) + 1, 0).astype(np.uint8)
        confidence = float(mean.max(0)[region].mean()) if region.any() else 0.0
        inside = np.where(region, np.maximum(1 - mean[0], 0.5001), np.minimum(1 - mean[0], 0.4999))
        return Segmentation(labels, inside.astype(np.float32), frame.affine @ frame.index, confidence)

    @torch.inference_mode()
    def _probabilities(self, image: torch.Tensor, to_template: torch.Tensor | None = None) -> np.ndarray:
        """Probabilities [structures, X, Y, Z] of one image [X, Y, Z] in 0..1, with its place where that is
        known.
        """
        batch = image[None, None].to(self.device).contiguous(memory_format=torch.channels_last_3d)
        if to_template is None:
            logits = self.net(batch)
        else:
            prior, coordinates = located(torch.from_numpy(np.array(atlas())), to_template, GRID_SHAPE)
            place = (prior, coordinates, tissue_model(image, prior))
            logits = self.net(batch, *(part[None].to(self.device) for part in place))
            # Skin and neck may look like brain, but not where no brain of the atlas ever reached.
            never = torch.nn.functional.interpolate(prior[None, :1].exp(), scale_factor=2.0, mode="trilinear")
            logits[:, :1] += 50.0 * (never > _NEVER).to(logits)
        return logits.float().softmax(1)[0].cpu().numpy()


def segment(volume: Volume, device: str = "cpu", precision: str = "fp32") -> Segmentation:
    """The structures of `volume`, any orientation and contrast. Raises Refused where there is no brain."""
    segmenter = Segmenter.load(device, precision)
    return segmenter.segment(segmenter.frame(volume), np.asarray(volume.data, np.float32))


def is_stripped(volume: Volume) -> bool:
    """Whether the skull was removed: background exactly 0, and a brain's volume that is not."""
    nonzero = np.asarray(volume.data) > 0
    background = 1 - nonzero.mean()
    return bool(background > 0.3 and _STRIPPED_ML[0] < nonzero.sum() * volume.voxel_ml < _STRIPPED_ML[1])


def stripped_mask(volume: Volume) -> np.ndarray:
    """Intracranial mask [X, Y, Z] of a skull-stripped scan: its largest nonzero region, holes filled."""
    return one_region(np.asarray(volume.data) > 0)


def one_region(mask: np.ndarray) -> np.ndarray:
    """The largest connected region of `mask`, holes filled."""
    numbered, count = label(mask)
    if not count:
        return mask
    largest = np.bincount(numbered.ravel())[1:].argmax() + 1
    return binary_fill_holes(numbered == largest)


def _without_neck(mask: np.ndarray) -> np.ndarray:
    """A rough mask on an upright 2 mm grid without thin bridges to eyes and neck, and without what lies far
    below its top.
    """
    ball = np.linalg.norm(np.indices((7, 7, 7)) - 3, axis=0) <= 3
    core = one_region(binary_erosion(mask, ball))
    if not core.any():
        return one_region(mask)
    top = int(np.argwhere(core)[:, 2].max())
    core[:, :, : max(0, top - _TALLEST)] = False
    return binary_dilation(one_region(core), ball) & mask


def _require(mask: np.ndarray, volume: Volume) -> None:
    if mask.sum() * volume.voxel_ml < _LEAST_ML:
        raise Refused("No brain was found in this image; check that it is a head or brain scan.")
