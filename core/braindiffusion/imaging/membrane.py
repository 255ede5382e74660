"""The membrane: the smoothest continuation of an image into a region, which seamless composites are made of.

Laplace's equation in the region with the image's values at its border (Perez 2003: as a correction of what is
put in, it is Poisson image editing).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import find_objects
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import LinearOperator, cg, splu

from ..errors import BrainDiffusionError

_ACCURACY, _ITERATIONS = 1e-4, 5000
_BLOCK = 4
"""Edge in voxels of the blocks whose levels are sought together."""
_LOOSE = 1e-9
"""Pull towards the mean that makes the answer unique where a piece of the region touches nothing known."""


class Membrane:
    """Made once for a region, it continues any image on the same grid into it.

    region, known: bool [X, Y, Z]; what is neither lets nothing through. spacing: (3,) mm between voxels.
    """

    def __init__(self, region: np.ndarray, known: np.ndarray, spacing: np.ndarray) -> None:
        self._box = box_around(region, 1)
        region, known = region[self._box], known[self._box] & ~region[self._box]
        self._region = region
        number = np.full(region.shape, -1, np.int32)
        number[region] = np.arange(region.sum())
        steps = (spacing.min() / spacing) ** 2
        rows, columns, weights, self._ends = [], [], [], []
        for axis, weight in enumerate(steps):
            for here, there in _neighbours(axis):
                both = region[here] & region[there]
                rows.append(number[here][both])
                columns.append(number[there][both])
                weights.append(np.full(both.sum(), weight))
                self._ends.append((number[here], here, there, region[here] & known[there], weight))
        size = int(region.sum())
        links = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
        inner = csr_matrix(links, (size, size))
        stiffness = np.asarray(inner.sum(1)).ravel() + _LOOSE
        for numbers, _, _, touching, weight in self._ends:
            np.add.at(stiffness, numbers[touching], weight)
        self._matrix = csr_matrix(diags(stiffness) - inner)
        self._near = _preconditioner(self._matrix, np.argwhere(region) // _BLOCK, stiffness)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The continuation (N,) float32 at the region's voxels, in their order; in a piece that touches
        nothing known, the mean of what others touch (0 where there are none). The image's own values in the
        region are not looked at.
        """
        image = image[self._box]
        seen = [image[there][touching].astype(np.float64) for _, _, there, touching, _ in self._ends]
        mean = np.concatenate(seen).mean() if any(map(len, seen)) else 0.0
        pull = np.zeros(self._matrix.shape[0])
        for (numbers, _, _, touching, weight), values in zip(self._ends, seen):
            np.add.at(pull, numbers[touching], weight * (values - mean))
        found, failed = cg(self._matrix, pull, rtol=_ACCURACY, maxiter=_ITERATIONS, M=self._near)
        if failed:
            raise BrainDiffusionError(
                "The region is too large to be joined with the scan; mark a smaller one."
            )
        return (found + mean).astype(np.float32)


def _preconditioner(matrix: csr_matrix, blocks: np.ndarray, stiffness: np.ndarray) -> LinearOperator:
    """Nearly the inverse of `matrix` [N, N]: each row by itself, and all of a block together, which carries
    far what single rows hand on one voxel at a time (Nicolaides 1987). blocks: (N, 3), whose each row is.
    """
    number = np.unique(blocks, axis=0, return_inverse=True)[1].ravel()
    size = len(number)
    members = csr_matrix((np.ones(size), (np.arange(size), number)), (size, number.max(initial=0) + 1))
    together = splu((members.T @ matrix @ members).tocsc())
    return LinearOperator(
        (size, size), lambda pull: pull / stiffness + members @ together.solve(members.T @ pull), dtype=float
    )


def box_around(region: np.ndarray, margin: int) -> tuple[slice, ...]:
    """The box of bool `region` [X, Y, Z], wider by `margin` voxels where the grid has them; `region` holds at
    least one voxel.
    """
    (box,) = find_objects(region.astype(np.uint8))
    return tuple(
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, size in zip(box, region.shape)
    )


def _neighbours(axis: int) -> tuple[tuple[tuple[slice, ...], tuple[slice, ...]], ...]:
    """Pairs of slices that hold each voxel and its neighbour along `axis`, in both directions."""
    low, high = (
        tuple(part if other == axis else slice(None) for other in range(3))
        for part in (slice(None, -1), slice(1, None))
    )
    return (low, high), (high, low)


def steepness(image: np.ndarray, first: np.ndarray, second: np.ndarray, spacing: np.ndarray) -> float | None:
    """Mean difference per mm between neighbouring voxels of which one lies in `first` and the other in
    `second` (bool [X, Y, Z]); None where there are none.
    """
    total, count = 0.0, 0
    for axis, step in enumerate(spacing):
        for here, there in _neighbours(axis):
            pairs = first[here] & second[there]
            total += float(np.abs(image[here][pairs].astype(np.float64) - image[there][pairs]).sum() / step)
            count += int(pairs.sum())
    return total / count if count else None
