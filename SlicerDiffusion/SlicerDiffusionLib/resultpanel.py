"""What a run found: its verdict, layouts to look at it, the map, the findings, and where it came from."""

from __future__ import annotations

import html
from collections.abc import Callable, Generator
from typing import Any

from . import findings, history, legend, report, say, surfaces, view
from .job import Complaint
from .overlaypanel import OverlayPanel
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

    `copyReport(entry)` puts the report of a run on the clipboard.
    """

    def __init__(self, copyReport: Callable[[history.Entry], None]) -> None:
        import qt
        import slicer

        self.entry: history.Entry | None = None
        self.inViews = ""  # the run that the views were told to show last
        self._copyReport = copyReport
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
        self.findings = findings.Findings(view.jumpTo)
        column.addWidget(self.findings.widget)
        self._addActions(column)
        row = qt.QHBoxLayout()
        self.layouts: dict[int, Any] = {}
        for text, number, help_ in _LAYOUTS:
            self.layouts[number] = say.button(text, help_, self._chooser(number), f"layout{number}")
            row.addWidget(self.layouts[number])
        column.addLayout(row)
        self.overlays = OverlayPanel(self._onThreshold)
        column.addWidget(self.overlays.widget)
        self.stepper = Stepper()
        column.addWidget(self.stepper.widget)
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

    def show(self, entry: history.Entry | None) -> None:
        """Show a run in the panel; the views stay as they are. None shows nothing."""
        if entry is None or self.entry is None or entry.run != self.entry.run:
            say.say(self.said, "")
            self._making = None
        self.entry = entry
        self.widget.setVisible(entry is not None)
        parts = entry.parts if entry is not None else view.Parts()
        self.overlays.show(parts)
        self.stepper.show(entry.nodes if entry is not None else {}, parts)
        self.findings.show(next(iter(parts.tables.values()), None))
        if entry is None:
            return
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
        yield
        for volume in parts.maps:
            legend.renew(volume)
            yield
        yield from view.showSlicesIn3D(self.layout == view.ONE_3D)
        view.fitToSizes(parts)  # by now they have their size
        if strongest:
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
        if self._manager.property("layout") in (view.SIDE_BY_SIDE, view.THREE_PLANES):
            overlays = self.overlays
            parts = self.entry.parts
            view.show(parts, overlays.overlay, overlays.opacityShare(), columnsOnly=True)
            for volume in parts.maps:
                legend.renew(volume)
            self.stepper.showInViews()
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
        tables = self.entry is not None and bool(self.entry.parts.tables)
        text = findings.sentence(total, above, threshold, own, self.overlays.unit) if tables else ""
        say.say(self.count, text)

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
