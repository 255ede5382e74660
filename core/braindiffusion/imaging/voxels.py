"""What the voxels themselves tell: numbers that are none, masks given as scans, brains cut flat."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from ..errors import Refused
from .geometry import side
from .limits import check_size, pick_frame
from .notes import Notes

_FEW_VALUES = 24
"""So few whole numbers are a label map; an 8-bit scan has more than a hundred."""
_SAME_AS_NEIGHBOUR = 0.6
"""Share of equal neighbours in the foreground: scans 0.00 to 0.30, label maps 0.75 to 1.00 (measured)."""
_FLAT = 0.7
"""Area of the last slab over that two slabs further in: near 1 at flat cuts, at most 0.64 at real ends."""
_HOLES_AT_ONCE = 100_000


def check_kind(name: str, dtype: np.dtype) -> None:
    """Raise Refused for voxels that are not one real number each."""
    if dtype.names or dtype.kind == "V":
        raise Refused(f"{name} is a colour picture, not a scan in grey values; give the original scan.")
    if dtype.kind == "c":
        raise Refused(f"{name} holds complex numbers (raw scanner data); give the magnitude image.")
    if dtype.kind not in "biuf":
        raise Refused(f"The voxels of {name} are not numbers; give the original scan.")


def check_grid(name: str, shape: tuple[int, ...]) -> None:
    """Raise Refused for what is not a stack of slices; shape is (X, Y, Z, ...)."""
    if any(n <= 0 for n in shape):
        check_size(name, shape, 1)
    if len(shape) < 3 or min(shape[:3]) == 1:
        raise Refused(f"{name} is a single slice; a whole scan of the head is needed.")


def one_frame(name: str, data: np.ndarray, frame: int | None, notes: Notes) -> np.ndarray:
    """One frame [X, Y, Z] of [X, Y, Z, ...]; raises Refused where there are several and none was chosen."""
    check_grid(name, data.shape)
    n_frames = math.prod(data.shape[3:])
    index = pick_frame(name, n_frames, frame, notes)
    if data.ndim > 3:
        if n_frames == 1:
            notes.repaired(one_frame_note(name, data.ndim))
        data = data.reshape(*data.shape[:3], n_frames, order="F")[..., index]
    return data


def one_frame_note(name: str, n_dimensions: int) -> str:
    return f"{name} is stored with {n_dimensions} dimensions but holds one image; it was read as one."


def fill_nonfinite(name: str, data: np.ndarray, notes: Notes) -> np.ndarray:
    """Replace NaN and infinity: by the neighbours' median where most of the 26 are tissue, else by 0.

    data: [X, Y, Z] float32, left as it is; the same array comes back where all is finite. Raises Refused
    where no voxel is a number.
    """
    bad = ~np.isfinite(data)
    count = np.count_nonzero(bad)
    if count == 0:
        return data
    if count == data.size:
        raise Refused(f"No voxel of {name} is a number; the image is empty or damaged.")
    repaired = np.where(bad, np.float32(0), data)
    inside = _fill_holes(repaired, bad)
    how = (
        f"set to 0 ({count - inside:,}) or filled from their neighbours ({inside:,})"
        if inside
        else "set to 0"
    )
    notes.repaired(
        f"{count:,} of {data.size:,} voxels of {name} were not numbers (NaN or infinite); they were {how}."
    )
    return repaired


def _fill_holes(data: np.ndarray, bad: np.ndarray) -> int:
    """Fill, in place, bad voxels most of whose 26 neighbours are tissue (not 0), and count them."""
    tissue = ndimage.uniform_filter((data != 0).astype(np.float32), 3, mode="constant")
    holes = np.argwhere(bad & (tissue > 13.5 / 27))
    padded = np.pad(data, 1)
    for start in range(0, len(holes), _HOLES_AT_ONCE):
        some = holes[start : start + _HOLES_AT_ONCE]
        around = np.stack([padded[tuple((some + step).T)] for step in np.ndindex(3, 3, 3)])
        data[tuple(some.T)] = np.nanmedian(np.where(around != 0, around, np.nan), axis=0)
    return len(holes)


def as_labels(name: str, data: np.ndarray) -> np.ndarray:
    """Labels in a native integer type, from whole numbers of any type; raises Refused for other numbers."""
    if data.dtype.kind == "f":
        if not (np.abs(data) < 2**31).all() or not np.array_equal(data, np.rint(data)):
            raise Refused(f"{name} holds other values than whole numbers; give a label map or a mask.")
        return data.astype(np.int32)
    return data.astype(np.uint8 if data.dtype.kind == "b" else data.dtype.newbyteorder("="), copy=False)


def check_contrast(name: str, data: np.ndarray) -> None:
    """Raise Refused for an image without content and for a label map; data: [X, Y, Z] finite."""
    low, high = data.min(), data.max()
    if low == high:
        raise Refused(f"All voxels of {name} have the same value ({low:g}); the image is empty.")
    step = max(1, math.ceil(math.sqrt(data.size / 4e6)))
    rows = data[:, ::step, ::step]
    if not np.array_equal(rows, np.rint(rows)):
        return
    values, counts = np.unique(rows, return_counts=True)
    n_values, background = values.size, values[counts.argmax()]
    a, b = rows[1:], rows[:-1]
    both = (a != 0) & (b != 0) & (a != background) & (b != background)
    same = int(np.count_nonzero((a == b) & both)) / max(1, int(np.count_nonzero(both)))
    if 2 <= n_values <= _FEW_VALUES or same > _SAME_AS_NEIGHBOUR:
        raise Refused(
            f"{name} looks like a mask or label map ({n_values} whole numbers), not like a scan; "
            "give the scan itself."
        )


def check_cut(name: str, data: np.ndarray, affine: np.ndarray, notes: Notes) -> None:
    """Find what a reader hides that fills a truncated file with zeros, and fields of view that cut the head.

    A truncated file lacks the end of its last axis, and nearly always stops within a slice. Such an image is
    refused, and so is one whose last slabs are empty behind a cut through much of the head. Other flat cuts
    are noted. A brain that tapers off, or a scan padded on both sides, passes. Raises Refused.
    """
    occupied = data != data[-1, -1, -1]
    areas = [np.asarray(np.count_nonzero(occupied, axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    n_slices = data.shape[2]
    last = int(np.flatnonzero(areas[2])[-1])
    if last < n_slices - 1 and _stops_within_slice(occupied[:, :, max(0, last - 2) : last + 1], areas[2]):
        raise Refused(
            f"The voxels of {name} stop in the middle of slice {last + 1} of {n_slices} and nothing follows, "
            "as when a file was cut short; load the image again from a complete file."
        )
    for axis, area in enumerate(areas):
        (empty_before, cut_before), (empty_after, cut_after) = _flat_end(area[::-1]), _flat_end(area)
        if (cut_before > 0) == (cut_after > 0):
            continue
        at_end = cut_after > 0
        empty, cut = (empty_after, cut_after) if at_end else (empty_before, cut_before)
        where = side(affine, axis, towards_end=at_end)
        through = 0.75 if where == "bottom" else 0.4
        if axis == 2 and at_end and cut > through and empty >= 0.1 * n_slices:
            raise Refused(
                f"The head in {name} ends in a flat cut and {empty} empty slices follow towards the {where}, "
                "as when a file was cut short or half of the head was scanned; load the image again from "
                "a complete file."
            )
        if cut > (through if where == "bottom" else 0.25):
            notes.warn(
                f"The head ends in a flat cut {empty} slices before the {where} of the image; "
                "what lies beyond was not scanned or is missing."
            )


def _flat_end(area: np.ndarray) -> tuple[int, float]:
    """Empty slabs at the end of one axis, and the flat cut's share of the largest area (tapering: 0)."""
    last = int(np.flatnonzero(area)[-1])
    empty = len(area) - 1 - last
    if empty < max(3, 0.03 * len(area)):
        return empty, 0.0
    for end in (last, last - 1):
        if end >= 2 and area[end] > _FLAT * area[end - 2]:
            return empty, float(area[end] / area.max())
    return empty, 0.0


def _stops_within_slice(slabs: np.ndarray, areas: np.ndarray) -> bool:
    """Whether the last of three slabs [X, Y, 3] equals the one before in its first rows and then is empty."""
    filled = np.count_nonzero(slabs, axis=(0, 1))
    if len(filled) < 3 or filled.min() == 0 or filled[1] < 0.15 * areas.max():
        return False
    rows = [int(np.flatnonzero(slabs[:, :, k].any(axis=0))[-1]) for k in range(3)]
    before, lost = abs(rows[0] - rows[1]), rows[1] - rows[2]
    if lost < max(3, 3 * before + 2):
        return False
    first, second = slabs[:, : rows[2], 2], slabs[:, : rows[2], 1]
    union = np.count_nonzero(first | second)
    return bool(union > 0 and np.count_nonzero(first & second) > 0.85 * union)
