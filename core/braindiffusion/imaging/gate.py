"""The gate for every image, also one that a viewer already holds: passed, repaired with notes, or refused.

Viewers and SimpleITK read a file that was cut short as zeros, and voxels that are no number as 0, without a
word. The gate counts the file's bytes before any reader, checks voxels and geometry after it, repairs what
has one right answer, says so in sentences for a clinician, and refuses the rest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import Refused, Unanswered
from . import geometry, io, nifti, voxels
from .limits import check_size
from .notes import Notes
from .volume import Volume

_UNNAMED = "the image"


@dataclass(frozen=True)
class Verdict:
    """What the gate says of an image.

    status: "passed" (voxels and geometry are as the file has them; notes may still warn), "repaired"
    (something was changed, and a note says what) or "refused". notes: sentences for a clinician. reason: one
    sentence where refused, else None. volume: the admitted image, float32 (labels: their integer type), or
    None where refused. unanswered: what a `frame` or an `orientation` would answer, where that is the reason.
    """

    status: Literal["passed", "repaired", "refused"]
    notes: tuple[str, ...]
    reason: str | None
    volume: Volume | None
    unanswered: Unanswered | None = None


def inspect(
    source: str | Path | Volume,
    *,
    frame: int | None = None,
    orientation: str | None = None,
    labels: bool = False,
    own_grid: bool = False,
) -> Verdict:
    """Look at an image; bad input of any kind is a verdict, never an exception.

    source: a file, a folder of DICOM files, or a volume in memory ([X, Y, Z] or [X, Y, Z, frames]).
    frame: which image of several, from 0. orientation: three letters such as "RAS" for the directions in
    which the voxel axes run, where the file itself does not say. labels: a label map or mask is wanted, not a
    scan. own_grid: leave voxel axes that are not at right angles as they are, for a viewer that can show
    them.
    """
    notes = Notes()
    try:
        volume = _admit(source, frame, geometry.read_orientation(orientation), labels, own_grid, notes)
    except Refused as refusal:
        question = refusal if isinstance(refusal, Unanswered) else None
        return Verdict("refused", _said(notes), _capital(str(refusal)), None, question)
    except MemoryError:
        reason = (
            f"{_capital(_name(source))} does not fit into memory; close other programs, or crop the image."
        )
        return Verdict("refused", _said(notes), reason, None)
    said = _said(notes)
    volume = replace(volume, meta={**volume.meta, "notes": list(said)})
    return Verdict("repaired" if notes.changed else "passed", said, None, volume)


def admit(
    source: str | Path | Volume,
    *,
    frame: int | None = None,
    orientation: str | None = None,
    labels: bool = False,
) -> tuple[Volume, tuple[str, ...]]:
    """The image and the gate's notes, as `inspect`; raises Refused with the reason."""
    verdict = inspect(source, frame=frame, orientation=orientation, labels=labels)
    if verdict.volume is None:
        raise Refused(verdict.reason or "The image cannot be used.")
    return verdict.volume, verdict.notes


def _admit(
    source: str | Path | Volume,
    frame: int | None,
    orientation: str | None,
    labels: bool,
    own_grid: bool,
    notes: Notes,
) -> Volume:
    if not isinstance(source, (str, Path, Volume)):
        raise Refused(
            f"An image is given as a path or as a Volume, not as {type(source).__name__}; save it as a file, "
            "or give Volume(data, affine)."
        )
    name = _name(source)
    if isinstance(source, Volume):
        volume = _from_memory(name, source, frame, notes)
    else:
        path = Path(os.path.expanduser(source))  # as Path.expanduser, but no error for an unknown user
        volume = _from_file(path, frame, orientation, None if labels else np.float32, notes)
    geometry.check_affine(name, volume.affine)
    voxels.check_kind(name, volume.data.dtype)
    voxels.check_grid(name, volume.shape)
    if labels:
        volume = replace(volume, data=voxels.as_labels(name, volume.data))
    else:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is found below
            data = volume.data.astype(np.float32, copy=False)
        data = voxels.fill_nonfinite(name, data, notes)
        voxels.check_contrast(name, data)
        voxels.check_cut(name, data, volume.affine, notes)
        volume = replace(volume, data=data)
    if notes.stated:
        volume = replace(volume, meta={**volume.meta, "orientation": notes.stated})
    if not own_grid:
        volume = geometry.straighten(name, volume, notes)
    geometry.warn_of_spacing(volume.spacing, volume.shape, notes)
    if volume.meta.get("synthetic") and not labels:
        notes.warn(f"{name} says of itself that it is synthetic, so findings in it are not a patient's.")
    return volume


def _from_file(
    path: Path, frame: int | None, orientation: str | None, dtype: type | None, notes: Notes
) -> Volume:
    try:
        with np.errstate(over="ignore"):
            return io.read(path, notes, frame, orientation, dtype)
    except (Refused, MemoryError):
        raise
    except PermissionError as error:
        raise Refused(
            f"{path.name} may not be read by this user; change its permissions or copy it."
        ) from error
    except Exception as error:  # what parses damaged files may raise anything; its words are the cause
        raise Refused(
            f"{path.name} cannot be read: it is damaged, cut short or not the kind of file that its name "
            "says; copy or export it again."
        ) from error


def _from_memory(name: str, volume: Volume, frame: int | None, notes: Notes) -> Volume:
    """Check a volume that somebody else has read, and its file, of which the reader may have hidden a cut."""
    if not isinstance(volume.data, np.ndarray):
        raise Refused(f"The voxels of {name} are no array of numbers; give a numpy array [X, Y, Z].")
    source = volume.meta.get("source")
    path = Path(source) if isinstance(source, (str, Path)) else None
    if path is not None and path.name.lower().endswith((".nii", ".nii.gz")) and path.is_file():
        nifti.check_stored(path, nifti.read_header(path), Notes())
    check_size(name, volume.shape, volume.data.itemsize)
    stated = volume.meta.get("orientation")
    if stated:
        notes.warn(f"{name} does not say how it lies in the head; {stated} was used as you stated.")
    return replace(volume, data=voxels.one_frame(name, volume.data, frame, notes))


def _name(source: str | Path | Volume) -> str:
    if not isinstance(source, Volume):
        return Path(source).name
    stated = source.meta.get("source")
    return Path(stated).name if isinstance(stated, (str, Path)) and str(stated) else _UNNAMED


def _said(notes: Notes) -> tuple[str, ...]:
    return tuple(_capital(sentence) for sentence in notes.sentences)


def _capital(sentence: str) -> str:
    """Sentences begin with a capital, except where a file's name does."""
    return sentence[0].upper() + sentence[1:] if sentence.startswith(_UNNAMED) else sentence
