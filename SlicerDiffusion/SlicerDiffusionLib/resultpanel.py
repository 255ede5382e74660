"""What a run found: its verdict, layouts to look at it, the map, the findings, and where it came from."""

from __future__ import annotations

import html
from collections.abc import Callable, Generator
from typing import Any

from . import findings, history, legend, report, samples, say, surfaces, view
from .chart import Chart
from .job import Complaint
from .overlaypanel import OverlayPanel
from .picture import Picture
from .presenters import labels
from .stepper import Stepper

_LAYOUTS = (
    ("Side by side", view.SIDE_BY_SIDE, "Original, result and map next to each other, moving together."),
    ("Three planes", view.THREE_PLANES, "The same, from above, from the side and from the front."),
    ("Four-up", view.FOUR_UP, "The map over the scan in three planes, and the findings' surfaces in 3D."),
    ("3D", view.ONE_3D, "Surfaces of the findings among the three slices."),
)

# After so long, surfaces have been drawn once and have bounds.
_RENDERED_MS = 250


class ResultPanel:
    """Shows one run of the scene, in the panel and in the views; `layout` is the one that was chosen last.

    `copyReport(entry)` puts the report of a run on the clipboard, `useAsMask(mask, scan)` chooses a place of
    a run as the mask of a task; None where no task takes one.
    """

    def __init__(
        self,
        copyReport: Callable[[history.Entry], None],
        useAsMask: Callable[[Any, Any], None] | None = None,
    ) -> None:
        import qt
        import slicer

        self.entry: history.Entry | None = None
        self.inViews = ""  # the run that the views were told to show last
        self._copyReport, self._useAsMask = copyReport, useAsMask
        self._over = self._showing = False
        self._making: Generator[None, None, None] | None = None
        self.layout = view.SIDE_BY_SIDE
        self.widget, column = say.section("Result", "result", False)
        self.title = qt.QLabel()
        self.title.setObjectName("resultTitle")
        self.title.setStyleSheet("QLabel { font-weight: bold; }")
        self.title.setWordWrap(True)
        self.verdict = say.Folded("verdict")
        column.addWidget(self.title)
        column.addWidget(self.verdict.widget)
        self.count = say.label("findingsCount")
        column.addWidget(self.count)
        self.outside = say.label("outsideMask")
        column.addWidget(self.outside)
        self.stepper = Stepper(self._onStep)
        column.addWidget(self.stepper.widget)
        self.findings = findings.Findings(view.jumpTo, self._onRow)
        column.addWidget(self.findings.widget)
        help_ = "Choose the place of this row as the mask of the task that fills one."
        self.asMask = say.button("Use as mask", help_, self._maskChosen, "useAsMask")
        column.addWidget(self.asMask)
        self.chart = Chart(self.showInViews)
        column.addWidget(self.chart.widget)
        self.picture = Picture()
        column.addWidget(self.picture.widget)
        self._addActions(column)
        row = qt.QHBoxLayout()
        self.layouts: dict[int, Any] = {}
        for text, number, help_ in _LAYOUTS:
            self.layouts[number] = say.button(text, help_, self._chooser(number), f"layout{number}")
            row.addWidget(self.layouts[number])
        column.addLayout(row)
        self.overlays = OverlayPanel(self._onThreshold)
        column.addWidget(self.overlays.widget)
        self.origin, inside = say.section("Where this comes from", "provenance", True)
        self.originText = qt.QLabel()
        self.originText.setObjectName("provenanceText")
        self.originText.setTextFormat(qt.Qt.RichText)
        self.originText.setWordWrap(True)
        self.originText.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
        inside.addWidget(self.originText)
        column.addWidget(self.origin)
        self.show(None)
        self._manager = slicer.app.layoutManager()
        if self._manager is not None:
            self._manager.layoutChanged.connect(self._onLayout)

    def _addActions(self, column: Any) -> None:
        """What to do with a result, in sight."""
        import qt

        row = qt.QHBoxLayout()
        for text, help_, act, name in (
            ("Export…", "Copy the files of this run into a folder of your choice.", self._export, "export"),
            ("Copy report", "Versions, request, provenance and log, as text.", self._copy, "copyReport"),
        ):
            row.addWidget(say.button(text, help_, act, name))
        column.addLayout(row)
        self.said = say.label("resultSaid")
        column.addWidget(self.said)

    def cleanup(self) -> None:
        self._over = True
        if self._manager is not None:
            self._manager.layoutChanged.disconnect(self._onLayout)
        self.overlays.cleanup()
        self.chart.cleanup()

    def show(self, entry: history.Entry | None) -> None:
        """Show a run in the panel; the views stay as they are. None shows nothing."""
        if entry is None or self.entry is None or entry.run != self.entry.run:
            say.say(self.said, "")
            self._making = None
        self.entry = entry
        self.widget.setVisible(entry is not None)
        parts = entry.parts if entry is not None else view.Parts()
        self.overlays.show(parts)
        self.findings.show(next(iter(parts.tables.values()), None))
        self.stepper.show(parts, self.findings.rows)
        self.chart.show(self.findings.table, self.findings.rows, parts.sequence)
        self.asMask.setVisible(self._useAsMask is not None and self._mask() is not None)
        if entry is None:
            return
        said, right = report.outside(entry.record)
        say.say(self.outside, said, say.GOOD if right else say.ERROR)
        self.picture.show(entry.picture())
        self.title.setText(entry.label)
        tone = say.PLAIN if entry.record.get("plausible", True) else say.WARNING
        self.verdict.show(report.verdict(entry.record), tone)
        rows = "".join(
            f"<tr><td>{html.escape(label)}&nbsp;&nbsp;</td><td>{html.escape(value)}</td></tr>"
            for label, value in report.facts(entry.record)
        )
        self.originText.setText(f"<table>{rows}</table>")
        self._onThreshold(self.overlays.value())

    def showInViews(self, layout: int | None = None, strongest: bool = False) -> None:
        """Show the run in the views, in this layout or in the one that was chosen last.

        strongest: go to the strongest finding. It happens in steps; the user's thread is free between two.
        """
        if self.entry is None or self._over:
            return
        self.layout = layout if layout is not None else self.layout
        self._making = self._steps(self.entry, strongest)
        self._step()

    def _steps(self, entry: history.Entry, strongest: bool) -> Generator[None, None, None]:
        """Views, their contents, legends, surfaces."""
        yield from view.prepare(self.layout)
        self._showing = True
        try:
            view.setLayout(self.layout)
        finally:
            self._showing = False
        yield
        parts = entry.parts
        view.show(parts, self.overlays.overlay, self.overlays.opacityShare())
        self.stepper.showInViews()
        self.chart.showInViews()
        yield
        for volume in parts.maps:
            legend.renew(volume)
            yield
        yield from view.showSlicesIn3D(self.layout == view.ONE_3D)
        view.fitToSizes(parts)  # by now they have their size
        if strongest:
            view.openMasks(entry.nodes.values())
            self.findings.chooseStrongest()
        self.inViews = entry.run
        yield
        yield from self._surfaces(entry)
        self._lookLater()

    def _step(self) -> None:
        import qt

        if self._making is None or self._over:
            return
        try:
            next(self._making)
        except StopIteration:
            self._making = None
        else:
            qt.QTimer.singleShot(0, self._step)

    def refresh(self) -> None:
        """Look again what of the run is still in the scene."""
        if self.entry is not None:
            self.show(history.entry(self.entry.run))

    def _onLayout(self, *_: Any) -> None:
        """A layout that was chosen elsewhere, such as in a menu, shows this run too, and readable legends."""
        import qt

        if self.entry is None or self._showing or self._over:
            return
        if self._manager.property("layout") in view.COMPARING:
            overlays = self.overlays
            parts = self.entry.parts
            view.show(parts, overlays.overlay, overlays.opacityShare(), columnsOnly=True)
            for volume in parts.maps:
                legend.renew(volume)
            self.stepper.showInViews()
            self.chart.showInViews()
            self._fitLater()
        else:
            qt.QTimer.singleShot(0, self._fitLegends)

    def _fitLegends(self) -> None:
        if self.entry is not None and not self._over:
            view.fitLegends(self.entry.parts)

    def _chooser(self, number: int) -> Callable[[], None]:
        return lambda: self.showInViews(number)

    def _fitLater(self) -> None:
        """Views get their size with the next events; then what they show is fitted into it."""
        import qt

        qt.QTimer.singleShot(0, self._fit)

    def _fit(self) -> None:
        if self.entry is not None and not self._over:
            view.fitToSizes(self.entry.parts)

    def _look(self) -> None:
        parts = self.entry.parts if self.entry is not None and not self._over else view.Parts()
        seen = parts.input or parts.image
        if seen is not None:
            view.lookAt3D(seen)

    def _lookLater(self) -> None:
        import qt

        qt.QTimer.singleShot(_RENDERED_MS, self._look)

    def _surfaces(self, entry: history.Entry) -> Generator[None, None, None]:
        """Show the run's places as surfaces in the 3D views, and those of no other run."""
        for other in history.entries():
            if other.run != entry.run:
                for node in _places(other.parts):
                    view.showSurfaces(node, False)
        for node in _places(entry.parts):
            yield from surfaces.make(node)
            if node.GetScene() is not None:
                view.showSurfaces(node, True)
            yield

    def _onThreshold(self, threshold: float) -> None:
        own, total = self.overlays.runThreshold, self.findings.count()
        above = self.findings.setThreshold(threshold, own)
        # A table without a row is one of places, of which there are none.
        tables = self.entry is not None and bool(self.entry.parts.tables)
        tables = tables and (not total or self.findings.tellsOfPlaces())
        text = findings.sentence(total, above, threshold, own, self.overlays.unit) if tables else ""
        say.say(self.count, text)

    # What is chosen in the table, and in the row of images.

    def _onRow(self, row: dict[str, Any]) -> None:
        self.stepper.go(row)

    def _onStep(self, number: int) -> None:
        rows, sequence = self.findings.rows, self.entry.parts.sequence if self.entry is not None else None
        told = [samples.numberOf(row, sequence) for row in rows] if sequence is not None else []
        if any(told):
            self.findings.mark(told.index(number) if number in told else -1)

    def _mask(self) -> tuple[Any, str] | None:
        """Segmentation and segment of the place that is chosen, or of the first; None where there is none."""
        nodes = _places(self.entry.parts) if self.entry is not None else []
        if not nodes or not self.findings.tellsOfPlaces():
            return None
        number = (self.findings.row or self.findings.rows[0]).get("number")
        segment = labels.segmentOf(number) if isinstance(number, int) else ""
        return (nodes[0], segment) if nodes[0].GetSegmentation().GetSegment(segment) is not None else None

    def _maskChosen(self) -> None:
        mask = self._mask()
        if mask is not None and self.entry is not None and self._useAsMask is not None:
            self._useAsMask(mask, self.entry.parts.input)

    # What is done with the run.

    def _export(self) -> None:
        if self.entry is None:
            return
        try:
            target = history.askExport(self.entry, self.widget)
        except Complaint as complaint:
            say.say(self.said, str(complaint), say.ERROR)
            return
        if target is not None:
            say.say(self.said, f"Exported to {target}", say.GOOD)

    def _copy(self) -> None:
        if self.entry is not None:
            self._copyReport(self.entry)
            say.say(self.said, "The report is on the clipboard.", say.GOOD)


def _places(parts: view.Parts) -> list[Any]:
    """The labels of the places that a table of the run tells of."""
    return [node for role, node in parts.labels.items() if role.removesuffix("_labels") in parts.tables]
