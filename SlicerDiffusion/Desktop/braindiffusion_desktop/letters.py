"""What is written in a slice view: R L A P S I at its edges, and the names of the volumes."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

OBLIQUE_DEG = 10.0  # a slice turned by more than this says so with a second letter, as in "AR"
# In points. The ruler of a slice lies below the lower letter, and other text below the upper one.
_MARGIN, _TOP, _RULER, _SIZE = 8, 3, 30, 16
_CHARACTER, _FEWEST = 6.6, 28  # the width of a character of a name in points, and how many shall fit
_PLANES = {"R": "Sagittal", "L": "Sagittal", "A": "Coronal", "P": "Coronal", "S": "Axial", "I": "Axial"}


def small_text(size: int = 12) -> vtk.vtkTextActor:
    """Text in the lower left corner of its place, readable on any picture."""
    actor = vtk.vtkTextActor()
    look = actor.GetTextProperty()
    look.SetFontSize(size)
    look.SetColor(0.92, 0.92, 0.92)
    look.ShadowOn()
    return actor


def edge_letters(slice_node: Any) -> dict[str, str]:
    """Where the edges of a vtkMRMLSliceNode's picture lie in the patient: {"right": "L", "top": "A", ...}.

    The first letter is the nearest axis; others follow when the slice is oblique, the nearer one first.
    """
    to_ras = slice_node.GetSliceToRAS()
    letters = {}
    for column, (forward, backward) in enumerate((("right", "left"), ("top", "bottom"))):
        direction = [to_ras.GetElement(row, column) for row in range(3)]
        letters[forward] = slice_node.GetDirectionLabel(direction, True, OBLIQUE_DEG)
        letters[backward] = slice_node.GetDirectionLabel(direction, False, OBLIQUE_DEG)
    return letters


def _normal(slice_node: Any) -> list[float]:
    to_ras = slice_node.GetSliceToRAS()
    return [to_ras.GetElement(row, 2) for row in range(3)]


def plane_words(slice_node: Any) -> str:
    """The nearest anatomical plane, and whether the slice is oblique: "Axial", "Coronal, oblique"."""
    letters = slice_node.GetDirectionLabel(_normal(slice_node), True, OBLIQUE_DEG)
    return _PLANES.get(letters[:1], "") + (", oblique" if len(letters) > 1 else "")


def offset_words(slice_node: Any, offset: float) -> str:
    """Where a slice lies along its normal, in mm: "S 12.5 mm", "L 30.0 mm"; only "12.5 mm" when oblique."""
    letters = slice_node.GetDirectionLabel(_normal(slice_node), offset >= 0, OBLIQUE_DEG)
    return f"{letters} {abs(offset):.1f} mm" if len(letters) == 1 else f"{offset:.1f} mm"


class EdgeLetters:
    """Draws the letters in the middle of the edges of a renderer."""

    def __init__(self, renderer: vtk.vtkRenderer) -> None:
        self._actors = {edge: small_text(_SIZE) for edge in ("left", "right", "top", "bottom")}
        for edge, actor in self._actors.items():
            look = actor.GetTextProperty()
            look.BoldOn()
            look.SetColor(1.0, 0.93, 0.6)
            look.SetJustification({"left": 0, "right": 2}.get(edge, 1))
            look.SetVerticalJustification({"bottom": 0, "top": 2}.get(edge, 1))
            renderer.AddViewProp(actor)

    def turn(self, slice_node: Any) -> None:
        for edge, letter in edge_letters(slice_node).items():
            self._actors[edge].SetInput(letter)

    def place(self, width: int, height: int, ratio: float) -> None:
        gap = _MARGIN * ratio
        for edge, (x, y) in {
            "left": (gap, height / 2),
            "right": (width - gap, height / 2),
            "top": (width / 2, height - _TOP * ratio),
            "bottom": (width / 2, _RULER * ratio),
        }.items():
            self._actors[edge].SetPosition(x, y)

    def show(self, visible: bool) -> None:
        for actor in self._actors.values():
            actor.SetVisibility(visible)

    def read(self) -> dict[str, str]:
        return {edge: actor.GetInput() for edge, actor in self._actors.items() if actor.GetVisibility()}


class VolumeNames:
    """The names of the volumes in front and behind, in the lower left corner above the ruler."""

    def __init__(self, renderer: vtk.vtkRenderer) -> None:
        self._actor = small_text()
        self._lines: list[str] = []
        self._characters = 0
        renderer.AddViewProp(self._actor)

    def write(self, composite: Any) -> None:
        """composite: the vtkMRMLSliceCompositeNode of the view, or None."""
        lines = []
        if composite is not None:
            front, back = composite.GetForegroundVolumeID(), composite.GetBackgroundVolumeID()
            if front and composite.GetForegroundOpacity() > 0:
                lines.append(f"{_name(front)} ({composite.GetForegroundOpacity():.0%})")
            if back:
                lines.append(_name(back))
        self._lines = lines
        self._draw()

    def place(self, width: int, ratio: float) -> None:
        self._actor.SetPosition(_MARGIN * ratio, _RULER * ratio)
        # To the left of the lower letter. Where this is narrow, the title bar says enough.
        self._characters = round((width / ratio / 2 - 3 * _MARGIN) / _CHARACTER)
        self._draw()

    def _draw(self) -> None:
        fits = self._characters >= _FEWEST
        self._actor.SetInput(
            "\n".join(_shorten(line, self._characters) for line in self._lines) if fits else ""
        )

    def read(self) -> str:
        """What is drawn."""
        return self._actor.GetInput() or ""


def _name(identifier: str) -> str:
    node = slicer.mrmlScene.GetNodeByID(identifier)
    return node.GetName() if node is not None else ""


def _shorten(text: str, characters: int) -> str:
    """Leave out the beginning: the end of a result's name says what it is, and that it is synthetic."""
    return text if len(text) <= characters else "…" + text[len(text) - characters + 1 :]
