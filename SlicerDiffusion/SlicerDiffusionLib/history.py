"""The runs of this scene, as their nodes tell: to see, to run again, to report and to take away."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import marks, places, view
from .job import Complaint
from .schema import Task

# How the engine is to compute; a scene file cannot ask for anything else.
OPTIONS = ("device", "precision", "threads", "batch")


@dataclass
class Entry:
    """One run in the scene: its nodes by role, and its record."""

    run: str
    nodes: dict[str, Any]
    record: dict[str, Any]

    @property
    def title(self) -> str:
        return str(self.record.get("title", self.run))

    @property
    def label(self) -> str:
        """Its title, and the names of the images that it was made from."""
        return " – ".join([self.title, *map(str, _object(self.record, "inputs").values())])

    @property
    def parts(self) -> view.Parts:
        return view.partsOf(self.nodes)

    def input(self, name: str) -> Any:
        """An image that the run was made from; None where it has left the scene."""
        found = (marks.inputOf(node, name) for node in self.nodes.values())
        return next((node for node in found if node is not None), None)

    def folder(self) -> Path | None:
        """The folder with the run's files; None where it is no longer there."""
        path = _ofRuns(self.record.get("folder"))
        return path if path is not None and (path / "result.json").is_file() else None

    def picture(self) -> Path | None:
        """The first picture of the run that is still there."""
        paths = map(_ofRuns, _object(self.record, "plots").values())
        found = (path for path in paths if path is not None and path.suffix.lower() == ".png")
        return next((path for path in found if path.is_file()), None)

    def isForeign(self) -> bool:
        """Whether its files are not among the runs of this computer, wherever they may be."""
        return _ofRuns(self.record.get("folder")) is None


def _ofRuns(text: Any) -> Path | None:
    """A path that a scene tells of, where it lies in the folder of runs.

    A scene can come from anybody. No other path is even looked at: to ask for one on a network logs in there.
    """
    home = places.runsFolder()
    path = Path(text) if isinstance(text, str) and "\0" not in text else home
    if path == home or ".." in path.parts or not path.is_relative_to(home):
        return None
    return path if path.resolve().is_relative_to(home.resolve()) else None  # a link may lead elsewhere


def _object(record: dict[str, Any], key: str) -> dict[str, Any]:
    """What a record has under a key, where that is a JSON object."""
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def entries() -> list[Entry]:
    """All runs of the scene, the latest first."""
    found = []
    for run, nodes in marks.nodesOfRuns().items():
        records = [marks.recordOf(node) for node in nodes.values()]
        found.append(Entry(run, nodes, next(filter(None, records), {})))
    return found[::-1]


def entry(run: str) -> Entry | None:
    return next((found for found in entries() if found.run == run), None)


def request(past: Entry, tasks: list[Task]) -> tuple[Task, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Task, input nodes, parameters and options to run the same again, parameters without a widget included.

    Raises Complaint where that cannot be.
    """
    task = next((known for known in tasks if known.name == past.record.get("task")), None)
    if task is None:
        raise Complaint(
            f"This version has no task '{past.record.get('task')}', so '{past.title}' cannot be run again."
        )
    inputs = {}
    for item in task.inputs:
        image = past.input(item.name)
        if image is not None:
            part = past.record.get("parts", {}).get(item.name, "")
            inputs[item.name] = (image, part) if part else image
        elif item.required or item.name in past.record.get("inputs", {}):
            name = past.record.get("inputs", {}).get(item.name, item.title)
            raise Complaint(f"'{name}' is no longer in the scene; load it, choose it above and press Run.")
    options = {key: value for key, value in _object(past.record, "options").items() if key in OPTIONS}
    return task, inputs, dict(_object(past.record, "parameters")), options


def export(past: Entry, where: Path) -> Path:
    """Copy a run's files into a new folder in `where`; where they are gone, save its nodes instead.

    Raises Complaint where that cannot be written.
    """
    target = _unused(where, _fileName(f"{past.title} {' '.join(past.record.get('inputs', {}).values())}"))
    try:
        folder = past.folder()
        if folder is not None:
            shutil.copytree(folder, target, ignore=shutil.ignore_patterns(".*"))
        else:
            target.mkdir()
            _saveNodes(past, target)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise Complaint(
            f"The files could not be written to '{where}': {error.strerror or error}; choose another folder."
        ) from error
    return target


def askExport(past: Entry, parent: Any) -> Path | None:
    """Ask for a folder and export a run into it; None where the user thinks better of it."""
    import qt

    where = qt.QFileDialog.getExistingDirectory(parent, "Choose a folder for the result")
    return export(past, Path(where)) if where else None


def _saveNodes(past: Entry, target: Path) -> None:
    import slicer

    suffix = {"volume": ".nrrd", "labels": ".seg.nrrd", "segmentation": ".seg.nrrd", "table": ".csv"}
    suffix |= {"sequence": ".seq.nrrd", "transform": ".h5"}
    for role, node in past.nodes.items():
        artifact = marks.recordOf(node).get("artifact", {})
        marked = f"{role}_synthetic" if artifact.get("synthetic") else role
        path = target / f"{marked}{suffix.get(artifact.get('kind', ''), '.nrrd')}"
        if not slicer.util.saveNode(node, str(path)):
            raise OSError(f"'{node.GetName()}' could not be saved")
        marks.markFile(node, path)
    text = json.dumps(past.record, indent=2, ensure_ascii=False)
    (target / "provenance.json").write_text(text + "\n", encoding="utf-8")


def _unused(where: Path, name: str) -> Path:
    path, count = where / name, 2
    while path.exists():
        path, count = where / f"{name} {count}", count + 1
    return path


def _fileName(text: str) -> str:
    """A name that every system takes: no colon, no slash."""
    return re.sub(r"[^\w.-]+", " ", text.replace(":", "-")).strip() or "run"
