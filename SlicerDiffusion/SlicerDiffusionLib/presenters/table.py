"""A table: a table node with a column for each key of its rows, numbers as numbers."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

KIND = "table"


def present(artifact: dict[str, Any], context: Any) -> Generator[None, None, Any]:
    """A vtkMRMLTableNode; the columns of `display` come first, under their headings."""
    import slicer
    import vtk

    rows = artifact.get("rows") or []
    node = slicer.vtkMRMLTableNode()
    node.SetName(context.nameOf(artifact))
    for key, heading in columns(artifact).items():
        values = [row.get(key) for row in rows]
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        whole = numbers and all(isinstance(value, int) for value in values)
        # In the file of a scene a seed among real numbers would keep its first six digits.
        kind = vtk.vtkTypeInt64Array if whole else vtk.vtkDoubleArray
        array = kind() if numbers and values else vtk.vtkStringArray()
        array.SetName(heading)
        for value in values:
            array.InsertNextValue(value if numbers else "" if value is None else str(value))
        node.AddColumn(array)
    yield
    return slicer.mrmlScene.AddNode(node)


def columns(artifact: dict[str, Any]) -> dict[str, str]:
    """{key: heading} of all that the rows hold."""
    keys = dict(artifact["display"].get("columns", {}))
    for row in artifact.get("rows") or []:
        for key in row:
            keys.setdefault(key, key.replace("_", " "))
    return keys
