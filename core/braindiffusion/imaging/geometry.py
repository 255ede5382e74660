"""Where voxels lie in the patient: what is checked, what is said and what is repaired."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy import ndimage

from ..errors import Refused, Unanswered
from .limits import check_size
from .notes import Notes
from .volume import Volume

SHEAR_KEPT_MM = 0.05
"""A smaller departure from right angles, at the grid's corners, is below what a scan resolves and is kept."""
_FARTHEST = 1e9
"""No number in an affine is larger, in whatever unit."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
_SIDE = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "top", "I": "bottom"}


def read_orientation(orientation: str | None) -> str | None:
    """Three capitals for the directions in which the voxel axes run; raises Refused for anything else."""
    if orientation is None:
        return None
    letters = orientation.strip().upper()
    if len(letters) != 3 or any(letters.count(a) + letters.count(b) != 1 for a, b in ("RL", "AP", "SI")):
        raise Refused(
            f"'{orientation}' is no orientation; give three letters for the directions in which the voxel "
            "axes run, such as RAS (to the right, the front and the top) or LAS."
        )
    return letters


def side(affine: np.ndarray, axis: int, towards_end: bool) -> str:
    """Name of the side of the patient at one face of the grid, such as "top"."""
    from nibabel.orientations import aff2axcodes

    letter = aff2axcodes(affine)[axis]
    return _SIDE[letter if towards_end else _OPPOSITE[letter]]


def stated_affine(
    name: str, shape: Sequence[int], spacing: np.ndarray, orientation: str | None, notes: Notes
) -> np.ndarray:
    """Affine of a file that holds no orientation, from what the user states; the grid's middle is put at 0.

    Nothing is guessed: libraries disagree on what such a file means. Raises Unanswered where nothing was
    stated.
    """
    spacing = np.abs(spacing.astype(np.float64))
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise Refused(
            f"{name} says neither how large its voxels are nor how they lie in the head; "
            "export the image again from where it was made."
        )
    if orientation is None:
        raise Unanswered(
            f"{name} does not say which side of the image is left, front or top; export it again in a form "
            "that does, such as DICOM, or, if you know it, state it as orientation, for example RAS (voxel "
            "axes run to the right, the front and the top) or LAS (on the command line: --orientation RAS).",
            "orientation",
        )
    affine = np.zeros((4, 4))
    for axis, letter in enumerate(orientation):
        row = next(i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        affine[row, axis] = spacing[axis] * (1.0 if letter in "RAS" else -1.0)
    affine[3, 3] = 1.0
    affine[:3, 3] = -affine[:3, :3] @ (np.asarray(shape[:3]) - 1) / 2
    notes.stated = orientation
    notes.repaired(
        f"{name} does not say how it lies in the head; {orientation} was used as you stated, "
        "with the middle of the image at 0 mm."
    )
    return affine


def scale_to_mm(name: str, affine: np.ndarray, unit: str, notes: Notes) -> np.ndarray:
    """Affine in millimetre from one in `unit` ("metre", "micron" or "mm").

    Libraries differ by a factor of 1000 here, and many files name a unit that their numbers are not in: the
    reading under which voxels are between 0.01 and 50 mm is taken, and said. Raises Refused where neither
    reading is.
    """
    factor = {"metre": 1000.0, "micron": 0.001, "mm": 1.0}[unit]
    if factor == 1.0:
        return affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if _plausible(spacing * factor):
        notes.repaired(f"{name} is measured in {unit}; its geometry was converted to millimetre.")
        return np.diag([factor, factor, factor, 1.0]) @ affine
    if _plausible(spacing):
        notes.repaired(
            f"{name} names {unit} as its unit, which would make voxels of {_times(spacing * factor)} mm; "
            "its numbers were taken as millimetre."
        )
        return affine
    raise Refused(f"{name} has voxels of {_times(spacing)} {unit}, which cannot be; export the image again.")


def _plausible(spacing: np.ndarray) -> bool:
    return bool(((spacing >= 0.01) & (spacing <= 50)).all())


def _times(spacing: np.ndarray) -> str:
    return " x ".join(f"{s:.4g}" for s in spacing)


def check_affine(name: str, affine: np.ndarray) -> None:
    """Raise Refused where the affine does not place voxels in space."""
    if not np.isfinite(affine).all():
        raise Refused(f"The position of {name} in space is not a number; export the image again.")
    flat = np.abs(affine).max() > _FARTHEST
    if not flat:
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        flat = spacing.min() < 1e-6 or abs(np.linalg.det(affine[:3, :3] / spacing)) < 0.1
    if flat or not np.array_equal(affine[3], [0, 0, 0, 1]):
        raise Refused(
            f"The position of {name} in space is not valid (its voxel axes do not span a volume); "
            "export the image again."
        )


def corner_distance_mm(first: np.ndarray, second: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance between the places that two affines give to the same voxel of a grid, mm."""
    corners = np.array(list(product(*((0, n - 1) for n in shape[:3]))), dtype=np.float64)
    difference = corners @ (first - second)[:3, :3].T + (first - second)[:3, 3]
    return float(np.linalg.norm(difference, axis=1).max())


