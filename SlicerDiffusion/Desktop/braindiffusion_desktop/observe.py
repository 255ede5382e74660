"""Observers on VTK objects that keep no Python object alive and can be removed together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

import vtk


class Observations:
    """Calls methods on events of VTK objects, for as long as the methods' owner lives."""

    def __init__(self) -> None:
        self._tags: dict[Any, list[int]] = {}

    def observe(self, vtk_object: Any, events: tuple[Any, ...], method: Callable[..., None]) -> None:
        """Call method(caller, event) on each of the events."""
        weak = WeakMethod(method)

        def call(caller: Any, event: str) -> None:
            bound = weak()
            if bound is not None:
                bound(caller, event)

        self._add(vtk_object, events, call)

    def observe_nodes(self, scene: Any, events: tuple[Any, ...], method: Callable[..., None]) -> None:
        """Call method(node) on events of the scene that are about one node, such as NodeAddedEvent."""
        weak = WeakMethod(method)

        def call(_scene: Any, _event: str, node: Any) -> None:
            bound = weak()
            if bound is not None:
                bound(node)

        call.CallDataType = vtk.VTK_OBJECT
        self._add(scene, events, call)

    def _add(self, vtk_object: Any, events: tuple[Any, ...], call: Callable[..., None]) -> None:
        self._tags.setdefault(vtk_object, []).extend(vtk_object.AddObserver(event, call) for event in events)

    def objects(self) -> list[Any]:
        return list(self._tags)

    def forget(self, vtk_object: Any) -> None:
        for tag in self._tags.pop(vtk_object, ()):
            vtk_object.RemoveObserver(tag)

    def clear(self, *_: object) -> None:
        for vtk_object in self.objects():
            self.forget(vtk_object)
