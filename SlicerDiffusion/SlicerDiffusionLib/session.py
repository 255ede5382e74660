"""The module's panel: its parts from top to bottom, and what connects them."""

from __future__ import annotations

from typing import Any

from . import corner, history, report, say, view
from . import job as states
from . import panel as panels
from .historypanel import HistoryPanel
from .installpanel import InstallPanel
from .job import Complaint, Job
from .resultpanel import ResultPanel
from .runpanel import RunPanel
from .soon import Soon


class Session:
    """What the user sees of the module, from setup to cleanup, on a logic that lives longer."""

    def __init__(self, logic: Any, layout: Any, notice: str):
        import slicer

        self.logic = logic
        self._listed: dict[str, int] = {}
        # What the run to be changed was given that no widget shows: task, parameters and options.
        self._kept: tuple[str, dict[str, Any], dict[str, Any]] = ("", {}, {})
        self._over = False
        self._soon = Soon(self._sceneChanged)
        self._watch = slicer.util.VTKObservationMixin()
        self.notice = say.label("notice")
        say.say(self.notice, notice, say.WARNING)
        self.notice.setToolTip(
            "The model has learnt what healthy brains look like (its prior) and draws a healthy counterpart "
            "of the scan. The map shows where the two differ, in standard deviations of healthy brains (z)."
        )
        self.panel = panels.Panel(logic.tasks(), logic.getParameterNode(), self._changed)
        self.runs = RunPanel(
            logic.jobs, self._start, lambda: self.panel.page.missing(), lambda job: self._copyReport({}, job)
        )
        self.runs.preview.toggled.connect(lambda: self._previewToggled())
        mask = self._useAsMask if self.panel.takesMasks() else None
        self.result = ResultPanel(lambda entry: self._copyReport(entry.nodes), mask)
        self.history = HistoryPanel(logic.jobs, self.show, self.again, self.fill)
        self.installation = InstallPanel(logic.jobs)
        self._corner = None if corner.isStarted() else corner.Corner()
        for part in (
            self.notice,
            self.panel.widget,
            self.runs.widget,
            self.result.widget,
            self.history.widget,
            self.installation.widget,
        ):
            layout.addWidget(part)
        layout.addStretch(1)
        logic.jobs.listeners.append(self._onJob)
        scene = slicer.mrmlScene
        for event in (
            scene.NodeAddedEvent,
            scene.NodeRemovedEvent,
            scene.EndCloseEvent,
            scene.EndImportEvent,
        ):
            self._watch.addObserver(scene, event, self._soon.ask)
        view.registerLayouts()
        self._soon.now()

    def enter(self) -> None:
        """The panel is shown."""
        self._soon.now()

    def cleanup(self) -> None:
        self._over = True
        self._soon.cleanup()
        self._watch.removeObservers()
        self.logic.jobs.listeners.remove(self._onJob)
        self.logic.preview.remove()
        for part in (self._corner, self.installation, self.result, self.runs, self.panel):
            if part is not None:
                part.cleanup()

    def show(self, entry: history.Entry) -> None:
        """Show a run's result in the panel and in the views."""
        self.result.show(entry)
        self.result.widget.setProperty("collapsed", False)
        self.result.showInViews()

    def again(self, entry: history.Entry) -> None:
        """Run the same again. Raises Complaint where its scan has gone."""
        task, inputs, parameters, options = history.request(entry, self.logic.tasks())
        self.runs.begin(lambda: self.logic.start(task, inputs, parameters, options, repeats=entry.record))

    def fill(self, entry: history.Entry) -> None:
        """Fill the settings from a run."""
        task, inputs, parameters, options = history.request(entry, self.logic.tasks())
        self.panel.chooseTask(task.name)
        page = self.panel.page
        page.reset()
        page.setValues({**parameters, **options})
        shown = {*page.values(), *page.options()}
        unshown = [{key: given[key] for key in given if key not in shown} for given in (parameters, options)]
        self._kept = (task.name, unshown[0], unshown[1])
        for name, image in inputs.items():
            page.setNode(name, image)
        named = ", ".join(key for given in unshown for key in given)
        kept = f" What no widget shows stays as it was for the next run: {named}." if named else ""
        self.runs.tell(
            f"The settings are those of '{entry.title}': change what you like, then press Run.{kept}"
        )

    def _useAsMask(self, mask: Any, scan: Any) -> None:
        """Take a place of a result as the mask of a task, and say so."""
        self.panel.useAsMask(mask, scan)
        proposed = "".join(f" ({setting})" for setting in self.panel.page.proposeForPlace())
        title = self.panel.task.title
        self.runs.tell(f"The mask of '{title}' is the place that was chosen{proposed}; press Run.")

    def _start(self) -> Job:
        page = self.panel.page
        missing = page.missing()
        if missing:
            raise Complaint(missing)
        inputs = {name: node for name, node in page.nodes().items() if node is not None}
        _, parameters, options = self._kept if self._kept[0] == page.task.name else ("", {}, {})
        job = self.logic.start(page.task, inputs, parameters | page.values(), options | page.options())
        self._kept = ("", {}, {})
        return job

    def _changed(self) -> None:
        self.runs.update()

    def _previewToggled(self) -> None:
        self.logic.preview.setEnabled(self.runs.preview.property("checked"))

    def _onJob(self, job: Job) -> None:
        if not job.finished:
            return
        self.history.last = job
        if job.state == states.DONE and job.value:
            import qt

            # Later, in steps of their own: views take their time.
            qt.QTimer.singleShot(0, lambda: self._showRun(job.work.id))

    def _showRun(self, run: str) -> None:
        """Show a run that has just ended, unless its nodes have gone already."""
        import qt

        found = history.entry(run)
        if self._over or found is None:
            return
        self.history.refresh()
        self.history.choose(run)
        self.result.show(found)
        self.result.widget.setProperty("collapsed", False)
        qt.QTimer.singleShot(0, self._showInViews)

    def _showInViews(self) -> None:
        """Show what was found in the views, first of all the strongest of it."""
        if not self._over:
            self.result.showInViews(strongest=True)

    def _copyReport(self, nodes: dict[str, Any], job: Job | None = None) -> None:
        report.toClipboard(nodes, self.logic.jobs.logText(), job or self.history.last)

    # What happens in the scene.

    def _sceneChanged(self) -> None:
        self._suggestScan()
        runs = {entry.run: len(entry.nodes) for entry in history.entries()}
        if runs != self._listed:
            self._listed = runs
            self.history.refresh()
            self.result.refresh()
        self.runs.update()

    def _suggestScan(self) -> None:
        """Take the scan that the user looks at, or the only one there is, where none is chosen yet."""
        import slicer

        scans = [node for node in view.nodesOf("vtkMRMLScalarVolumeNode") if panels.isScan(node)]
        active = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
        looked = [node for node in scans if node.GetID() == active]
        scan = next(iter(looked or scans[-1:]), None)
        if scan is not None:
            self.panel.suggest(scan)
