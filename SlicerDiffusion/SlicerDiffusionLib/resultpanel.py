"""What a run found: its verdict, layouts to look at it, the map, the findings, and where it came from."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from . import history, report, say, view
from .findings import Findings
from .overlaypanel import OverlayPanel

_LAYOUTS = (
    ("Side by side", view.SIDE_BY_SIDE, "Original, result and map next to each other, moving together."),
    ("Three planes", view.THREE_PLANES, "The same, from above, from the side and from the front."),
    ("Four-up", view.FOUR_UP, "The map over the scan in three planes, and 3D."),
    (
        "3D",
        view.ONE_3D,
        "Surfaces of the findings among the three slices. Making them can take some seconds.",
    ),
)


# After so long, surfaces have been drawn once and have bounds.
_RENDERED_MS = 250


class ResultPanel:
    """Shows one run of the scene, in the panel and in the views; `layout` is the one that was chosen last."""

    def __init__(self) -> None:
        import qt
        import slicer

        self.entry: history.Entry | None = None
        self.inViews = ""  # the run that the views were told to show last
        self._over = self._showing = False
        self.layout = view.SIDE_BY_SIDE
        self.widget, column = say.section("Result", "result", False)
        self.title = qt.QLabel()
        self.title.setObjectName("resultTitle")
        self.title.setStyleSheet("QLabel { font-weight: bold; }")
        self.title.setWordWrap(True)
        self.verdict = say.label("verdict")
        column.addWidget(self.title)
        column.addWidget(self.verdict)
        row = qt.QHBoxLayout()
        self.layouts: dict[int, Any] = {}
        for text, number, help_ in _LAYOUTS:
            self.layouts[number] = say.button(text, help_, self._chooser(number), f"layout{number}")
            row.addWidget(self.layouts[number])
        column.addLayout(row)
        self.overlays = OverlayPanel(self._onThreshold)
        column.addWidget(self.overlays.widget)
        self.count = say.label("findingsCount")
        column.addWidget(self.count)
        self.findings = Findings(view.jumpTo)
        column.addWidget(self.findings.widget)
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

    def cleanup(self) -> None:
        self._over = True
        if self._manager is not None:
            self._manager.layoutChanged.disconnect(self._onLayout)
        self.overlays.cleanup()

    def show(self, entry: history.Entry | None) -> None:
        """Show a run in the panel; the views stay as they are. None shows nothing."""
        self.entry = entry
        self.widget.setVisible(entry is not None)
        parts = entry.parts if entry is not None else view.Parts()
        self.overlays.show(parts)
        self.findings.show(next(iter(parts.tables.values()), None))
        if entry is None:
            return
        self.title.setText(" – ".join([entry.title, *entry.record.get("inputs", {}).values()]))
        tone = say.PLAIN if entry.record.get("plausible", True) else say.WARNING
        say.say(self.verdict, report.verdict(entry.record), tone)
        rows = "".join(
            f"<tr><td>{html.escape(label)}&nbsp;&nbsp;</td><td>{html.escape(value)}</td></tr>"
            for label, value in report.facts(entry.record)
        )
        self.originText.setText(f"<table>{rows}</table>")
        self._onThreshold(self.overlays.value())

    def showInViews(self, layout: int | None = None) -> None:
        """Show the run in the views, in this layout or in the one that was chosen last."""
        if self.entry is None or self._over:
            return
        self.layout = layout if layout is not None else self.layout
        inside = self.layout == view.ONE_3D
        self._showing = True
        try:
            view.setLayout(self.layout)
        finally:
            self._showing = False
        view.show(self.entry.parts, self.overlays.overlay, self.overlays.opacityShare())
        self._showIn3D(inside)
        self._fitLater(inside)
        self.inViews = self.entry.run

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
            view.show(self.entry.parts, overlays.overlay, overlays.opacityShare(), columnsOnly=True)
            self._fitLater(False)
        else:
            qt.QTimer.singleShot(0, self._fitLegends)

    def _fitLegends(self) -> None:
        if self.entry is not None and not self._over:
            view.fitLegends(self.entry.parts)

    def _chooser(self, number: int) -> Callable[[], None]:
        return lambda: self.showInViews(number)

    def _fitLater(self, inside: bool) -> None:
        """Views get their size with the next events; then what they show is fitted into it."""
        import qt

        qt.QTimer.singleShot(0, self._fit)
        if inside:
            qt.QTimer.singleShot(_RENDERED_MS, self._look)

    def _fit(self) -> None:
        if self.entry is not None and not self._over:
            view.fitToSizes(self.entry.parts)

    def _look(self) -> None:
        parts = self.entry.parts if self.entry is not None and not self._over else view.Parts()
        seen = parts.input or parts.image
        if seen is not None:
            view.lookAt3D(seen)

    def _showIn3D(self, inside: bool) -> None:
        if self.entry is None:
            return
        view.showSlicesIn3D(inside)
        parts = self.entry.parts
        for role, labels in parts.labels.items():
            if role.removesuffix("_labels") in parts.tables:  # the places that the table tells of
                view.showSurfaces(labels, inside)

    def _onThreshold(self, threshold: float) -> None:
        total = self.findings.count()
        above = self.findings.setThreshold(threshold)
        if self.entry is None:
            return
        if not total:
            tables = self.entry.parts.tables
            say.say(self.count, "No place reaches the threshold that was set for the run." if tables else "")
        else:
            say.say(self.count, f"{above} of {total} findings reach the threshold.")
