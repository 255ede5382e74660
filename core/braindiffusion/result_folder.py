"""The folder of a result: what may be replaced there, and how a save leaves a whole result or the old one.

New files are made in a hidden folder, the workshop, and exchanged for the earlier ones when all are there. A
save that was killed leaves its workshop; the next one puts back what was earlier, and removes it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import BrainDiffusionError

FORMAT = "braindiffusion result 1"
MANIFEST = "result.json"
HANDOVER = ".handover"
"""Folder inside a result's where the worker leaves voxels for its viewer, which removes them."""
MADE = "made"
"""Folder inside a workshop for the new files, until they are moved out."""

# Folder inside a workshop where the earlier files wait until the new ones are in their place.
_EARLIER = "earlier"
_WORKSHOP = ".unfinished-"
# What a desktop puts into any folder it shows, and copies of voxels; nobody's work.
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini", HANDOVER}


def check_folder(folder: str | Path) -> list[str]:
    """See that a result may be written to `folder`; the names of an earlier result's files, to be replaced.

    Raises BrainDiffusionError where the folder is a file, holds anything that is not an earlier result, or
    cannot be written to.
    """
    folder = Path(folder).expanduser().absolute()
    try:
        return _earlier_files(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _earlier_files(folder: Path) -> list[str]:
    if folder.exists() and not folder.is_dir():
        raise BrainDiffusionError(f"'{folder}' is a file; give a folder for the result.")
    standing = next(place for place in (folder, *folder.parents) if place.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        raise BrainDiffusionError(
            f"The result cannot be written: '{standing}' is not a folder that you may write to."
        )
    if standing != folder:
        for part in folder.relative_to(standing).parts:
            with suppress(FileNotFoundError):
                os.lstat(standing / part)  # raises where a name is too long
        return []
    for workshop in folder.glob(f"{_WORKSHOP}*"):
        _put_back(folder, workshop)
    content = {file.name for file in folder.iterdir() if not file.name.startswith(_WORKSHOP)} - _LITTER
    if not content:
        return []
    if MANIFEST not in content:
        raise BrainDiffusionError(
            f"'{folder}' holds files that are not a result; give an empty or a new folder."
        )
    earlier = _files(read_manifest(folder))
    strangers = sorted(content - {MANIFEST, *earlier})
    if strangers:
        raise BrainDiffusionError(
            f"'{folder}' holds, beside an earlier result, '{strangers[0]}', which is no part of it; "
            "give an empty or a new folder."
        )
    return earlier


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """A hidden folder inside `folder` to make files in, rid of those of saves that were killed.

    If anything fails, it and the folders that were new are gone, unless somebody else has written there.
    """
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_WORKSHOP}*"):
            shutil.rmtree(left, ignore_errors=True)
        workshop = Path(tempfile.mkdtemp(prefix=_WORKSHOP, dir=folder))
        try:
            (workshop / MADE).mkdir()
            (workshop / _EARLIER).mkdir()
            yield workshop
        finally:
            _put_back(folder, workshop)
            shutil.rmtree(workshop, ignore_errors=True)
    except BaseException as error:
        with suppress(OSError):
            for place in new:
                place.rmdir()
        if isinstance(error, OSError):
            raise cannot_write(folder, error) from error
        raise


def exchange(folder: Path, workshop: Path, earlier: list[str], names: list[str]) -> None:
    """Move `earlier` from `folder` into the workshop and `names` out of it, the manifest first and last."""
    for name in [MANIFEST, *earlier]:
        if (folder / name).exists():
            os.replace(folder / name, workshop / _EARLIER / name)
    for name in [*names, MANIFEST]:
        os.replace(workshop / MADE / name, folder / name)


def _put_back(folder: Path, workshop: Path) -> None:
    """Undo an exchange that was cut off, as far as it came; nothing where there was none, or it was whole."""
    made = workshop / MADE
    if not (made / MANIFEST).is_file():
        return
    for name in _files(read_manifest(made)):
        if not (made / name).exists():
            (folder / name).unlink(missing_ok=True)
    for file in (workshop / _EARLIER).glob("*"):
        os.replace(file, folder / file.name)


def _files(manifest: dict[str, Any]) -> list[str]:
    """The files that a manifest names, of its own folder only."""
    return [str(name) for name in manifest["files"] if Path(str(name)).name == name]


def cannot_write(folder: Path, error: OSError) -> BrainDiffusionError:
    """The sentence for a user whose disk refuses a result."""
    why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return BrainDiffusionError(f"The result cannot be written to '{folder}': {why}; nothing was kept.")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of `result.json`; raises BrainDiffusionError where there is none that can be read."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BrainDiffusionError(f"There is no result in '{folder}': it has no {MANIFEST}.") from None
    except (OSError, ValueError):
        raise BrainDiffusionError(f"'{path}' cannot be read; the result is damaged.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BrainDiffusionError(f"'{path}' is not a result that this version can read ('{FORMAT}').")
    return manifest
