"""What an image may cost before its voxels are touched: memory, dimensions, frames."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import Refused, Unanswered
from .notes import Notes

MAX_VOXELS = 1 << 30
"""More than a whole head at 0.2 mm: a header that asks for more is wrong."""
MAX_RATIO = 200
"""Declared bytes per stored byte; real scans reach 50, only a decompression bomb of this size goes on."""
RATIO_FROM_BYTES = 256 << 20
"""Smaller images cannot hurt, and an empty one compresses any number of times."""
WORKING_BYTES_PER_VOXEL = 12
"""float32 voxels, and what the checks hold beside them for a moment."""


def free_memory_bytes() -> int:
    """Memory that this process may still take without the machine running out."""
    free = _meminfo_available() or _windows_available() or _half_of_all()
    return min(free, _container_available())


def _meminfo_available() -> int:
    table = Path("/proc/meminfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def _container_available() -> int:
    """Room under the control group's limit, which /proc/meminfo does not know."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
    except OSError:
        return sys.maxsize
    return sys.maxsize if limit.strip() == "max" else max(0, int(limit) - int(used))


def _windows_available() -> int:
    if sys.platform != "win32":
        return 0
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in ("total", "available", "total_page", "page", "total_virtual", "virtual", "extended")
        ]

    status = Status()
    status.length = ctypes.sizeof(Status)
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.available)


def _half_of_all() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def check_size(name: str, shape: Sequence[int], itemsize: int, stored_bytes: int | None = None) -> None:
    """Refuse what cannot be a scan, or cannot be held, before a single voxel is read.

    shape: voxels along every axis, frames included; itemsize: bytes per stored voxel;
    stored_bytes: size of the file on disk where it holds the voxels.
    Raises Refused.
    """
    size = " x ".join(str(n) for n in shape)
    if any(n <= 0 for n in shape):
        raise Refused(f"{name} says that it is {size} voxels large, which cannot be; export the image again.")
    grid = math.prod(shape[:3])
    if grid > MAX_VOXELS:
        raise Refused(
            f"{name} says that it is {size} voxels large, which no scan of a head is; "
            "its header is damaged, so export the image again."
        )
    declared = math.prod(shape) * itemsize
    if stored_bytes and declared > RATIO_FROM_BYTES and declared > MAX_RATIO * stored_bytes:
        raise Refused(
            f"{name} would grow from {_megabytes(stored_bytes)} to {_megabytes(declared)} when opened, "
            "which no real scan does; it was not opened."
        )
    needed, free = grid * (itemsize + WORKING_BYTES_PER_VOXEL), free_memory_bytes()
    if needed > free:
        raise Refused(
            f"{name} ({size} voxels) needs {_megabytes(needed)} of memory and {_megabytes(free)} are free; "
            "close other programs, or crop or resample the image."
        )


def pick_frame(name: str, n_frames: int, frame: int | None, notes: Notes) -> int:
    """Index of the one frame to read, from 0; raises Unanswered where there are several and none was chosen,
    and Refused where there is no such frame.
    """
    if frame is not None and not 0 <= frame < n_frames:
        raise Refused(
            f"{name} has {n_frames} frame{'s' * (n_frames > 1)}, counted from 0, and no frame {frame}."
        )
    if n_frames > 1 and frame is None:
        raise Unanswered(
            f"{name} holds {n_frames} images of the head (times, echoes or directions), not one; "
            f"save one of them as a file of its own, or choose one with frame = 0 to {n_frames - 1} "
            "(on the command line: --frame 0).",
            "frame",
            n_frames,
        )
    if n_frames > 1:
        notes.repaired(f"Of the {n_frames} images in {name}, number {frame} (counted from 0) was used.")
    return frame or 0


def _megabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
