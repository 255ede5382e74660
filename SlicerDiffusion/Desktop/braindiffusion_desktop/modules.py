"""`slicer.modules` and `slicer.app.moduleManager()`: what modules there are, and their logics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class CoreModule:
    """One of Slicer's own modules, of which this host has the logic and no panel."""

    path = ""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = name
        self.title = name
        self._logic = logic

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> None:
        return None


class Modules:
    """`slicer.modules`: each module by its name in lower case; scripted ones add `<Name>Widget`."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this window has no module '{name}'; it has {', '.join(sorted(vars(self)))}")


class Signals:
    """Old-style connect("signal(Type)", slot) on an object that is no QObject."""

    def __init__(self) -> None:
        self._slots: dict[str, list[Callable[..., Any]]] = {}

    def connect(self, signal: str, slot: Callable[..., Any]) -> bool:
        self._slots.setdefault(signal.partition("(")[0], []).append(slot)
        return True

    def disconnect(self, signal: str, slot: Callable[..., Any]) -> bool:
        slots = self._slots.get(signal.partition("(")[0], [])
        if slot not in slots:
            return False
        slots.remove(slot)
        return True

    def emit(self, signal: str, *args: Any) -> None:
        for slot in list(self._slots.get(signal, ())):
            slot(*args)


class ModuleManager(Signals):
    """Finds modules by name, as slicer.util.getModule asks for them."""

    def __init__(self, modules: Modules) -> None:
        super().__init__()
        self._modules = modules

    def module(self, name: str) -> Any:
        return vars(self._modules).get(name.lower())

    def factoryManager(self) -> ModuleManager:
        return self

    def loadedModuleNames(self) -> list[str]:
        return [module.name for key, module in vars(self._modules).items() if key == key.lower()]
