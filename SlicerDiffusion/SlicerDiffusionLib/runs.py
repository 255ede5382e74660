"""One run: what is asked of the engine, what came back, and what of it goes into the scene."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from . import handover, job, marks, places, present
from . import inputs as kinds
from .schema import Task

CHANGED = (
    "'{name}' was changed while the computation ran; the result belongs to it as it was when the run began."
)
DIFFERS = (
    "'{name}' is not as it was for '{title}', which this run repeats: it was edited, moved or stored anew, "
    "so the result can differ."
)
GONE = "'{name}' was deleted while the computation ran; the result was kept."
SCENE_CLOSED = (
    "The scene was closed while the computation ran, so its result was not put into the new one; its files "
    "are in {folder}."
)


class Run(job.Work):
    """The work of one job: inputs are handed over as they are now, and the result comes beside them.

    What is given for an input is what inputs/ calls chosen: a node, or a node and a part of it. `inputs` are
    the nodes, scans first.
    `notes` are sentences about what happened meanwhile; `preview` shows the picture that forms
    (preview.Preview).
    """

    def __init__(
        self,
        task: Task,
        inputs: dict[str, Any],
        parameters: dict[str, Any],
        options: dict[str, Any] | None = None,
        preview: Any = None,
        repeats: dict[str, Any] | None = None,
    ):
        """Raises job.Complaint for an input that is not of its kind."""
        import slicer

        known = [item for item in task.inputs if inputs.get(item.name) is not None]
        known.sort(key=lambda item: item.kind != kinds.SCAN)
        self._kinds = {item.name: item.kind for item in known}
        self._chosen = {item.name: inputs[item.name] for item in known}
        for name, chosen in self._chosen.items():
            self._kind(name).refuse(chosen)
        self.task, self.parameters = task, parameters
        self.inputs = {name: kinds.pair(chosen)[0] for name, chosen in self._chosen.items()}
        self.options = {key: value for key, value in (options or {}).items() if value is not None}
        self.started = time.time()
        self.title = f"{task.short()} {time.strftime('%H:%M', time.localtime(self.started))}"
        if "seed" in parameters:
            self.title += f" seed {parameters['seed']}"
        self.notes: list[str] = []
        self.folder: Path | None = None
        self.id = ""
        self._names = {name: image.GetName() for name, image in self.inputs.items()}
        self._states: dict[str, Any] = {}
        self._preview = preview
        self._repeats = repeats or {}
        self._sceneClosed = False
        self._watch = slicer.util.VTKObservationMixin()
        scene = slicer.mrmlScene
        self._watch.addObserver(scene, scene.StartCloseEvent, self._onSceneClosed)

    @property
    def resultFolder(self) -> Path | None:
        return None if self.folder is None else self.folder / "result"

    def prepare(self, job_: job.Job) -> Generator[None, None, dict[str, Any]]:
        self.folder = places.newRunFolder()
        self.id = self.folder.name
        handed: dict[str, Any] = {}
        grid: kinds.Grid | None = None
        for name, image in self.inputs.items():
            if image.GetScene() is None:
                raise job.Complaint(
                    f"'{self._names[name]}' was deleted before the run began; choose another scan."
                )
            self._states[name] = self._kind(name).state(self._chosen[name])
            path = self.folder / "inputs" / f"{name}.nrrd"
            affine = yield from self._kind(name).write(self._chosen[name], path, grid)
            isScan = self._kinds[name] == kinds.SCAN
            if isScan and grid is None:
                grid = kinds.Grid(affine, handover.shapeOf(path))
            source, sha256 = _sourceFile(image) if isScan else (None, None)
            handed[name] = {
                "path": str(path),
                "affine": affine,
                "name": self._names[name],
                "source": source,
                "sha256": sha256,
                "synthetic": marks.isSynthetic(image),
                **self._named(name),
                **(marks.stated(image) if isScan else {}),
            }
        return {
            "task": self.task.name,
            "inputs": handed,
            "parameters": self.parameters,
            "folder": str(self.resultFolder),
            **self.options,
        }

    def preview(self, job_: job.Job, preview: dict[str, Any]) -> None:
        path = Path(preview["path"])
        try:
            if self._preview is not None and self._preview.enabled and not self._sceneClosed:
                image = handover.readAtOnce(path)
                self._preview.update(self, image, preview["affine"], preview.get("title", "Preview"))
        finally:
            path.unlink(missing_ok=True)

    def present(self, job_: job.Job, answer: dict[str, Any]) -> Generator[None, None, dict[str, Any]]:
        """Returns {role: node}."""
        manifest = answer["manifest"]
        self._removePreview()
        self._refuseClosedScene()
        self._noteChanges()
        self._noteDifferences(manifest)
        self.notes += present.unshown(manifest)
        there = {name: image if image.GetScene() is not None else None for name, image in self.inputs.items()}
        context = present.Context(
            next(iter(self._names.values()), self.task.short()), there, answer["volumes"]
        )
        record = self._record(job_, manifest)
        steps = present.nodes(record, manifest, context)
        try:
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    return end.value
                yield
                self._refuseClosedScene()
        finally:
            steps.close()
            for handed in answer["volumes"].values():
                Path(handed["path"]).unlink(missing_ok=True)

    def ended(self, job_: job.Job) -> None:
        self._watch.removeObservers()
        self._removePreview()
        if self.folder is None:
            return
        if (
            self.resultFolder is not None
            and (self.resultFolder / "result.json").is_file()
            and job_.state != job.CANCELLED
        ):
            shutil.rmtree(self.folder / "inputs", ignore_errors=True)
            shutil.rmtree(self.resultFolder / ".handover", ignore_errors=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _kind(self, name: str) -> Any:
        """The file of inputs/ that knows an input; raises job.Complaint where there is none."""
        kind = kinds.registry().get(self._kinds[name])
        if kind is None:
            raise job.Complaint(f"This version cannot hand over '{name}'; install the latest version.")
        return kind

    def _named(self, name: str) -> dict[str, Any]:
        """What the labels of an input are called, for those whose kind knows."""
        known = getattr(self._kind(name), "names", None)
        return {"names": known(self._chosen[name])} if known is not None else {}

    def _removePreview(self) -> None:
        if self._preview is not None:
            self._preview.end(self)

    def _onSceneClosed(self, *_: Any) -> None:
        self._sceneClosed = True

    def _refuseClosedScene(self) -> None:
        if self._sceneClosed:
            raise job.Complaint(SCENE_CLOSED.format(folder=self.resultFolder))

    def _noteChanges(self) -> None:
        for name, image in self.inputs.items():
            if image.GetScene() is None:
                self.notes.append(GONE.format(name=self._names[name]))
            elif self._kind(name).state(self._chosen[name]) != self._states[name]:
                self.notes.append(CHANGED.format(name=image.GetName()))

    def _noteDifferences(self, manifest: dict[str, Any]) -> None:
        """Compare the inputs, as the engine saw them, with those of the run that this one repeats."""
        before, now = (each.get("provenance", {}).get("inputs", {}) for each in (self._repeats, manifest))
        for name, title in self._names.items():
            hashes = [seen.get(name, {}).get("content_hash") for seen in (before, now)]
            if all(hashes) and hashes[0] != hashes[1]:
                self.notes.append(DIFFERS.format(name=title, title=self._repeats.get("title", "")))

    def _record(self, job_: job.Job, manifest: dict[str, Any]) -> dict[str, Any]:
        return {
            "run": self.id,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(self.started)),
            "task": self.task.name,
            "title": self.title,
            "parameters": self.parameters,
            "options": self.options,
            "inputs": self._names,
            "parts": {name: part for name in self._chosen if (part := kinds.pair(self._chosen[name])[1])},
            "seconds": round(job_.elapsed, 1),
            "plausible": manifest["plausible"],
            "verdict": manifest["verdict"],
            "notes": [*manifest["notes"], *self.notes],
            "provenance": manifest["provenance"],
            "folder": str(self.resultFolder),
            "plots": present.plots(manifest, str(self.resultFolder)),
        }


def _sourceFile(node: Any) -> tuple[str | None, str | None]:
    """The file that a volume was read from and its SHA-256, where voxels and place are still those of the
    file; the second is None where only the engine can tell.
    """
    stored = node.GetStorageNode()
    if stored is not None and not node.GetModifiedSinceRead() and stored.GetFileName():
        return stored.GetFileName(), None
    read = marks.readFrom(node)
    voxels, affine = node.GetImageData().GetMTime(), handover.ijkToRas(node)
    now = {"process": os.getpid(), "voxels": voxels, "affine": affine}
    if read and now.items() <= read.items():
        return node.GetAttribute(marks.SOURCE), read.get("sha256")
    return None, None
