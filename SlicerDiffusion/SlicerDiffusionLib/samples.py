"""The images of a run's sequence one by one: which row of a table tells of one, and each as a volume of its
own.
"""

from __future__ import annotations

from typing import Any

from . import marks, present
from .presenters import volume

_NUMBERS = ("sample", "number")


def numberOf(row: dict[str, Any], sequence: Any) -> int:
    """Which image of a sequence, from 1, a row tells of; 0 where it tells of none, as a row with a place."""
    told = str(row.get(numberKey(row, sequence), ""))  # beside a row of their mean, numbers are words
    known = told.isdecimal() and 1 <= int(told) <= sequence.GetNumberOfDataNodes() and "x_mm" not in row
    return int(told) if known else 0


def numberKey(row: dict[str, Any], sequence: Any) -> str:
    """Under which key a row has the number of its image; empty where it has none."""
    return next((key for key in (sequence.GetIndexName(), *_NUMBERS) if key in row), "")


def seedOf(sequence: Any, number: int, rows: list[dict[str, Any]]) -> int | None:
    """The seed of an image, as a row or the provenance of the run tells; None where neither does."""
    told = next((row.get("seed") for row in rows if numberOf(row, sequence) == number), None)
    seeds = marks.recordOf(sequence).get("provenance", {}).get("seeds")
    if told is None and isinstance(seeds, list) and len(seeds) == sequence.GetNumberOfDataNodes():
        told = seeds[number - 1]
    return told if isinstance(told, int) else None


def kept(sequence: Any, number: int) -> Any:
    """The volume of its own that an image was made into; None where it was not, or has been deleted."""
    import slicer

    wanted = (marks.runOf(sequence), _part(sequence, number))
    found = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next(
        (node for node in found if (node.GetAttribute(marks.RUN), node.GetAttribute(marks.PART)) == wanted),
        None,
    )


def keep(sequence: Any, number: int, seed: int | None = None) -> Any:
    """Make an image into a volume of its own, named with its number and seed, beside the sequence; the one
    that is there where it was made before.
    """
    import vtk

    there = kept(sequence, number)
    if there is not None:
        return there
    frame, record = sequence.GetNthDataNode(number - 1), marks.recordOf(sequence)
    artifact = record.get("artifact", {})
    image, matrix = vtk.vtkImageData(), vtk.vtkMatrix4x4()
    image.DeepCopy(frame.GetImageData())
    frame.GetIJKToRASMatrix(matrix)
    role = f"{sequence.GetIndexName()} {number}" + ("" if seed is None else f" seed {seed}")
    made = volume.bare(image, matrix)
    made.SetName(marks.name(_base(record), role, marks.isSynthetic(sequence)))
    volume.show(made, artifact.get("display") or {}, image.GetScalarRange()[1])
    images = {name: marks.inputOf(sequence, name) for name in record.get("inputs", {})}
    one = {**artifact, "role": role, "kind": "volume", "synthetic": marks.isSynthetic(sequence)}
    marks.mark(made, {**record, "artifact": one}, images)
    made.SetAttribute(marks.ROLE, None)  # the run is whole without it
    made.SetAttribute(marks.PART, _part(sequence, number))
    tree = present.hierarchy()
    tree.SetItemParent(tree.GetItemByDataNode(made), tree.GetItemParent(tree.GetItemByDataNode(sequence)))
    return made


def _part(sequence: Any, number: int) -> str:
    return f"{marks.roleOf(sequence)}.{number}"


def _base(record: dict[str, Any]) -> str:
    """What the names of a run's nodes begin with."""
    inputs = record.get("inputs", {}).values()
    return str(next(iter(inputs), str(record.get("task", "")).replace("_", " ").capitalize()))
