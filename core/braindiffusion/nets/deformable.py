"""How healthy brains differ in shape: a sharp mean brain, the deformations that lead from it to others, and
how these go with age, sex, ventricular and brain volume.

Voxels of aligned brains are far from Gaussian: their mean is a blur that no brain resembles. The displacement
fields between them are nearly so, and then what 48 brains can teach is the fields' mean, their regression on
the covariates and their principal components (Cootes 1995; Rueckert 2003 for displacement fields). The brain
that this draws is what is expected of a sample; what diffuses is the difference to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, zoom

from ..imaging.demons import register
from ..telling import Tell, silent
from .warping import growth, inverse, pull

FILE = "template.npz"
"""Name beside the weights of a model that draws around a deformable template."""
FOLD = 4
"""Displacements are kept on a grid this many times coarser than the images: 8 mm."""
FEATURES = ("age", "sex", "ventricles", "brain")
_SIZES = ("ventricles", "brain")
"""Features that are volumes: they differ by factors, not by millilitres."""
_CORRECTIONS = 4
"""Rounds in which a drawn shape is brought to the volumes that were asked for."""
_EXACT = 1e-3
"""Share of a volume by which it may be off."""
_DRAWS = 24
"""Shapes of which the first that is nobody's is taken; the one least like any brain if none is."""
_PATCH = 3.0
"""Width of the Gaussian within which the parts of a drawn shape belong together, in voxels of the coarse grid
(24 mm): so drawn, brains are about as like the nearest training brain as these are to each other.
"""
FAINT = 0.1
"""Intensity of the mean brain below which there is none."""
_FARTHEST = 3.5
"""Standard deviations: features and modes beyond are drawn in, because no brain was seen there."""


