"""The engine as the queue sees it: one warm process, started when needed, and ended when it does not obey.

Nothing here waits, except `end`. The protocol is described in docs/worker.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from . import job as words
from . import places, process

# From the cancel message to SIGTERM, and from that to SIGKILL: the process is gone within five seconds.
TERMINATE_AFTER_S = 1.5
KILL_AFTER_S = 1.5
# A run that says nothing for so long is asked whether it lives, and has so long to answer.
SILENT_S = 60.0
ANSWER_S = 15.0


class Engine:
    """The process, or none yet. `command` starts it, `note(text)` takes what is worth a line of the log.

    `ready`: it has greeted. `doomed`: it is being ended, and what it still says is void.
    """

    def __init__(self, command: list[str] | None, note: Callable[[str], None]):
        self.command = command
        self.ready = self.doomed = False
        self._note = note
        self._process: process.Process | None = None
        self._deadlines: list[tuple[float, Callable[[], None]]] = []
        self._news = self._heard = self._pinged = 0.0

    @property
    def pid(self) -> int | None:
        """Number of the process while it lives."""
        return self._process.pid if self._process is not None and self._process.alive else None

    def start(self) -> None:
        """Start the process, unless one lives; raises OSError."""
        if self.pid is not None:
            return
        command = self.command or [process.python(), "-m", "braindiffusion.worker"]
        self._process = None
        self._process = process.Process(command, process.environment(places.core()))
        self.ready = self.doomed = False
        self._note(f"started {' '.join(command)} as process {self._process.pid}")

    def say(self, message: dict[str, Any]) -> None:
        """Write one message; a process that no longer listens is told of in the log."""
        if self._process is not None and not self._process.send(message):
            self._note(f"the engine does not take '{message['do']}'")

    def run(self, message: dict[str, Any]) -> None:
        """Begin a run; from now on `silence` knows how long nothing was said."""
        self._news = self._heard = time.monotonic()
        self._pinged = 0.0
        self.say({"do": "run", **message})

    def next(self) -> dict[str, Any] | str | None:
        """The next message (a dict) or line of log (a str) that has arrived; None where there is none."""
        said = self._process.next() if self._process is not None else None
        if isinstance(said, dict):
            self._heard = time.monotonic()
        return said

    def progressed(self) -> None:
        """The message that came last is news of the run, not only a sign of life."""
        self._news = self._heard

    def silence(self, run: str) -> str | None:
        """What to tell the user of an engine that says nothing; None where there is nothing new to tell.

        It is asked whether it lives; only the user ends it.
        """
        now = time.monotonic()
        if now - self._news < SILENT_S:
            return None
        answered = self._heard > self._pinged
        if answered and now - self._pinged > SILENT_S:
            self._pinged = now
            self.say({"do": "ping", "id": run})
        elif answered:
            return words.SLOW.format(seconds=now - self._news)
        elif now - self._pinged > ANSWER_S:
            return words.STUCK.format(seconds=now - self._heard)
        return None

    def exitCode(self) -> int | None:
        """How the process ended, once all that it wrote has been read; None before. Then there is none."""
        code = self._process.exitCode() if self._process is not None else None
        if code is not None:
            self._process = None
        return code

    # Its end.

    def cancel(self, run: str) -> None:
        """Ask it to stop a run; if `spare` is not called soon, the process is ended."""
        self.say({"do": "cancel", "id": run})
        self._deadlines = [(time.monotonic() + TERMINATE_AFTER_S, self._terminate)]

    def spare(self) -> None:
        """It has obeyed: the process may live."""
        self._deadlines = []

    def enforce(self) -> None:
        """Do what is due against a process that does not obey."""
        while self._deadlines and self._deadlines[0][0] <= time.monotonic():
            self._deadlines.pop(0)[1]()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def end(self, seconds: float) -> None:
        """Let the process end, or end it, and wait so long for each."""
        if self._process is not None:
            self._process.hangUp()
            if not self._process.wait(seconds):
                self._process.kill()
                self._process.wait(seconds)
            self._process = None

    def _terminate(self) -> None:
        if self._process is not None:
            self._note("the engine does not stop: asking its processes to end")
            self.doomed = True
            self._process.terminate()
            self._deadlines = [(time.monotonic() + KILL_AFTER_S, self._kill)]

    def _kill(self) -> None:
        if self._process is not None:
            self._note("the engine does not end: ending its processes")
            self._process.kill()
