"""One job: what it does, what state it is in, and what the user is told of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

QUEUED, RUNNING, CANCELLING = "queued", "running", "cancelling"
DONE, FAILED, CANCELLED = "done", "failed", "cancelled"

STOPPED = "Stopped at your request; the scene is unchanged."
CLOSED = "Stopped because the module was closed; the scene is unchanged."
KILLED = (
    "The computation was stopped from outside, probably because memory ran out; the scene is unchanged – "
    "run again after closing other programs, or with fewer samples."
)
CRASHED = (
    "The computation ended unexpectedly; the scene is unchanged – run again, and if it happens once more, "
    "press Copy report and send it to the authors."
)
NOT_STARTED = "The engine could not be started ({why}); open Installation below and press Check & repair."
MISSING = (
    "The package '{package}' that the engine needs is missing or broken; open Installation below and press "
    "Check & repair."
)
OTHER_PROTOCOL = (
    "The engine and this panel are of different versions (protocol {theirs} and {ours}); install both anew."
)
NOT_DONE = (
    "The run could not be {doing} ({error}); the scene is unchanged – press Copy report and send it to the "
    "authors."
)
STUCK = (
    "There has been no answer for {seconds:.0f} s: the computation may hang. Cancel ends it; the scene is "
    "unchanged."
)
SLOW = "There has been no news for {seconds:.0f} s, but the engine answers: this step takes long."


class Complaint(RuntimeError):
    """One sentence for the user: what is wrong and what to do."""


class Work:
    """What a job does, beside what the engine does; a base to derive from.

    `prepare` and `present` are generators: each step is short, and the user's thread is free between steps.
    """

    title = "Job"

    def prepare(self, job: Job) -> Generator[None, None, dict[str, Any]]:
        """Make ready what the request needs; returns the message `run`, without `do` and `id`."""
        raise NotImplementedError

    def present(self, job: Job, answer: dict[str, Any]) -> Generator[None, None, Any]:
        """Bring the engine's `result` message to the user; returns the job's `value`. Undoes all when
        closed.
        """
        raise NotImplementedError

    def preview(self, job: Job, preview: dict[str, Any]) -> None:
        """Show the picture that came with a progress message."""

    def ended(self, job: Job) -> None:
        """Tidy up: the job is done, failed or cancelled."""


class Job:
    """One piece of work on its way: what state it is in, how far it is, and what became of it.

    `message` is one sentence for the user once the job failed or was cancelled, `kind` the engine's word for
    the failure, `hint` a sentence while it runs, `value` what the work returned.
    """

    def __init__(self, work: Work, onDone: Callable[[Job], None] | None = None):
        self.id = ""
        self.work = work
        self.state = QUEUED
        self.stage = "Waiting for the run before it"
        self.fraction = 0.0
        self.hint = ""
        self.message = ""
        self.kind = ""
        self.details: str | None = None
        self.value: Any = None
        self.begun: float | None = None
        self.over: float | None = None
        self.queue: Any = None
        self._onDone = onDone

    def cancel(self) -> None:
        """Stop it; see Jobs.cancel."""
        self.queue.cancel(self)

    @property
    def lacksEngine(self) -> bool:
        """Whether it failed because the engine is not there as a whole, so that the installation can help."""
        return self.state == FAILED and self.kind in ("missing", "start")

    @property
    def finished(self) -> bool:
        return self.state in (DONE, FAILED, CANCELLED)

    @property
    def elapsed(self) -> float:
        """Seconds since the job began to run."""
        if self.begun is None:
            return 0.0
        return (time.monotonic() if self.over is None else self.over) - self.begun

    def faultText(self) -> str:
        """The engine's own account of a failure, for a report; empty where there is none."""
        path = Path(self.details) if self.details else None
        return (
            path.read_text(encoding="utf-8", errors="replace") if path is not None and path.is_file() else ""
        )
