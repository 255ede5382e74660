"""BrainDiffusion in 3D Slicer and in its own window: diffusion models for brain MRI. Research use only.

In Slicer's Python console:

    logic = slicer.modules.slicerdiffusion.widgetRepresentation().self().logic
    nodes = logic.run("heal", input=volumeNode, seed=7)        # waits; {role: node}
    job = logic.run("heal", input=volumeNode, onDone=print)    # returns at once
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

from SlicerDiffusionLib import corner, jobs, places, schema
from SlicerDiffusionLib import job as jobs_
from SlicerDiffusionLib.job import Complaint, Job

_TIDY_AFTER_MS = 3000  # the panel comes first
NOTICE = "Research use only. A heat map is a difference to a healthy prior, never a diagnosis."


class SlicerDiffusion(ScriptedLoadableModule):
    """What the module says of itself."""

    def __init__(self, parent: Any):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Brain Diffusion")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Neuroimaging")]
        self.parent.dependencies = []
        self.parent.contributors = ["The BrainDiffusion authors"]
        self.parent.helpText = _(
            "Heals a T1-weighted brain with a diffusion model and shows where the scan differs from its "
            "healthy counterpart; fills regions, changes brains and generates new ones. Everything made "
            "up is marked as synthetic. Research use only, not a medical device."
        )
        # Made-up voxels are marked in the views from the start, also those of a scene that was saved before.
        slicer.app.connect("startupCompleted()", corner.start)
        slicer.app.connect("startupCompleted()", _offerSample)
        self.parent.acknowledgementText = _("Models, methods and their papers are listed in the repository.")


def _offerSample() -> None:
    """Put the sample patient among Slicer's own, in the module Sample Data."""
    if not hasattr(slicer.modules, "sampledata"):
        return
    from SampleData import SampleDataLogic

    path = places.sample()
    SampleDataLogic.registerCustomSampleDataSource(
        category="Brain Diffusion",
        sampleName="SamplePatient",
        uris=path.as_uri(),
        fileNames=path.name,
        nodeNames="Sample patient",
    )


