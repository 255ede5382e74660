"""Much happens in the scene at once; who follows it looks once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Soon:
    """Calls `look` in the next turn of the event loop, once however often it was asked for.

    It does not look while the scene is in the middle of a batch, nor after `cleanup`.
    """

    def __init__(self, look: Callable[[], None]):
        self._look = look
        self._waiting = self._over = False

    def cleanup(self) -> None:
        self._over = True

    def ask(self, *_: Any) -> None:
        """Look soon; an observer of events and signals of any arguments."""
        import qt

        if not self._waiting and not self._over:
            self._waiting = True
            qt.QTimer.singleShot(0, self.now)

    def now(self) -> None:
        """Look at once."""
        import slicer

        self._waiting = False
        if not self._over and not slicer.mrmlScene.IsBatchProcessing():
            self._look()
