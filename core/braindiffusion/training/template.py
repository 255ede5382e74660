"""Building the deformable template: from the training brains a sharp mean brain, the deformations from it to
each of them, and how these go with the covariates (`nets.deformable`).

Registration and averaging take turns (Guimond 2000); mirror images count as brains, so the mean is symmetric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from ..anatomy import PARENCHYMA, VENTRICLES
from ..generating import cleaned, measured, placed
from ..imaging.demons import register
from ..imaging.expected import population
from ..imaging.grid import VOXEL_ML
from ..nets.anatomy import normalise
from ..nets.deformable import FAINT, FEATURES, DeformableTemplate, coarsened, enlarged, feature, finer, uphill
from ..nets.warping import mirrored, pull
from ..plan import cpu_precision
from ..segment import Segmenter
from .brains import Brain

ROUNDS = 3
MODES = 48
COUNTED = 12
"""Brains in which the volumes that are shown are measured."""
_WIDTHS = np.arange(0.6, 3.0, 0.1)
"""Voxels."""


class Built(NamedTuple):
    """The template, and for each brain the field [3, X, Y, Z] that makes it of the mean brain."""

    template: DeformableTemplate
    fields: list[np.ndarray]


def build(brains: Sequence[Brain], volumes: Mapping[str, Mapping[str, float]], folder: Path) -> Built:
    """The deformable template of `brains`; fields are kept in `folder`, so that a run that was stopped goes
    on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mean = _symmetric(torch.from_numpy(population().typical.copy()))
    for turn in range(ROUNDS):
        fields = [_kept(folder / f"{turn}-{brain.name}.npy", mean, brain) for brain in brains]
        seen = [pull(brain.image[None], field)[0] for brain, field in zip(brains, fields)]
        mean = _symmetric(torch.stack(seen).mean(0))
    known = np.array([[feature(name, _value(brain, volumes, name)) for name in FEATURES] for brain in brains])
    arrays = [field.numpy() for field in fields]
    segmenter = Segmenter.load(precision=cpu_precision())
    template = fitted(mean.numpy(), _parts(mean.numpy(), segmenter), arrays, known)
    return Built(counted(template, arrays[:: max(1, len(arrays) // COUNTED)], segmenter), arrays)


def refitted(template: DeformableTemplate, brains: Sequence[Brain], folder: Path) -> Built:
    """The `template` with folds as `brains` have them, and what makes each of them of its mean brain; fields
    are kept in `folder` by the mean brain that they start from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mean, mark = torch.from_numpy(template.mean), crc32(template.mean.tobytes())
    fields = [_kept(folder / f"{mark:08x}-{brain.name}.npy", mean, brain) for brain in brains]
    arrays = [field.numpy() for field in fields]
    return Built(replace(template, **_folds(template.mean, _both(arrays))), arrays)


def counted(
    template: DeformableTemplate, fields: Sequence[np.ndarray], segmenter: Segmenter
) -> DeformableTemplate:
    """With voxels that count what the anatomy network measures in the brains that `fields` make."""
    voxels = np.stack([template.volumes(field) for field in fields]) / template.ml
    found = [measured(cleaned(template.show(field)), segmenter) for field in fields]
    ml = np.array([[each["ventricles"], each["brain"]] for each in found])
    return replace(template, ml=np.exp(np.log(ml / voxels.clip(1)).mean(0)))


def _parts(mean: np.ndarray, segmenter: Segmenter) -> np.ndarray:
    """Ventricles and tissue [2, X, Y, Z] (0 or 1) of the mean brain."""
    labels = segmenter.segment_model(normalise(torch.from_numpy(mean)), placed(mean)).labels
    return np.stack([np.isin(labels, part) for part in (VENTRICLES, PARENCHYMA)]).astype(np.float32)


def _kept(file: Path, mean: torch.Tensor, brain: Brain) -> torch.Tensor:
    if not file.exists():
        np.save(file, register(mean.numpy(), brain.image.numpy()).astype(np.float16))
    return torch.from_numpy(np.load(file).astype(np.float32))


def _symmetric(image: torch.Tensor) -> torch.Tensor:
    return (image + image.flip(0)) / 2


def _value(brain: Brain, volumes: Mapping[str, Mapping[str, float]], name: str) -> float | None:
    return getattr(brain, name) if name in ("age", "sex") else volumes.get(brain.name, {}).get(name)


def fitted(
    mean: np.ndarray,
    parts: np.ndarray,
    fields: Sequence[np.ndarray],
    known: np.ndarray,
    modes: int = MODES,
) -> DeformableTemplate:
    """The template of displacement `fields` [3, X, Y, Z], which make each brain of `mean`, and
    features `known` [N, F]; `parts` as `DeformableTemplate` has them.
    """
    both = _both(fields)
    coarse = np.stack([coarsened(field) for field in both])
    features = np.repeat(known, 2, 0)
    middle, deviation = features.mean(0), features.std(0)
    z = (features - middle) / deviation
    shift = coarse.mean(0)
    slopes = np.tensordot(np.linalg.pinv(z), coarse - shift, 1)
    rest = coarse - shift - np.tensordot(z, slopes, 1)
    flat = rest.reshape(len(rest), -1)
    _, size, directions = np.linalg.svd(flat, full_matrices=False)
    freedom = len(known) - 1 - known.shape[1]
    # Mirror images are no further brains: they add to the directions, not to the degrees of freedom.
    deviations = size[:modes] / np.sqrt(2 * freedom)
    return DeformableTemplate(
        mean=mean,
        shift=shift,
        slopes=slopes,
        modes=(deviations[:, None] * directions[:modes]).reshape(-1, *shift.shape),
        **_folds(mean, both),
        features=np.column_stack([middle, deviation, np.corrcoef(z.T)]),
        parts=parts,
        ml=np.full(len(parts), VOXEL_ML),
        seen=np.column_stack([z, flat @ directions[:modes].T / deviations]).astype(np.float32),
    )


def _both(fields: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Fields and their mirror images in turn."""
    return [one for field in fields for one in (field, mirrored(torch.from_numpy(field)).numpy())]


def _folds(mean: np.ndarray, fields: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """What `DeformableTemplate` says of folds, by what the coarse grid does not hold of `fields`."""
    usual = coarsened(np.mean([finer(field) for field in fields], axis=0), 2)
    average, up, inside = enlarged(usual, 2), uphill(mean), mean > FAINT
    square = np.zeros((1, *coarsened(fields[0]).shape[1:]))
    along = all_of_it = alike = 0.0
    for field in fields:
        own = finer(field) - average
        square = square + coarsened((own**2).mean(0, keepdims=True))
        along += float(((own * up).sum(0)[inside] ** 2).sum())
        all_of_it += float((own[:, inside] ** 2).sum())
        alike += _alike(own)
    share, fine = np.array([along / all_of_it]), np.sqrt(square / len(fields))
    return {"usual": usual, "fine": fine, "along": share, "width": _width(alike / len(fields))}


def _alike(field: np.ndarray) -> float:
    """Correlation of neighbours."""
    return float((field[:, 1:] * field[:, :-1]).sum() / max(float((field**2).sum()), 1e-12))


def _width(alike: float) -> np.ndarray:
    """Width (1,) in voxels of the Gaussian filter of white noise whose neighbours, in what the coarse grid
    does not hold of it, correlate most nearly so.
    """
    noise = np.random.default_rng(0).standard_normal((1, 64, 64, 64))
    off = [abs(_alike(finer(gaussian_filter(noise, (0, w, w, w)))) - alike) for w in _WIDTHS]
    return _WIDTHS[[int(np.argmin(off))]]
