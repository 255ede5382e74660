"""What was measured against what was asked for, as a chart beside the images, of the host's own plot nodes.

A table says what belongs together by the names of its keys: `x_asked_ml` is what was asked for, `x_ml` what
was measured, and `x_dark_ml` and the like the same by other means. Where nothing was asked for, the chart
goes from image to image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from . import marks, samples, say, view
from .presenters.table import columns

_ASKED = "_asked"
_COLORS = ((0.12, 0.42, 0.75), (0.9, 0.5, 0.1), (0.5, 0.3, 0.7))
_LINE = (0.6, 0.6, 0.6)
_MARKER_PX = 9


class Pair(NamedTuple):
    """Keys of a table: what goes across, and what goes up by each means of measuring."""

    name: str
    across: str
    up: list[str]


def pairs(rows: list[dict[str, Any]], sequence: Any) -> list[Pair]:
    """What can be drawn of a table of a sequence's images; nothing where it does not tell of them."""
    if not rows or not all(samples.numberOf(row, sequence) for row in rows):
        return []
    numbers = [key for key in rows[0] if all(isinstance(row.get(key), (int, float)) for row in rows)]
    found = []
    for key in rows[0]:
        name, asked, unit = key.partition(_ASKED)
        up = [other for other in numbers if other.startswith(f"{name}_") and other.endswith(unit)]
        up = [other for other in up if other != key]
        across = key if key in numbers else samples.numberKey(rows[0], sequence)
        if asked and up and across in numbers:
            found.append(Pair(name.replace("_", " "), across, up))
    return found


class Chart:
    """A box with what can be drawn, and a button; hidden where there is nothing.

    `show(layout)` shows the run in a layout of the views.
    """

    def __init__(self, show: Callable[[int], None]):
        import qt

        self._show = show
        self._table: Any = None
        self._pairs: list[Pair] = []
        self._headings: dict[str, str] = {}
        self._rows: list[dict[str, Any]] = []
        self._nodes: list[Any] = []
        self.widget = qt.QWidget()
        row = qt.QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        self.box = qt.QComboBox()
        self.box.setObjectName("charted")
        self.box.setToolTip("What is drawn: measured against asked for.")
        self.box.currentIndexChanged.connect(lambda: self._chosen())
        help_ = "Draw what was measured against what was asked for, beside the images; the wheel zooms."
        self.button = say.button("Show chart", help_, lambda: self._show(view.CHART), "chart")
        row.addWidget(self.box, 1)
        row.addWidget(self.button, 1)

    def show(self, table: Any, rows: list[dict[str, Any]], sequence: Any) -> None:
        """Offer charts of a table node, whose rows tell of the images of a sequence."""
        found = pairs(rows, sequence) if table is not None and sequence is not None else []
        self.widget.setVisible(bool(found))
        if table is self._table and found == self._pairs:
            return
        self._remove()
        self._table, self._rows, self._pairs = table, rows, found
        display = marks.recordOf(table).get("artifact", {}).get("display") or {} if table is not None else {}
        self._headings = columns({"display": display, "rows": rows})
        blocked = self.box.blockSignals(True)
        self.box.clear()
        for pair in found:
            self.box.addItem(pair.name.capitalize())
        self.box.blockSignals(blocked)

    def showInViews(self) -> None:
        """Draw the chart that is chosen in the view for charts, where the layout has one."""
        import slicer

        place = slicer.mrmlScene.GetSingletonNode(view.CHART_VIEW, "vtkMRMLPlotViewNode")
        if place is None or not self._pairs or self._table.GetScene() is None:
            return
        if not self._nodes or self._nodes[0].GetScene() is None:
            self._make(self._pairs[max(0, self.box.property("currentIndex"))])
        place.SetPlotChartNodeID(self._nodes[0].GetID())

    def cleanup(self) -> None:
        self._remove()

    def _chosen(self) -> None:
        self._remove()
        self.showInViews()

    def _make(self, pair: Pair) -> None:
        """The nodes of a chart; none is saved with the scene."""
        across, up = self._headings[pair.across], [self._headings[key] for key in pair.up]
        asked = _ASKED in pair.across
        chart = self._add("vtkMRMLPlotChartNode", f"{pair.name} chart")
        word = f" – {marks.WORD}" if marks.isSynthetic(self._table) else ""
        chart.SetTitle(f"{pair.name.capitalize()}{word}")
        chart.SetXAxisTitle(across)
        chart.SetYAxisTitle("measured" + (" (ml)" if pair.up[0].endswith("_ml") else ""))
        for heading, color in zip(up, _COLORS):
            chart.AddAndObservePlotSeriesNodeID(self._series(self._table, heading, across, heading, color))
        if asked:
            values = [row[key] for row in self._rows for key in (pair.across, *pair.up)]
            ends = self._ends(min(values), max(values))
            line = self._series(ends, "as asked for", "across", "up", _LINE, line=True)
            chart.AddAndObservePlotSeriesNodeID(line)

    def _series(
        self, table: Any, name: str, across: str, up: str, color: tuple[float, ...], line: bool = False
    ) -> str:
        """The ID of a new series of points, or of a line."""
        series = self._add("vtkMRMLPlotSeriesNode", name)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(across)
        series.SetYColumnName(up)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetMarkerStyle(series.MarkerStyleNone if line else series.MarkerStyleCircle)
        series.SetLineStyle(series.LineStyleSolid if line else series.LineStyleNone)
        series.SetMarkerSize(_MARKER_PX)
        series.SetColor(*color)
        return str(series.GetID())

    def _ends(self, low: float, high: float) -> Any:
        """A table with the two ends of the line on which what was asked for is what was measured."""
        import vtk

        node = self._add("vtkMRMLTableNode", "as asked for")
        for name in ("across", "up"):
            array = vtk.vtkDoubleArray()
            array.SetName(name)
            for value in (low, high):
                array.InsertNextValue(value)
            node.AddColumn(array)
        return node

    def _add(self, kind: str, name: str) -> Any:
        import slicer

        node = slicer.mrmlScene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(name)
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        self._nodes.append(slicer.mrmlScene.AddNode(node))
        return self._nodes[-1]

    def _remove(self) -> None:
        import slicer

        for node in self._nodes:
            if node.GetScene() is not None:
                slicer.mrmlScene.RemoveNode(node)
        self._nodes = []
