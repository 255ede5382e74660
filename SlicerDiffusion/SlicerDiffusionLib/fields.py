"""A widget for each kind of field: made, read, set, and listened to.

Each function takes a field and a function to call after a change, and gives `Widget`. The code keeps to what
PythonQt and PySide6 share: setX() to write, property("x") to read, slots without arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .schema import BOOLEAN, CHOICE, INTEGER, NUMBER, TEXT, Field

_INT_MAX = 2**31 - 1
_WIDE = 1e12
NOT_GIVEN = "not given"


@dataclass
class Widget:
    """A widget with how to read and how to set the value of its field."""

    widget: Any
    get: Callable[[], Any]
    set: Callable[[Any], None]


def make(field: Field, changed: Callable[[], None]) -> Widget:
    """The widget of a field; `changed` is called after each change by the user."""
    made = _MAKERS[field.kind](field, changed)
    made.widget.setObjectName(field.name)
    made.widget.setToolTip(field.help)
    made.set(field.default)
    return made


def _spin(field: Field, changed: Callable[[], None]) -> Widget:
    """A whole number, or a number; with a check box before it where it may be left open."""
    import qt

    whole = field.kind == INTEGER
    low = -_WIDE if field.minimum is None else field.minimum
    high = _WIDE if field.maximum is None else field.maximum
    if whole and low >= -_INT_MAX and high <= _INT_MAX:
        spin = qt.QSpinBox()
        spin.setRange(int(low), int(high))
    else:  # QSpinBox holds 32 bits; a double holds whole numbers up to 2^53
        spin = qt.QDoubleSpinBox()
        spin.setDecimals(0 if whole else _decimals(field))
        spin.setRange(float(low), float(high))
        spin.setSingleStep(1.0 if whole else _step(field))
    if field.unit:
        spin.setSuffix(f" {field.unit}")
    spin.valueChanged.connect(lambda: changed())

    def get() -> Any:
        value = spin.property("value")
        return int(round(value)) if whole else float(value)

    def put(value: Any) -> None:
        spin.setValue(int(value) if spin.className() == "QSpinBox" else float(value))

    put(_start(field))
    if not field.optional:
        return Widget(spin, get, lambda value: put(_start(field) if value is None else value))
    return _optional(field, spin, get, put, changed)


def _start(field: Field) -> Any:
    """What a number begins with: its default or example, else the middle of its range on a round step."""
    if field.default is not None or field.example is not None:
        return field.default if field.default is not None else field.example
    if field.minimum is None or field.maximum is None:
        return max(0, field.minimum or 0) if field.maximum is None else min(0, field.maximum)
    step = 1 if field.kind == INTEGER else _step(field)
    middle = round((field.minimum + field.maximum) / 2 / step) * step
    return min(max(middle, field.minimum), field.maximum)


def _optional(
    field: Field,
    spin: Any,
    get: Callable[[], Any],
    put: Callable[[Any], None],
    changed: Callable[[], None],
) -> Widget:
    """A number that may be left open: it is seen only where it is given."""
    import qt

    row = qt.QWidget()
    box = qt.QHBoxLayout(row)
    box.setContentsMargins(0, 0, 0, 0)
    given = qt.QCheckBox()
    given.setToolTip(f"Without a tick: {NOT_GIVEN}. {field.help}")
    given.setAccessibleName(f"Give {field.title}")
    left = qt.QLabel(NOT_GIVEN)
    left.setToolTip(field.help)
    left.setEnabled(False)
    box.addWidget(given)
    box.addWidget(spin, 1)
    box.addWidget(left, 1)
    spin.setVisible(False)

    def toggled() -> None:
        spin.setVisible(given.property("checked"))
        left.setVisible(not given.property("checked"))
        changed()

    given.toggled.connect(lambda: toggled())

    def set_(value: Any) -> None:
        put(_start(field) if value is None else value)
        given.setChecked(value is not None)

    return Widget(row, lambda: get() if given.property("checked") else None, set_)


def _choice(field: Field, changed: Callable[[], None]) -> Widget:
    """One of several values; "not given" is the first where it may be left open."""
    import qt

    values: list[Any] = [*([None] if field.optional else []), *field.choices]
    combo = qt.QComboBox()
    unit = f" {field.unit}" if field.unit else ""
    for value in values:
        combo.addItem(NOT_GIVEN if value is None else f"{_words(value)}{unit}")
    combo.currentIndexChanged.connect(lambda: changed())

    def get() -> Any:
        index = combo.property("currentIndex")
        return values[index] if 0 <= index < len(values) else None

    def put(value: Any) -> None:
        wanted = value if value in values else field.default
        combo.setCurrentIndex(values.index(wanted) if wanted in values else 0)

    return Widget(combo, get, put)


def _boolean(field: Field, changed: Callable[[], None]) -> Widget:
    import qt

    if field.optional:
        import dataclasses

        return _choice(dataclasses.replace(field, kind=CHOICE, choices=(True, False)), changed)
    box = qt.QCheckBox()
    box.toggled.connect(lambda: changed())
    return Widget(box, lambda: bool(box.property("checked")), lambda value: box.setChecked(bool(value)))


def _text(field: Field, changed: Callable[[], None]) -> Widget:
    import qt

    edit = qt.QLineEdit()
    if field.optional:
        edit.setPlaceholderText(NOT_GIVEN)
    edit.textChanged.connect(lambda: changed())

    def get() -> str | None:
        text = str(edit.property("text")).strip()
        return text if text or not field.optional else None

    def put(value: Any) -> None:
        text = "" if value is None else str(value)
        if text != edit.property("text"):  # setting the same text would move the cursor
            edit.setText(text)

    return Widget(edit, get, put)


_MAKERS = {INTEGER: _spin, NUMBER: _spin, CHOICE: _choice, BOOLEAN: _boolean, TEXT: _text}


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).replace("_", " ")


def _decimals(field: Field) -> int:
    """Places after the point that its range and its default need."""
    if field.minimum is None or field.maximum is None or field.maximum <= field.minimum:
        places = 3
    else:
        places = max(0, 3 - math.floor(math.log10(field.maximum - field.minimum)))
    for value in (field.default, field.minimum, field.maximum):
        if value is not None:
            places = max(places, len(f"{float(value):.6f}".rstrip("0").partition(".")[2]))
    return min(places, 6)


def _step(field: Field) -> float:
    if field.minimum is None or field.maximum is None or field.maximum <= field.minimum:
        return 0.1
    return 10.0 ** math.floor(math.log10((field.maximum - field.minimum) / 20))
