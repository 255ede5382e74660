"""The table of findings: a row for each place; a click moves the views there, and rows that do not reach the
threshold are grey.

The rows and their volumes are those at the threshold of the run, whatever the slider is moved to.

A table of places has the columns x_mm, y_mm and z_mm (RAS); with peak_z it follows the threshold.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from typing import Any

from . import marks
from .presenters.table import columns

_PLACE = ("x_mm", "y_mm", "z_mm")
_PEAK = "peak_z"
# The slider and the table round to two decimals.
_ROUNDED = 0.005
_ROW_PX = 24
_EXACT = 2**53  # whole numbers below it are themselves in a column of real ones
_WIDE = 14  # letters of a heading in one line
# In a narrow panel the heading of a narrow column is short; its tool tip is not.
_SHORT = {"number": "#", "volume_ml": "ml"}
# In the order in which a reader wants them; the rest stays in the table node.
_FIRST = ("number", "side", "structure", "peak_z", "volume_ml", "direction", "agreement")
_HELP = {
    "peak_z": "The largest difference in the place, in standard deviations of healthy brains (z).",
    "agreement": "Share of the healthy samples that differ from the scan in the same direction.",
    "direction": "Whether the scan is brighter or darker here than the healthy samples.",
    "volume_ml": "Size of the place in millilitre, on the scan's own grid, measured at the run's threshold.",
    "structure": "Part of the brain, by the anatomy of the healthy counterpart.",
}


class Findings:
    """`jump(ras)` is called for the row that the user chooses, where it tells of a place, and `chosen(row)`
    for every row; a table of images, which tells of none, goes to the image.
    """

    def __init__(
        self,
        jump: Callable[[tuple[float, float, float]], None],
        chosen: Callable[[dict[str, Any]], None] = lambda row: None,
    ):
        import qt

        self._jump, self._chosen = jump, chosen
        self._table: Any = None
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
        self.widget.verticalHeader().setDefaultSectionSize(_ROW_PX)
        self.widget.horizontalHeader().setStretchLastSection(True)
        self.widget.horizontalHeader().setHighlightSections(False)  # bold words need more room
        self.widget.setToolTip("Click a row: the views and the crosshair move to its place.")
        self.widget.itemSelectionChanged.connect(lambda: self._selected())
        self.widget.cellClicked.connect(lambda: self._selected())  # also the row that is chosen already

    def show(self, table: Any) -> None:
        """Show a table node; None shows nothing. In one that is shown already the same row stays chosen."""
        import qt

        chosen = self.widget.currentRow() if table is not None and table is self._table else -1
        self._table = table
        self._rows = rowsOf(table) if table is not None else []
        self._keys = _order(self._rows)
        artifact = marks.recordOf(table).get("artifact", {}) if table is not None else {}
        headings = columns({"display": artifact.get("display") or {}, "rows": self._rows})
        blocked = self.widget.blockSignals(True)
        self.widget.clear()
        self.widget.setColumnCount(len(self._keys))
        self.widget.setRowCount(len(self._rows))
        for column, key in enumerate(self._keys):
            heading = qt.QTableWidgetItem(textwrap.fill(_SHORT.get(key, headings[key]), _WIDE))
            heading.setToolTip(_HELP.get(key, headings[key]))
            self.widget.setHorizontalHeaderItem(column, heading)
            for row, values in enumerate(self._rows):
                item = qt.QTableWidgetItem(_text(values.get(key)))
                if isinstance(values.get(key), (int, float)):
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                self.widget.setItem(row, column, item)
        self.widget.clearSelection()
        if 0 <= chosen < len(self._rows):
            self.widget.selectRow(chosen)
        self.widget.resizeColumnsToContents()
        self.widget.blockSignals(blocked)
        self.widget.setVisible(bool(self._rows))

    @property
    def table(self) -> Any:
        """The table node that is shown; None where there is none."""
        return self._table

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self._rows

    @property
    def row(self) -> dict[str, Any] | None:
        """The row that is chosen; None where none is."""
        number = self.widget.currentRow()
        return self._rows[number] if 0 <= number < len(self._rows) else None

    def tellsOfPlaces(self) -> bool:
        return bool(self._rows) and all(key in self._rows[0] for key in _PLACE)

    def mark(self, row: int) -> None:
        """Choose a row without going anywhere; -1 chooses none."""
        blocked = self.widget.blockSignals(True)
        if row < 0:
            self.widget.clearSelection()
            self.widget.setCurrentCell(-1, -1)
        else:
            self.widget.selectRow(row)
            self.widget.scrollToItem(self.widget.item(row, 0))
        self.widget.blockSignals(blocked)

    def count(self) -> int:
        return len(self._rows)

    def chooseStrongest(self) -> None:
        """Choose the row with the highest peak, and go to its place; nothing where there is no row."""
        if not self.tellsOfPlaces():
            return
        peaks = [values.get(_PEAK) for values in self._rows]
        heights = [abs(peak) if isinstance(peak, (int, float)) else 0.0 for peak in peaks]
        row = heights.index(max(heights))
        self.mark(row)
        self._selected()

    def setThreshold(self, threshold: float, own: float | None = None) -> int:
        """Grey the rows whose peak does not reach the threshold; how many do. At `own`, that of the run, and
        below it no row is grey.
        """
        import qt

        threshold = -math.inf if own is not None and threshold <= own + _ROUNDED else threshold

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
            self._chosen(self._rows[row])


def sentence(total: int, reaching: int, threshold: float, own: float | None, unit: str) -> str:
    """What table and outline show while the slider is at `threshold`. own: the run's threshold, at which the
    findings were made and measured; None where it is not known.
    """
    findings = f"{total} finding{'' if total == 1 else 's'}"
    if own is None:
        return f"{reaching} of {findings} reach the threshold." if total else ""
    here, run = (f"{round(value, 2):g} {unit}".rstrip() for value in (threshold, own))
    below = threshold < own - _ROUNDED
    if not total:
        more = f" The outline shows where the map reaches {here}." if below else ""
        return f"No place reaches {run}, the threshold of this run.{more}"
    if below:
        return (
            f"The outline at {here} shows more than the table, which has only the {findings} at {run}, the "
            "threshold of this run. To list more, run again with a lower threshold."
        )
    if threshold <= own + _ROUNDED:
        reach = "reaches" if total == 1 else "reach"
        return f"{findings} {reach} {run}, the threshold of this run. Volumes are measured at it."
    return (
        f"{reaching} of {findings} reach {here}. Volumes are still those measured at {run}, the threshold of "
        "this run."
    )


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
    return int(value) if float(value).is_integer() and abs(value) < _EXACT else float(value)


def _order(rows: list[dict[str, Any]]) -> list[str]:
    there = list(dict.fromkeys(key for row in rows for key in row if row[key] not in ("", None)))
    first = [key for key in _FIRST if key in there]
    return [*first, *(key for key in there if key not in first and key not in _PLACE)]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)