@dataclass(frozen=True)
class DeformableTemplate:
    """mean: [X, Y, Z] float32, white matter 1. Fields are [3, x, y, z] in voxels of the images, on the coarse
    grid: how far from each place of the mean brain its counterpart in a brain lies.

    shift: the average field. slopes: [F, 3, x, y, z], per standard deviation of a feature (FEATURES). modes:
    [M, 3, x, y, z], each times a standard normal number. What the coarse grid does not hold are folds: usual,
    [3, X / 2, Y / 2, Z / 2], is their average, fine [1, x, y, z] their deviation from it, a smooth random
    field of `width` voxels with the share `along` of its variance along the mean brain's slopes. features:
    [F, 2 + F]: mean, deviation and correlations of the features. seen: [N, F + M] features and scores of the
    training brains and of their mirror images, two rows each in turn: no shape is drawn that is nearer to one
    of them than they are to each other.
    """

    mean: np.ndarray
    shift: np.ndarray
    slopes: np.ndarray
    modes: np.ndarray
    usual: np.ndarray
    fine: np.ndarray
    width: np.ndarray
    along: np.ndarray
    features: np.ndarray
    parts: np.ndarray
    ml: np.ndarray
    seen: np.ndarray

    @classmethod
    def load(cls, file: Path) -> DeformableTemplate:
        """Read what `save` wrote."""
        with np.load(file) as stored:
            arrays = {f.name: stored[f.name].astype(np.float32) for f in fields(cls)}
            return cls(**{name: array * _unit(stored, name) for name, array in arrays.items()})

    def save(self, file: Path) -> None:
        """Write as npz: intensities and displacements in whole numbers of a unit, each less than 1 % of the
        largest.
        """
        stored = {name: getattr(self, name) for name in ("width", "along", "features", "ml", "seen")}
        stored |= {"parts": self.parts.astype(np.uint8)}
        stored |= {"mean": np.rint(self.mean * 127), "mean_unit": np.array(1 / 127)}
        for name in ("shift", "slopes", "modes", "usual", "fine"):
            array = getattr(self, name)
            rest = tuple(range(1, array.ndim))
            unit = np.maximum(np.abs(array).max(rest, keepdims=True), 1e-6) / 127
            stored |= {name: np.rint(array / unit).astype(np.int8), f"{name}_unit": unit.astype(np.float32)}
        stored["mean"] = stored["mean"].clip(0, 255).astype(np.uint8)
        np.savez_compressed(file, **stored)

    def draw(self, values: Mapping[str, Any], seed: int) -> np.ndarray:
        """What is expected of one brain [X, Y, Z] with these covariates, in their units; unknown ones (absent
        or None) are drawn as they go with the known. The same seed gives the same shape.
        """
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(len(FEATURES), generator=generator).double().numpy()
        coarse = self._nobodys(self.standardised(values, drawn), generator)
        field = self.with_folds(coarse, generator)
        # Modes change the volumes too: the covariates make up for it.
        return self.show(self.sized(field, {name: values.get(name) for name in _SIZES}))

    def _nobodys(self, z: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """The coarse field [3, x, y, z] of a brain with features `z` [F] whose shape is that of no training
        brain.
        """
        told, nearest = np.tensordot(z, self.slopes, 1), np.inf
        for _ in range(_DRAWS):
            drawn = told + self.own(generator)
            near = self.likeness(drawn[None]).max(initial=-1)
            if near < nearest:
                kept, nearest = drawn, near
            if nearest <= self.likeness_of_brains:
                break
        return self.shift + kept

    def own(self, generator: torch.Generator) -> np.ndarray:
        """What is a brain's own of its shape, a coarse field [3, x, y, z]: the modes, each times a standard
        normal number that changes slowly from place to place.

        A mixture of the modes alone is one of whole training brains, and few. Here the parts of the brain
        differ independently if they lie far apart, and every place as much as before: the covariance of the
        modes is multiplied by a Gaussian of the distance (localisation, Houtekamer and Mitchell 2001).
        """
        noise = torch.randn(len(self.modes), *self.modes.shape[2:], generator=generator).numpy()
        smooth = gaussian_filter(noise, (0, *[_PATCH] * 3), mode="wrap")
        impulse = np.zeros(noise.shape[1:], np.float32)
        impulse[0, 0, 0] = 1.0
        smooth /= np.sqrt(np.square(gaussian_filter(impulse, _PATCH, mode="wrap")).sum())
        return np.einsum("mxyz,mcxyz->cxyz", smooth.clip(-_FARTHEST, _FARTHEST), self.modes)

    @cached_property
    def likeness_of_brains(self) -> float:
        """How alike to the one nearest to it a training brain is that is more its own than 19 in 20: 1 where
        none is known.
        """
        if len(self.seen) < 4:
            return 1.0
        alike = self.likeness(np.tensordot(self.seen, self._basis, 1))
        own = np.arange(len(alike)) // 2
        return float(np.quantile(np.where(own[:, None] == own, -1, alike).max(1), 0.05))

    def likeness(self, fields: np.ndarray) -> np.ndarray:
        """Cosines [K, N] between what coarse `fields` [K, 3, x, y, z] about the average one change in the
        mean brain's image, to first order, and what those of the training brains change.
        """
        return self._changes(fields) @ self._seen_changes.T

    @cached_property
    def _basis(self) -> np.ndarray:
        return np.concatenate([self.slopes, self.modes])

    @cached_property
    def _seen_changes(self) -> np.ndarray:
        return self._changes(np.tensordot(self.seen, self._basis, 1))

    def _changes(self, fields: np.ndarray) -> np.ndarray:
        """[K, 3 x y z], each of length 1: their products are those of the changes that `fields` make."""
        flat = np.einsum("xyzij,kixyz->kxyzj", self._structure, fields).reshape(len(fields), self.shift.size)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)

    @cached_property
    def _structure(self) -> np.ndarray:
        """Root [x, y, z, 3, 3] of the mean brain's structure tensor: how much a displacement along each axis
        changes its image there.
        """
        slopes = np.gradient(self.mean)
        tensor = coarsened(np.stack([[one * other for other in slopes] for one in slopes]))
        moved = np.moveaxis(tensor, (0, 1), (3, 4)).astype(np.float64)
        return np.linalg.cholesky(moved + 1e-9 * np.eye(3))

    def variants(self, field: np.ndarray, strays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What `field` [3, X, Y, Z] makes of the mean brain, [X, Y, Z] once for each of `strays`, small
        displacements [3, X, Y, Z]. These are added where the brain lies, so that one inverse does for all.
        """
        back = _undone(field)
        return [self._pulled(back + torch.from_numpy(stray)) for stray in strays]

    def stray(self, generator: torch.Generator) -> np.ndarray:
        """How far a brain's own shape, coarse and fine, lies from what is usual, [3, X, Y, Z]."""
        return enlarged(self.own(generator)) + self.folds(generator)

    def sized(self, field: np.ndarray, wanted: Mapping[str, Any]) -> np.ndarray:
        """`field` [3, X, Y, Z] with as much of the covariates' slopes added as brings ventricles and brain to
        the volumes in ml that are `wanted`; None is left as it is.
        """
        known = {name: float(ml) for name, ml in wanted.items() if ml is not None}
        for _ in range(_CORRECTIONS if known else 0):
            step, off = np.zeros(len(FEATURES)), 0.0
            for name, got in zip(_SIZES, self.volumes(field)):
                if name in known:
                    at, factor = FEATURES.index(name), np.log(max(known[name], 0.1) / max(got, 0.1))
                    step[at], off = factor / self.features[at, 1], max(off, abs(factor))
            if off < _EXACT:
                break
            field = field + enlarged(np.tensordot(step.clip(-2, 2), self.slopes, 1))
        return field

    def volumes(self, field: np.ndarray) -> np.ndarray:
        """Ventricular and brain volume in ml of the brain with that field [3, X, Y, Z]."""
        grown = growth(torch.from_numpy(np.ascontiguousarray(field, np.float32))).clamp(min=0).numpy()
        return np.array([grown[part > 0.5].sum(dtype=np.float64) for part in self.parts]) * self.ml

    def with_folds(self, coarse: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """The field [3, X, Y, Z] of a brain of which the `coarse` one [3, x, y, z] is known; its folds are
        drawn.
        """
        return enlarged(coarse) + enlarged(self.usual, 2) + self.folds(generator)

    def folds(self, generator: torch.Generator) -> np.ndarray:
        """How far a brain's own folds lie from the usual ones, [3, X, Y, Z]."""
        noise = torch.randn(4, *self.mean.shape, generator=generator).numpy()
        smooth = np.stack([gaussian_filter(one, float(self.width[0])) for one in noise])
        # A third of what has no direction lies along the slope, too.
        anyhow = min(1.0, 1.5 * (1 - float(self.along[0])))
        drawn = np.sqrt(anyhow / 3) * smooth[:3] + np.sqrt(1 - anyhow) * self._uphill * smooth[3]
        drawn = finer(drawn)
        return drawn / drawn[:, self.mean > FAINT].std() * enlarged(self.fine)

    @cached_property
    def _uphill(self) -> np.ndarray:
        return uphill(self.mean)

    def show(self, field: np.ndarray) -> np.ndarray:
        """The brain [X, Y, Z] that `field` [3, X, Y, Z] makes of the mean brain."""
        return self._pulled(_undone(field))

    def _pulled(self, back: torch.Tensor) -> np.ndarray:
        return pull(torch.from_numpy(self.mean)[None], back.float())[0].numpy()

    def fit(self, image: np.ndarray, tell: Tell = silent, **how: Any) -> np.ndarray:
        """The field [3, X, Y, Z] that makes `image` [X, Y, Z] of the mean brain: some 15 s, and 2 s where
        `finest` is 2. how: `finest`, `start` and `rounds` of `imaging.demons.register`.
        """
        return register(self.mean, image, tell, **how)

    def changed(self, field: np.ndarray, before: Mapping[str, Any], after: Mapping[str, Any]) -> np.ndarray:
        """`field` [3, X, Y, Z] of a brain as it would be had its covariates gone from `before` to `after`."""
        step = self.standardised(after) - self.standardised(before)
        moved = field + enlarged(np.tensordot(step, self.slopes, 1))
        known = {n for n in _SIZES if before.get(n) and after.get(n)}
        grown = {n: got * after[n] / before[n] for n, got in zip(_SIZES, self.volumes(field)) if n in known}
        return self.sized(moved, grown) if dict(before) != dict(after) else field

    def standardised(self, values: Mapping[str, Any], drawn: np.ndarray | None = None) -> np.ndarray:
        """Features [F] in standard deviations from their mean. Unknown ones take what is expected beside the
        known, plus their remaining deviation times `drawn` [F], standard normal.
        """
        middle, deviation, correlation = self.features[:, 0], self.features[:, 1], self.features[:, 2:]
        given = np.array([feature(name, values.get(name)) for name in FEATURES])
        z = (given - middle) / deviation
        known = np.isfinite(z)
        if not known.all():
            lean = correlation[np.ix_(~known, known)] @ np.linalg.pinv(correlation[np.ix_(known, known)])
            left = correlation[np.ix_(~known, ~known)] - lean @ correlation[np.ix_(known, ~known)]
            z[~known] = lean @ z[known]
            if drawn is not None:
                z[~known] += np.linalg.cholesky(left + 1e-6 * np.eye(len(left))) @ drawn[~known]
        return z.clip(-_FARTHEST, _FARTHEST)


def _undone(field: np.ndarray) -> torch.Tensor:
    return inverse(torch.from_numpy(np.ascontiguousarray(field, np.float32)))


def _unit(stored: Any, name: str) -> Any:
    return stored[f"{name}_unit"].astype(np.float32) if f"{name}_unit" in stored else 1.0


def feature(name: str, value: Any) -> float:
    """The value of a covariate in its unit as a feature; not a number where it is not known."""
    if value is None:
        return np.nan
    return float(np.log(max(float(value), 1e-3))) if name in _SIZES else float(value)


def uphill(mean: np.ndarray) -> np.ndarray:
    """Direction [3, X, Y, Z] in which an image [X, Y, Z] rises, of length 1; 0 where it is flat. Across it
    registration sees no displacement, so folds differ along it.
    """
    slopes = np.stack(np.gradient(gaussian_filter(mean, 1.0)))
    return (slopes / np.maximum(np.linalg.norm(slopes, axis=0), 1e-4)).astype(np.float32)


def coarsened(field: np.ndarray, factor: int = FOLD) -> np.ndarray:
    """Block means [..., X / factor, Y / factor, Z / factor] of fields [..., X, Y, Z]."""
    *lead, x, y, z = field.shape
    blocks = field.reshape(*lead, x // factor, factor, y // factor, factor, z // factor, factor)
    return blocks.mean((-5, -3, -1))


def enlarged(coarse: np.ndarray, factor: int = FOLD) -> np.ndarray:
    """Smooth fields [C, X, Y, Z] about the block means [C, x, y, z]: cubic splines."""
    along = [_spline(n, factor) for n in coarse.shape[1:]]
    return np.einsum("cxyz,ix,jy,kz->cijk", coarse.astype(np.float32), *along, optimize=True)


def finer(field: np.ndarray) -> np.ndarray:
    """What the coarse grid does not hold of a field [C, X, Y, Z]."""
    return field - enlarged(coarsened(field))


@lru_cache
def _spline(n: int, factor: int) -> np.ndarray:
    """[factor * n, n]: block means to values of a cubic spline."""
    return zoom(np.eye(n, dtype=np.float32), (factor, 1), order=3, mode="nearest", grid_mode=True)
