"""Whether all that the engine needs is there, and one button that checks and repairs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import install, say
from .job import Complaint

_POLL_MS = 100


class InstallPanel:
    """Nothing is downloaded before the button is pressed, and what would be is said first."""

    def __init__(self) -> None:
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

    def cleanup(self) -> None:
        self._over = True

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
                install.Finding(item.need, "broken", item.version, item.where)
                if item.need is install.TORCH
                else item
                for item in self._found
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
        assert self._found is not None
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
            self._busy = False
            self.button.setEnabled(True)
            say.say(self.said, str(complaint), say.ERROR)

    def _poll(self, going: Any, then: Callable[[Any], None]) -> None:
        import qt

        if self._over:
            return
        answer: list[Any] = []
        self._guarded(lambda: answer.append(going.poll()))
        if answer and answer[0] is not None:
            then(answer[0])
        elif answer:
            qt.QTimer.singleShot(_POLL_MS, lambda: self._poll(going, then))
