"""The file's own bytes: what is really stored, counted before any reader may fill a gap with zeros."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from ..errors import Refused

_CHUNK = 1 << 20
_EITHER_HEADER = 47
"""What zlib calls a stream that begins as zlib's or as gzip's."""
_MOST_BEYOND = 64 << 20
"""Bytes behind the declared voxels; formats leave some there, none leaves this many."""


def is_gzip(path: Path) -> bool:
    """Whether the content is gzip, whatever the file is called."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_plain(path: Path) -> BufferedIOBase:
    """The file as a stream of uncompressed bytes."""
    return cast(BufferedIOBase, gzip.open(path, "rb") if is_gzip(path) else path.open("rb"))


def first_bytes(path: Path, count: int) -> bytes:
    """The first uncompressed bytes, fewer where the file ends earlier or its compression is damaged."""
    with open_plain(path) as stream:
        try:
            return stream.read(count)
        except (EOFError, OSError, zlib.error):
            return b""


def require_bytes(path: Path, offset: int, voxel_bytes: int) -> int:
    """Check that the file holds `offset + voxel_bytes` bytes when uncompressed.

    Returns how many it holds beyond; nothing is kept. A compressed file is read to its end, so that its
    checksum is compared too, unless it goes on for longer than any honest file: a decompression bomb stops
    there. Raises Refused.
    """
    declared = offset + voxel_bytes
    found = 0
    try:
        if not is_gzip(path):
            found = path.stat().st_size
        else:
            with gzip.open(path, "rb") as stream:
                while found <= declared + _MOST_BEYOND and (chunk := stream.read1(_CHUNK)):
                    found += len(chunk)
        whole = found >= declared
    except EOFError:
        whole = False
    except (OSError, zlib.error) as error:
        raise Refused(
            f"{path.name} is damaged (its compressed content does not add up); copy or export the file again."
        ) from error
    if not whole:
        raise cut_short(path, voxel_bytes, declared - found)
    if found > declared + _MOST_BEYOND:
        raise Refused(
            f"{path.name} holds far more than its header says, so one of them is damaged; "
            "export the image again."
        )
    return found - declared


def require_inflated(path: Path, offset: int, voxel_bytes: int) -> None:
    """Check that what is compressed behind `offset`, by zlib or gzip, holds `voxel_bytes`; raises Refused."""
    found = 0
    inflate = zlib.decompressobj(_EITHER_HEADER)
    with path.open("rb") as file:
        file.seek(offset)
        waiting = b""
        while found < voxel_bytes and (waiting := waiting or file.read(_CHUNK)):
            try:
                found += len(inflate.decompress(waiting, _CHUNK))
            except zlib.error as error:
                raise Refused(
                    f"{path.name} is damaged (its compressed content does not add up); copy or export the "
                    "file again."
                ) from error
            waiting = inflate.unconsumed_tail
            if inflate.eof:  # another compressed part may follow
                waiting, inflate = inflate.unused_data, zlib.decompressobj(_EITHER_HEADER)
    found += len(inflate.flush())
    if found < voxel_bytes:
        raise cut_short(path, voxel_bytes, voxel_bytes - found)


def cut_short(path: Path, voxel_bytes: int, missing_bytes: int) -> Refused:
    """What to say of a file that lacks some of the voxels that its header promises."""
    missing = min(1.0, max(0.0, missing_bytes / voxel_bytes))
    share = f"{missing:.0%}" if missing >= 0.01 else "a part"
    return Refused(
        f"{path.name} is cut short: its header promises {voxel_bytes:,} bytes of voxels and {share} "
        "of them is missing; copy or export the file again."
    )


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