def nearest_orthonormal(affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The grid at right angles, same spacing and middle, with the nearest axes (polar decomposition)."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, vt = np.linalg.svd(affine[:3, :3] / spacing)
    straight = np.eye(4)
    straight[:3, :3] = (u @ vt) * spacing
    middle = (np.asarray(shape[:3]) - 1) / 2
    straight[:3, 3] = affine[:3, 3] + (affine[:3, :3] - straight[:3, :3]) @ middle
    return straight


def straighten(name: str, volume: Volume, notes: Notes) -> Volume:
    """The volume resampled onto the nearest grid at right angles, large enough to hold all of it.

    Linear interpolation, nearest neighbour for labels. A volume whose axes are at right angles within
    SHEAR_KEPT_MM comes back as it is.
    """
    straight = nearest_orthonormal(volume.affine, volume.shape)
    shear = corner_distance_mm(volume.affine, straight, volume.shape)
    if shear <= SHEAR_KEPT_MM:
        return volume
    to_straight = np.linalg.inv(straight) @ volume.affine
    corners = np.array(list(product(*((-0.5, n - 0.5) for n in volume.shape))))
    placed = corners @ to_straight[:3, :3].T + to_straight[:3, 3]
    low, high = placed.min(axis=0), placed.max(axis=0)
    shape = tuple(int(n) for n in np.ceil(high - low - 1e-6))
    check_size(name, shape, volume.data.itemsize)
    grid = straight.copy()
    grid[:3, 3] = (straight @ np.append((low + high) / 2 - (np.asarray(shape) - 1) / 2, 1.0))[:3]
    to_voxel = np.linalg.inv(volume.affine) @ grid
    is_label = np.issubdtype(volume.data.dtype, np.integer)
    data = ndimage.affine_transform(
        volume.data,
        to_voxel[:3, :3],
        to_voxel[:3, 3],
        shape,
        order=0 if is_label else 1,
        mode="constant",
        cval=min(0.0, float(volume.data.min())),
    )
    notes.repaired(
        f"The voxel axes of {name} are not at right angles (up to {shear:.1f} mm off at the corners); it was "
        f"resampled onto the nearest grid that is, of {' x '.join(map(str, shape))} voxels."
    )
    return Volume(data, grid, volume.meta)


def warn_of_spacing(spacing: np.ndarray, shape: Sequence[int], notes: Notes) -> None:
    """Say it where voxels are far from what networks for brains are trained on; nothing is changed."""
    if spacing.min() < 0.2 or spacing.max() > 6.0:
        notes.warn(f"Voxels of {_times(spacing)} mm are outside the usual 0.2 to 6 mm; check them.")
    if spacing.max() > 3 * spacing.min():
        notes.warn(
            f"Voxels of {_times(spacing)} mm are more than 3 times longer in one direction than in another; "
            "what is thinner than a slice can be missed."
        )
    if min(shape) < 10:
        notes.warn(f"The image has only {min(shape)} slices in one direction.")
