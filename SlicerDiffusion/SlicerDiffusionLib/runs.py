"""One run: what is asked of the engine, what came back, and what of it goes into the scene."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from . import handover, job, marks, places, present
from .schema import Task

CHANGED = (
    "'{name}' was changed while the computation ran; the result belongs to it as it was when the run began."
)
GONE = "'{name}' was deleted while the computation ran; the result was kept."
SCENE_CLOSED = (
    "The scene was closed while the computation ran, so its result was not put into the new one; its files "
    "are in {folder}."
)


class Run(job.Work):
    """The work of one job: inputs are handed over as they are now, and the result comes beside them.

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
    ):
        """Raises job.Complaint for an input that is no scan."""
        import slicer

        for image in inputs.values():
            handover.refuseUnless3DScalar(image)
        self.task, self.inputs, self.parameters = task, inputs, parameters
        self.options = {key: value for key, value in (options or {}).items() if value is not None}
        self.started = time.time()
        self.title = f"{task.short()} {time.strftime('%H:%M', time.localtime(self.started))}"
        if "seed" in parameters:
            self.title += f" seed {parameters['seed']}"
        self.notes: list[str] = []
        self.folder: Path | None = None
        self.id = ""
        self._names = {name: image.GetName() for name, image in inputs.items()}
        self._states: dict[str, Any] = {}
        self._preview = preview
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
        handed = {}
        for name, image in self.inputs.items():
            if image.GetScene() is None:
                raise job.Complaint(
                    f"'{self._names[name]}' was deleted before the run began; choose another scan."
                )
            self._states[name] = handover.state(image)
            path = self.folder / "inputs" / f"{name}.nrrd"
            affine = yield from handover.write(image, path)
            handed[name] = {
                "path": str(path),
                "affine": affine,
                "name": self._names[name],
                "source": _sourceFile(image),
                "synthetic": marks.isSynthetic(image),
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
        self.notes += present.unshown(manifest)
        there = {name: image if image.GetScene() is not None else None for name, image in self.inputs.items()}
        context = present.Context(next(iter(self._names.values()), self.task.title), there, answer["volumes"])
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
            elif handover.state(image) != self._states[name]:
                self.notes.append(CHANGED.format(name=image.GetName()))

    def _record(self, job_: job.Job, manifest: dict[str, Any]) -> dict[str, Any]:
        return {
            "run": self.id,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(self.started)),
            "task": self.task.name,
            "title": self.title,
            "parameters": self.parameters,
            "options": self.options,
            "inputs": self._names,
            "seconds": round(job_.elapsed, 1),
            "plausible": manifest["plausible"],
            "verdict": manifest["verdict"],
            "notes": [*manifest["notes"], *self.notes],
            "provenance": manifest["provenance"],
            "folder": str(self.resultFolder),
            "plots": present.plots(manifest, str(self.resultFolder)),
        }


def _sourceFile(node: Any) -> str | None:
    """The file that a volume was read from, where its voxels are still those of the file."""
    stored = node.GetStorageNode()
    if stored is None or node.GetModifiedSinceRead():
        return None
    return stored.GetFileName() or None
