"""Jobs in a queue, run one after another by the engine.

A timer polls, so that the user's thread never waits: each tick handles messages and takes steps of a job's
own work for some milliseconds at most.
"""

from __future__ import annotations

import atexit
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from . import job as words
from . import process
from .engine import Engine
from .job import CANCELLED, CANCELLING, DONE, FAILED, RUNNING, Complaint, Job

TICK_MS = 40
# What one tick may take of the user's thread, if a single step does not take longer.
BUDGET_S = 0.02
_LOG_LINES, _LOG_WIDTH = 5000, 2000
_SHARED = "SlicerDiffusionJobs"


class Jobs:
    """The queue and its engine. `command` starts the engine, `singleShot(ms, f)` calls f later, in here."""

    def __init__(
        self,
        command: list[str] | None = None,
        singleShot: Callable[[int, Callable[[], None]], None] | None = None,
    ):
        self.listeners: list[Callable[[Job], None]] = []
        self.current: Job | None = None
        self.waiting: list[Job] = []
        self.engine = Engine(command, self.note)
        self._singleShot = singleShot
        self._steps: Generator[None, None, Any] | None = None
        self._stepping = self._ticking = False
        self._sent = self._presenting = False
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._count = 0

    # What the panel and scripts call.

    def submit(self, job: Job) -> Job:
        """Put a job into the queue; it begins at once where nothing runs."""
        self._count += 1
        job.id, job.queue = str(self._count), self
        self.waiting.append(job)
        self._tell(job)
        self._startTicking()
        return job

    def cancel(self, job: Job) -> None:
        """Stop a job; this shows at once, and the process is gone within five seconds if it does not obey."""
        if job in self.waiting:
            self.waiting.remove(job)
            self._finish(job, CANCELLED, "Cancelled before it began.")
        elif job is self.current and job.state == RUNNING:
            job.state, job.stage, job.hint = CANCELLING, "Stopping", ""
            self.note(f"job {job.id}: cancelled by the user")
            if self._steps is not None or not self._sent:
                self._finish(job, CANCELLED, words.STOPPED)
                return
            self.engine.cancel(job.id)
            self._tell(job)

    def wait(self, job: Job, processEvents: Callable[[], None]) -> Job:
        """Return when the job has finished; events are processed meanwhile, so the user can cancel."""
        while not job.finished:
            self.poll()
            processEvents()
            time.sleep(0.005)
        return job

    def close(self, seconds: float = 0.3) -> None:
        """Cancel everything and end the process: for the end of the program or of the module."""
        for job in [*self.waiting]:
            self.cancel(job)
        if self.current is not None:
            self._finish(self.current, CANCELLED, words.CLOSED)
        self.engine.end(seconds)

    def endEngine(self, seconds: float = 3.0) -> bool:
        """End the process that waits for the next run, in so long at most; False where a run goes on."""
        if self.current is not None or self.waiting:
            return False
        self.engine.end(seconds / 2)
        return True

    def note(self, text: str) -> None:
        """Add a line to the log."""
        self._log.append(f"{time.strftime('%H:%M:%S')} {text}")

    def logText(self) -> str:
        """What the engine and the queue have said, for a report."""
        return "\n".join(self._log)

    def processId(self) -> int | None:
        """Number of the engine's process while it runs."""
        return self.engine.pid

    # The tick.

    def poll(self) -> None:
        """Handle what has arrived and take steps, for some milliseconds."""
        until = time.monotonic() + BUDGET_S
        self._read(until)
        if self.current is None and self.waiting:
            self._begin(self.waiting.pop(0))
        self._step(until)
        self._watch()

    def _startTicking(self) -> None:
        if not self._ticking:
            self._ticking = True
            self._later(0)

    def _later(self, milliseconds: int) -> None:
        if self._singleShot is None:
            import qt

            self._singleShot = qt.QTimer.singleShot
        self._singleShot(milliseconds, self._tick)

    def _tick(self) -> None:
        try:
            self.poll()
        finally:
            self._ticking = self.current is not None or bool(self.waiting)
            if self._ticking:
                self._later(0 if self._steps is not None else TICK_MS)

    def _read(self, until: float) -> None:
        while time.monotonic() < until and (said := self.engine.next()) is not None:
            if isinstance(said, str):
                self.note(f"engine: {said[:_LOG_WIDTH]}")
            else:
                self._hear(said)

    def _step(self, until: float) -> None:
        """Take steps of the current job's own work while there is time."""
        while (steps := self._steps) is not None and not self._stepping and time.monotonic() < until:
            outcome = self._next(steps)
            if steps is not self._steps:  # the step itself has cancelled the job
                if outcome is not None and not isinstance(outcome, StopIteration):
                    raise outcome
            elif isinstance(outcome, StopIteration):
                self._stepped(outcome.value)
            elif outcome is not None:
                self._workFailed(outcome)

    def _next(self, steps: Generator[None, None, Any]) -> Exception | None:
        """Take one step; what it raised. A step may process events, and so lead here again."""
        self._stepping = True
        try:
            next(steps)
        except Exception as raised:  # the caller tells the user
            return raised
        finally:
            self._stepping = False
        return None

    def _stepped(self, value: Any) -> None:
        """A generator of the current job's work has come to its end."""
        job, self._steps = self.current, None
        assert job is not None
        if self._presenting:
            job.value = value
            self._finish(job, DONE, "")
        elif self._startEngine(job):
            self._sent = True
            self.engine.run({"id": job.id, **value})

    def _workFailed(self, error: Exception) -> None:
        job = self.current
        assert job is not None
        if isinstance(error, Complaint):
            self._finish(job, FAILED, str(error), "refused")
            return
        self.note("".join(traceback.format_exception(error)).rstrip())
        doing = "shown" if self._presenting else "begun"
        text = words.NOT_DONE.format(doing=doing, error=f"{type(error).__name__}: {error}")
        self._finish(job, FAILED, text, "fault")

    # A job's way.

    def _begin(self, job: Job) -> None:
        self.current = job
        job.state, job.stage, job.begun = RUNNING, "Preparing the scan", time.monotonic()
        self._sent = self._presenting = False
        self.engine.spare()
        self.note(f"job {job.id}: {job.work.title}")
        self._steps = job.work.prepare(job)
        self._tell(job)

    def _finish(self, job: Job, state: str, message: str, kind: str = "") -> None:
        steps = None
        if job is self.current:
            steps, self._steps, self.current = self._steps, None, None
            self.engine.spare()
        job.state, job.message, job.kind, job.hint, job.over = state, message, kind, "", time.monotonic()
        job.fraction = 1.0 if state == DONE else job.fraction
        job.stage = {DONE: "Done", FAILED: "Failed", CANCELLED: "Cancelled"}[state]
        self.note(f"job {job.id}: {state} after {job.elapsed:.1f} s. {message}".rstrip())
        if steps is not None and not self._stepping:
            steps.close()
        job.work.ended(job)
        self._tell(job)
        if job._onDone is not None:
            job._onDone(job)

    def _tell(self, job: Job) -> None:
        for listener in [*self.listeners]:
            listener(job)

    # What the engine says.

    def _startEngine(self, job: Job) -> bool:
        try:
            self.engine.start()
        except OSError as error:
            self._finish(job, FAILED, words.NOT_STARTED.format(why=error.strerror or error), "start")
            return False
        return True

    def _hear(self, message: dict[str, Any]) -> None:
        """Handle one message of the engine."""
        event = message["event"]
        if event == "ready" or message["v"] != process.PROTOCOL:
            self._greet(message)
            return
        job = self.current
        if job is None or not self._sent or message.get("id") != job.id:
            if event != "pong":
                self.note(f"engine: {event} for job {message.get('id')}, which is over")
            return
        if event == "progress" and job.state == RUNNING:
            self.engine.progressed()
            job.hint = ""
            self._progressed(job, message)
        elif self.engine.doomed:
            return  # the job is over when the process is gone
        elif event == "result":
            self._answered(job, message)
        elif event == "failed":
            self._refused(job, message)

    def _greet(self, message: dict[str, Any]) -> None:
        theirs = message.get("protocol", message["v"])
        if theirs == process.PROTOCOL:
            self.engine.ready = True
            self.note(f"engine {message.get('version')} is ready")
        elif self.current is not None:
            self.engine.kill()
            text = words.OTHER_PROTOCOL.format(theirs=theirs, ours=process.PROTOCOL)
            self._finish(self.current, FAILED, text, "protocol")

    def _progressed(self, job: Job, message: dict[str, Any]) -> None:
        stage = str(message.get("stage", job.stage))
        if stage != job.stage:
            self.note(f"job {job.id}: {stage} ({job.elapsed:.1f} s)")
        job.stage = stage
        share = message.get("fraction")
        job.fraction = min(max(share, 0.0), 1.0) if isinstance(share, (int, float)) else job.fraction
        if message.get("preview"):
            try:
                job.work.preview(job, message["preview"])
            except (OSError, ValueError) as error:  # the run goes on without it
                self.note(f"job {job.id}: a preview could not be shown: {error}")
        self._tell(job)

    def _answered(self, job: Job, message: dict[str, Any]) -> None:
        if job.state == CANCELLING:
            self._finish(job, CANCELLED, words.STOPPED)
            return
        job.stage, job.fraction, job.hint, self._presenting = "Showing the result", 1.0, "", True
        self._steps = job.work.present(job, message)
        self._tell(job)

    def _refused(self, job: Job, message: dict[str, Any]) -> None:
        kind = str(message.get("kind", "fault"))
        job.details = message.get("details")
        text = str(message.get("message") or words.CRASHED)
        if kind == "missing":
            text = words.MISSING.format(package=message.get("package"))
        self.note(f"engine: {kind}: {text}" + (f" (details in {job.details})" if job.details else ""))
        if kind == "cancelled" or job.state == CANCELLING:
            self._finish(job, CANCELLED, words.STOPPED, "cancelled")
        else:
            self._finish(job, FAILED, text, kind)

    # What happens when nothing is said.

    def _watch(self) -> None:
        self.engine.enforce()
        job = self.current
        if job is None or not self._sent or self._presenting:
            return
        code = self.engine.exitCode()
        if code is not None:
            self._died(job, code)
        elif job.state == RUNNING:
            hint = self.engine.silence(job.id)
            if hint is not None and hint != job.hint:
                job.hint = hint
                self._tell(job)

    def _died(self, job: Job, code: int) -> None:
        self.note(f"the engine's process ended with code {code}")
        if job.state == CANCELLING:
            self._finish(job, CANCELLED, words.STOPPED)
        elif not self.engine.ready:
            last = next((line for line in reversed(self._log) if " engine: " in line), "")
            why = last.partition(" engine: ")[2] or f"it ended at once with code {code}"
            self._finish(job, FAILED, words.NOT_STARTED.format(why=why.rstrip(".")), "start")
        else:
            killed = code in (-9, -15, 137, 143)
            text, kind = (words.KILLED, "killed") if killed else (words.CRASHED, "crash")
            self._finish(job, FAILED, text, kind)


def shared() -> Jobs:
    """The one queue of this program. It outlives the module: one that is loaded anew finds what runs."""
    import slicer

    queue = getattr(slicer.modules, _SHARED, None)
    if queue is None:
        queue = Jobs()
        setattr(slicer.modules, _SHARED, queue)
        atexit.register(queue.close)
    return queue
