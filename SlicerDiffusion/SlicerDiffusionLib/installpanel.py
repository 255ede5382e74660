"""Whether all that the engine needs is there, and one button that checks and repairs it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from . import install, say
from .job import Complaint, Job
from .jobs import Jobs

_POLL_MS = 100
_BUSY = "A run goes on; wait for its end or cancel it, then press Check & repair again."
_FAULT = "This could not be done ({error}); press Copy report and send it to the authors."


class InstallPanel:
    """Nothing is downloaded before the button is pressed, and what would be is said first.

    Where a run fails because the engine is not whole, it unfolds and looks what is wanting.
    """

    def __init__(self, queue: Jobs) -> None:
        self._queue = queue
        self._over = self._busy = False
        self._found: list[install.Finding] | None = None
        self.widget, column = say.section("Installation", "installation", True)
        self.said = say.label("installSaid")
        self.button = say.button(
            "Check", "Look whether all that the engine needs is there.", self.click, "check"
        )
        column.addWidget(self.said)
        column.addWidget(self.button)
        say.say(
            self.said,
            "The engine computes in a Python of its own process. Check looks whether all that it needs is "
            "there; it downloads nothing.",
        )
        queue.listeners.append(self._onJob)

    def cleanup(self) -> None:
        self._over = True
        self._queue.listeners.remove(self._onJob)

    def _onJob(self, job: Job) -> None:
        if job.lacksEngine:
            import qt

            self.widget.setProperty("collapsed", False)
            qt.QTimer.singleShot(0, self._look)

    def _look(self) -> None:
        if not self._busy and not self._over:
            self._guarded(self.check)

    def click(self) -> None:
        """Check; where something is wanting and has been explained, install it."""
        if self._busy:
            return
        if self._found is not None and install.wanting(self._found) and install.canInstall():
            self._guarded(self._repair)
        else:
            self._guarded(self.check)

    def check(self) -> None:
        """Look what is there, without blocking."""
        self._setBusy("Looking what is there…")
        self._found = None
        self._poll(install.Check(), self._checked)

    def _checked(self, found: list[install.Finding]) -> None:
        self._found = found
        torch = next(finding for finding in found if finding.need is install.TORCH)
        if torch.state == "there":
            self._setBusy("Trying a small computation…")
            self._poll(install.Trial(), self._tried)
        else:
            self._told()

    def _tried(self, complaint: str) -> None:
        if complaint and self._found is not None:
            self._found = [
                replace(item, state="broken") if item.need is install.TORCH else item for item in self._found
            ]
        self._told(complaint)

    def _told(self, complaint: str = "") -> None:
        self._busy = False
        found = self._found or []
        wanting = install.wanting(found)
        text = install.explain(found) + (f"\nPyTorch says: {complaint}" if complaint else "")
        repairs = wanting and install.canInstall()
        if wanting and not repairs:
            text += "\nThis window was installed with its engine; install it anew with pip."
        say.say(self.said, text, say.WARNING if wanting else say.GOOD)
        self.button.setText("Check & repair" if repairs else "Check")
        self.button.setToolTip(
            "Download and install what is listed above." if repairs else "Look whether all is there."
        )
        self.button.setEnabled(True)

    def _repair(self) -> None:
        """Install; before that the engine ends, as no file that is in use can be replaced on Windows."""
        assert self._found is not None
        if not self._queue.endEngine():
            raise Complaint(_BUSY)
        self._setBusy("Installing; this can take minutes…")
        install.repair(self._found, lambda text: say.say(self.said, text))
        self._busy = False
        self.check()

    def _setBusy(self, text: str) -> None:
        self._busy = True
        self.button.setEnabled(False)
        say.say(self.said, text)

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Complaint as complaint:
            self._failed(str(complaint))
        except Exception as error:  # the button shall work again, and the log tells who mends it
            self._failed(_FAULT.format(error=f"{type(error).__name__}: {error}"))
            self._queue.note("".join(traceback.format_exception(error)).rstrip())

    def _failed(self, sentence: str) -> None:
        self._busy = False
        self.button.setEnabled(True)
        say.say(self.said, sentence, say.ERROR)

    def _poll(self, going: Any, then: Callable[[Any], None]) -> None:
        """Ask until there is an answer, and hand it on."""
        import qt

        answer = None if self._over else going.poll()
        if answer is not None:
            then(answer)
        elif not self._over:
            qt.QTimer.singleShot(_POLL_MS, lambda: self._guarded(lambda: self._poll(going, then)))
