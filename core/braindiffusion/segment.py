"""Anatomy of a scan: `brain-anatomy-2mm` on any head or brain, any contrast, in any orientation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes, label

from .anatomy import MIRROR, volumes_ml
from .imaging.grid import GRID_SHAPE, GRID_SPACING, resample, sample, upright
from .imaging.volume import Volume
from .models.loading import Model, load_model, prepared

ANATOMY_MODEL = "brain-anatomy-2mm"
_STRIPPED_ML = (700.0, 2300.0)
"""Volume in millilitre that is not background in a scan whose skull was removed; a whole head has more than
2.5 litres.
"""
_LARGEST = (144, 160, 144)


@dataclass(frozen=True)
class Segmentation:
    """Structures on an upright 2 mm RAS grid.

    labels: uint8 [80, 96, 80], indices of `anatomy.STRUCTURES`. inside: float32 of that shape, probability of
    the intracranial space. affine: (4, 4) its voxel -> RAS mm. confidence: mean probability of the chosen
    structures inside.
    """

    labels: np.ndarray
    inside: np.ndarray
    affine: np.ndarray
    confidence: float

    def volumes(self) -> dict[str, float]:
        """Intracranial, brain and ventricular volume in millilitre."""
        return volumes_ml(self.labels, GRID_SPACING**3 / 1000)

    def labels_on(self, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
        """The labels on another grid (nearest neighbour), uint8."""
        return sample(self.labels, np.linalg.inv(self.affine) @ affine, shape, order=0)

    def mask_on(self, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
        """The intracranial mask on another grid, bool: the one region that is more likely in than out, holes
        filled.
        """
        return _one_region(sample(self.inside, np.linalg.inv(self.affine) @ affine, shape) > 0.5)


def segment(
    volume: Volume, model: Model | None = None, device: str = "cpu", precision: str = "fp32"
) -> Segmentation:
    """Segment `volume`. First the whole field of view finds the brain, then the model grid around it decides.

    The second look is the mean of the image and its mirror image with the labels swapped, so left and right
    are treated alike.
    """
    model = model or load_model(ANATOMY_MODEL)
    net = prepared(model.net, device, precision)
    data = np.asarray(volume.data, np.float32)
    centre = _brain_centre(net, data, volume.affine, device)
    image = _normalised(resample(data, volume.affine, GRID_SPACING, GRID_SHAPE, centre))
    logits = _probabilities(net, image, device)
    mirrored = _probabilities(net, image.flip(0), device)[MIRROR][:, ::-1]
    mean = (logits + mirrored) / 2
    labels = mean.argmax(0).astype(np.uint8)
    region = _one_region(mean[0] < 0.5)
    confidence = float(mean.max(0)[region].mean()) if region.any() else 0.0
    inside = np.where(region, np.maximum(1 - mean[0], 0.5001), np.minimum(1 - mean[0], 0.4999)).astype(
        np.float32
    )
    return Segmentation(
        np.where(region, labels, 0).astype(np.uint8),
        inside,
        upright(GRID_SPACING, GRID_SHAPE, centre),
        confidence,
    )


def is_stripped(volume: Volume) -> bool:
    """Whether the skull was removed: background exactly 0, and a brain's volume that is not."""
    nonzero = np.asarray(volume.data) > 0
    background = 1 - nonzero.mean()
    return bool(background > 0.3 and _STRIPPED_ML[0] < nonzero.sum() * volume.voxel_ml < _STRIPPED_ML[1])


def stripped_mask(volume: Volume) -> np.ndarray:
    """Intracranial mask [X, Y, Z] of a skull-stripped scan: its largest nonzero region, holes filled."""
    return _one_region(np.asarray(volume.data) > 0)


def _brain_centre(net: torch.nn.Module, data: np.ndarray, affine: np.ndarray, device: str) -> np.ndarray:
    """RAS mm (3,) of the middle of the brain's box, from one look at the whole scan; the scan's middle where
    nothing is found.
    """
    corners = np.array(np.meshgrid(*((0, n - 1) for n in data.shape), indexing="ij")).reshape(3, -1)
    points = affine[:3, :3] @ corners + affine[:3, 3:]
    extent = np.ptp(points, axis=1)
    shape = tuple(
        int(np.clip(16 * np.ceil(e / GRID_SPACING / 16), 80, limit)) for e, limit in zip(extent, _LARGEST)
    )
    middle = points.mean(1)
    whole = _normalised(resample(data, affine, GRID_SPACING, shape, middle))  # type: ignore[arg-type]
    inside = _one_region(_probabilities(net, whole, device)[0] < 0.5)
    if not inside.any():
        return middle
    places = np.argwhere(inside)
    low, high = np.percentile(places, [0.1, 99.9], axis=0)
    grid = upright(GRID_SPACING, shape, middle)  # type: ignore[arg-type]
    return grid[:3, :3] @ ((low + high) / 2) + grid[:3, 3]


def _normalised(image: np.ndarray) -> torch.Tensor:
    from .training.population import normalise

    return normalise(torch.from_numpy(np.ascontiguousarray(image)))


@torch.inference_mode()
def _probabilities(net: torch.nn.Module, image: torch.Tensor | np.ndarray, device: str) -> np.ndarray:
    """Probabilities [structures, X, Y, Z] of one image [X, Y, Z] in 0..1."""
    tensor = torch.as_tensor(image)[None, None].to(device).contiguous(memory_format=torch.channels_last_3d)
    return net(tensor).float().softmax(1)[0].cpu().numpy()


def _one_region(mask: np.ndarray) -> np.ndarray:
    """The largest connected region of `mask`, holes filled."""
    numbered, count = label(mask)
    if not count:
        return mask
    largest = np.bincount(numbered.ravel())[1:].argmax() + 1
    return binary_fill_holes(numbered == largest)
