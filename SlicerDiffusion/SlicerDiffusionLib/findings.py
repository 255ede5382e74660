"""The table of findings: a row for each place; a click moves the views there, and rows below the threshold
are grey.

A table of places has the columns x_mm, y_mm and z_mm (RAS); with peak_z it follows the threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import marks
from .presenters.table import columns

_PLACE = ("x_mm", "y_mm", "z_mm")
_PEAK = "peak_z"
# In the order in which a reader wants them; the rest stays in the table node.
_FIRST = ("number", "side", "structure", "volume_ml", "peak_z", "direction", "agreement")
_HELP = {
    "peak_z": "The largest difference in the place, in standard deviations of healthy brains (z).",
    "agreement": "Share of the healthy samples that differ from the scan in the same direction.",
    "direction": "Whether the scan is brighter or darker here than the healthy samples.",
    "volume_ml": "Size of the place in millilitre, on the scan's own grid.",
    "structure": "Part of the brain, by the anatomy of the healthy counterpart.",
}


class Findings:
    """`jump(ras)` is called for the row that the user chooses."""

    def __init__(self, jump: Callable[[tuple[float, float, float]], None]):
        import qt

        self._jump = jump
        self._rows: list[dict[str, Any]] = []
        self._keys: list[str] = []
        self.widget = qt.QTableWidget(0, 0)
        self.widget.setObjectName("findings")
        self.widget.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        self.widget.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        self.widget.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        self.widget.setAlternatingRowColors(True)
        self.widget.setMinimumHeight(140)
        self.widget.verticalHeader().setVisible(False)
        self.widget.horizontalHeader().setStretchLastSection(True)
        self.widget.setToolTip("Click a row: the views and the crosshair move to its place.")
        self.widget.itemSelectionChanged.connect(lambda: self._selected())
        self.widget.cellClicked.connect(lambda: self._selected())  # also the row that is chosen already

    def show(self, table: Any) -> None:
        """Show a table node; None shows nothing."""
        import qt

        self._rows = rowsOf(table) if table is not None else []
        self._keys = _order(self._rows)
        artifact = marks.recordOf(table).get("artifact", {}) if table is not None else {}
        headings = columns({"display": artifact.get("display") or {}, "rows": self._rows})
        blocked = self.widget.blockSignals(True)
        self.widget.clear()
        self.widget.setColumnCount(len(self._keys))
        self.widget.setRowCount(len(self._rows))
        for column, key in enumerate(self._keys):
            heading = qt.QTableWidgetItem(headings[key])
            heading.setToolTip(_HELP.get(key, headings[key]))
            self.widget.setHorizontalHeaderItem(column, heading)
            for row, values in enumerate(self._rows):
                item = qt.QTableWidgetItem(_text(values.get(key)))
                if isinstance(values.get(key), (int, float)):
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                self.widget.setItem(row, column, item)
        self.widget.clearSelection()
        self.widget.resizeColumnsToContents()
        self.widget.blockSignals(blocked)
        self.widget.setVisible(bool(self._rows))

    def count(self) -> int:
        return len(self._rows)

    def setThreshold(self, threshold: float) -> int:
        """Grey the rows whose peak is below the threshold; how many are not."""
        import qt

        palette = self.widget.property("palette")
        plain = palette.color(qt.QPalette.Active, qt.QPalette.Text)
        grey = palette.color(qt.QPalette.Disabled, qt.QPalette.Text)
        above = 0
        for row, values in enumerate(self._rows):
            inside = not isinstance(values.get(_PEAK), (int, float)) or values[_PEAK] >= threshold
            above += inside
            for column in range(len(self._keys)):
                item = self.widget.item(row, column)
                if item is not None:
                    item.setForeground(qt.QBrush(plain if inside else grey))
        return above

    def _selected(self) -> None:
        row = self.widget.currentRow()
        if 0 <= row < len(self._rows):
            place = [self._rows[row].get(key) for key in _PLACE]
            if all(isinstance(value, (int, float)) for value in place):
                self._jump((float(place[0]), float(place[1]), float(place[2])))


def rowsOf(table: Any) -> list[dict[str, Any]]:
    """The rows of a table node under the keys of the artifact that it was made from."""
    artifact = marks.recordOf(table).get("artifact", {})
    headings = (artifact.get("display") or {}).get("columns", {})
    keys = {heading: key for key, heading in headings.items()}
    rows: list[dict[str, Any]] = [{} for _ in range(table.GetNumberOfRows())]
    for index in range(table.GetNumberOfColumns()):
        heading = table.GetColumnName(index)
        column = table.GetTable().GetColumn(index)
        for row, values in enumerate(rows):
            values[keys.get(heading, heading.replace(" ", "_"))] = _value(column, row)
    return rows


def _value(column: Any, row: int) -> Any:
    if column.IsA("vtkStringArray"):
        return column.GetValue(row)
    value = column.GetValue(row)
    return int(value) if float(value).is_integer() and abs(value) < 1e9 else float(value)


def _order(rows: list[dict[str, Any]]) -> list[str]:
    there = list(dict.fromkeys(key for row in rows for key in row))
    first = [key for key in _FIRST if key in there]
    return [*first, *(key for key in there if key not in first and key not in _PLACE)]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)