class SlicerDiffusionWidget(ScriptedLoadableModuleWidget):
    """The panel; what it is made of is in SlicerDiffusionLib."""

    def __init__(self, parent: Any = None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.logic: SlicerDiffusionLogic = None  # type: ignore[assignment]
        self.session: Any = None
        self._reloading = False

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        from SlicerDiffusionLib.session import Session

        self.logic = SlicerDiffusionLogic()
        self.session = Session(self.logic, self.layout, NOTICE)
        qt.QTimer.singleShot(_TIDY_AFTER_MS, places.removeOldRuns)

    def enter(self) -> None:
        self.session.enter()

    def cleanup(self) -> None:
        """Leave nothing behind. Where the module is only loaded anew, what runs goes on."""
        if self.session is not None:
            self.session.cleanup()
            self.session = None
            if not self._reloading:
                self.logic.jobs.close()

    def onReload(self) -> None:
        self._reloading = True
        ScriptedLoadableModuleWidget.onReload(self)


class SlicerDiffusionLogic(ScriptedLoadableModuleLogic):
    """Runs tasks of the engine and brings their results into the scene; needs no panel."""

    def __init__(self, queue: jobs.Jobs | None = None):
        ScriptedLoadableModuleLogic.__init__(self)
        from SlicerDiffusionLib.preview import Preview

        self.jobs = queue or jobs.shared()
        self.preview = Preview()

    def tasks(self) -> list[schema.Task]:
        """What the engine can be asked for."""
        return schema.tasks()

    def run(
        self,
        task: str,
        *,
        wait: bool | None = None,
        onDone: Callable[[Job], None] | None = None,
        device: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        batch: int | None = None,
        **values: Any,
    ) -> Any:
        """Run a task on volume nodes.

        `input` is the task's first image, other images go by their names; a mask may be a label map, or a
        pair of a segmentation and the id of a segment. All other keywords are parameters.
        With `wait`, and by default without `onDone`, it returns {role: node} when all is in the scene, and
        raises RuntimeError with one sentence where the run fails or is cancelled; events are processed
        meanwhile. Otherwise it returns the Job at once, and `onDone(job)` is called at its end, whatever that
        is: `job.state`, `job.message`, and in `job.value` the nodes.
        """
        known = next((item for item in self.tasks() if item.name == task), None)
        if known is None:
            names = ", ".join(item.name for item in self.tasks())
            raise Complaint(f"There is no task '{task}'; the tasks are {names}.")
        inputs, parameters = _sorted(known, values)
        options = {"device": device, "precision": precision, "threads": threads, "batch": batch}
        job = self.start(known, inputs, parameters, options, onDone)
        if not (onDone is None if wait is None else wait):
            return job
        self.jobs.wait(job, slicer.app.processEvents)
        if job.state != jobs_.DONE:
            raise Complaint(job.message)
        return job.value

    def start(
        self,
        task: schema.Task,
        inputs: dict[str, Any],
        parameters: dict[str, Any],
        options: dict[str, Any] | None = None,
        onDone: Callable[[Job], None] | None = None,
        repeats: dict[str, Any] | None = None,
    ) -> Job:
        """Put a run into the queue; `repeats` is the record of the run that it repeats, if it does.

        Raises Complaint for an input that no task can take.
        """
        from SlicerDiffusionLib.runs import Run

        work = Run(task, inputs, parameters, options, self.preview, repeats)
        return self.jobs.submit(Job(work, onDone))

    def cancel(self) -> None:
        """Stop what runs."""
        if self.jobs.current is not None:
            self.jobs.cancel(self.jobs.current)


def _sorted(task: schema.Task, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Images and parameters among the keywords of a call; raises Complaint for what the task does not
    know.
    """
    names = [item.name for item in task.inputs]
    if "input" in values and "input" not in names and names:
        values = {
            names[0]: values["input"],
            **{key: value for key, value in values.items() if key != "input"},
        }
    known = {field.name: field.default for field in task.fields}
    strange = [key for key in values if key not in names and key not in known and key not in task.hidden]
    if strange:
        raise Complaint(
            f"The task '{task.name}' has no '{strange[0]}'; it takes the images "
            f"{', '.join(names) or 'none'} and the parameters {', '.join(known)}."
        )
    missing = [item.title for item in task.inputs if item.required and values.get(item.name) is None]
    if missing:
        raise Complaint(f"The task '{task.name}' needs an image for '{missing[0]}'.")
    inputs = {name: values[name] for name in names if values.get(name) is not None}
    given = {key: value for key, value in values.items() if key not in names}
    return inputs, known | given


class SlicerDiffusionTest(ScriptedLoadableModuleTest):
    """Runs the true path on the sample patient; in Slicer: Reload and Test, or --testing."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(False)

    def runTest(self) -> None:
        self.setUp()
        self.test_healsTheSamplePatient()

    def test_healsTheSamplePatient(self) -> None:
        from SlicerDiffusionLib import marks
        from SlicerDiffusionLib.findings import rowsOf

        self.delayDisplay("Healing the sample patient: about a minute")
        scan = slicer.util.loadVolume(str(places.sample()))
        nodes = SlicerDiffusionLogic().run("heal", input=scan, seed=7, samples=1, steps=2)
        heat = nodes["heatmap"]
        self.assertEqual(heat.GetImageData().GetDimensions(), scan.GetImageData().GetDimensions())
        self.assertTrue(marks.isSynthetic(nodes["healed"]))
        self.assertIn(marks.WORD, nodes["healed"].GetName())
        self._leftIsLeft(nodes["anatomy"])
        for row in rowsOf(nodes["findings"]):
            if abs(row["x_mm"]) > 10:
                self.assertIn(row["side"], ("left" if row["x_mm"] < 0 else "right", "both sides"))
        self.delayDisplay("The sample patient was healed, and left is left")

    def _leftIsLeft(self, segmentation: Any) -> None:
        """Segments that are named left lie at R < 0, those named right at R > 0."""
        checked = 0
        for index in range(segmentation.GetSegmentation().GetNumberOfSegments()):
            name = segmentation.GetSegmentation().GetNthSegment(index).GetName().lower()
            side = next((word for word in ("left", "right") if word in name.split()), None)
            if side is None:
                continue
            identifier = segmentation.GetSegmentation().GetNthSegmentID(index)
            middle = segmentation.GetSegmentCenterRAS(identifier)
            self.assertEqual(side, "left" if middle[0] < 0 else "right", f"{name} at {middle}")
            checked += 1
        self.assertGreater(checked, 4)
