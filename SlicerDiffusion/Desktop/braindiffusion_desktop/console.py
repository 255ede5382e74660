"""A Python console in a dock, in the window's own process: `slicer` and the module's logic are at hand."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from PySide6 import QtWidgets

HOW_TO_INSTALL = (
    "The Python console needs qtconsole: in the repository's folder, run python -m pip install '.[console]'."
)
_WELCOME = (
    "The scene is slicer.mrmlScene. To run a task:\n"
    "  logic = slicer.modules.slicerdiffusion.widgetRepresentation().self().logic\n"
    "  nodes = logic.run('heal', input=slicer.util.getNode('...'), seed=7)\n"
)


def is_installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("qtconsole", "ipykernel"))


class Console(QtWidgets.QDockWidget):
    """The kernel starts when the console is made, so make it when it is first asked for."""

    def __init__(self, dark: bool, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__("Python console", parent)
        self.setObjectName("console")
        os.environ["QT_API"] = "pyside6"  # qtconsole would otherwise take whatever Qt it finds first
        from qtconsole.inprocess import QtInProcessKernelManager
        from qtconsole.rich_jupyter_widget import RichJupyterWidget

        self._manager = QtInProcessKernelManager()
        self._manager.start_kernel(show_banner=False)
        self._client = self._manager.client()
        self._client.start_channels()
        self.widget = RichJupyterWidget()
        self.widget.kernel_manager = self._manager
        self.widget.kernel_client = self._client
        self.widget.banner = _WELCOME
        self.set_dark(dark)
        self.setWidget(self.widget)
        self.push(slicer=__import__("slicer"))

    def push(self, **names: Any) -> None:
        """Give names to the console."""
        self._manager.kernel.shell.push(names)

    def execute(self, code: str) -> None:
        """As if the user had typed it."""
        self.widget.execute(code)

    def value(self, name: str) -> Any:
        """What a name of the console stands for."""
        return self._manager.kernel.shell.user_ns[name]

    def set_dark(self, dark: bool) -> None:
        self.widget.set_default_style("linux" if dark else "lightbg")

    def finalize(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel()
