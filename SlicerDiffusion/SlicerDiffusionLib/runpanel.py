"""Run, and what a run says while it goes on: one button, a bar with the named stage, a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable

from . import job as states
from . import report, say
from .job import Job
from .jobs import Jobs

# A second click so soon is a double click, and shall not cancel what the first one began.
DOUBLE_CLICK_S = 0.7
_CLOCK_MS = 500
_BAR = 1000


class RunPanel:
    """`start()` begins a run and may raise job.Complaint; `why()` says what is missing before one can
    begin.
    """

    def __init__(self, queue: Jobs, start: Callable[[], Job], why: Callable[[], str]):
        import qt

        self._queue, self._start, self._why = queue, start, why
        self._clicked = 0.0
        self._ticking = self._over = False
        self._told = self._missing = self._hint = ""
        self.job: Job | None = queue.current
        self.widget = qt.QWidget()
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        self.button = say.button("Run", "", self.click, "run")
        self.button.setMinimumHeight(36)
        self.button.setStyleSheet("QPushButton { font-weight: bold; }")
        self.bar = qt.QProgressBar()
        self.bar.setObjectName("progress")
        self.bar.setRange(0, _BAR)
        self.bar.setTextVisible(True)
        self.bar.setVisible(False)
        self.preview = qt.QCheckBox("Show preview while it runs")
        self.preview.setObjectName("preview")
        self.preview.setToolTip(
            "While a run goes on, the picture that forms lies over the scan. Zoom and position stay as they "
            "are."
        )
        self.preview.setChecked(True)
        self.status = say.label("status")
        for part in (self.button, self.bar, self.status, self.preview):
            column.addWidget(part)
        queue.listeners.append(self._onJob)
        self.update()
        if self.job is not None:
            self._onJob(self.job)

    def cleanup(self) -> None:
        self._over = True
        self._queue.listeners.remove(self._onJob)

    def click(self) -> None:
        """Run, or cancel what runs."""
        now = time.monotonic()
        if self.job is not None and not self.job.finished:
            if now - self._clicked > DOUBLE_CLICK_S:
                self._queue.cancel(self.job)
            return
        self._clicked = now
        self.begin(self._start)

    def begin(self, start: Callable[[], Job]) -> None:
        """Begin a run, and say why where it cannot begin."""
        try:
            start()
        except states.Complaint as complaint:
            self.tell(str(complaint), say.ERROR)

    def tell(self, text: str, tone: str = say.PLAIN) -> None:
        """Say a sentence where the run's sentences are."""
        self._told = text
        say.say(self.status, text, tone)

    def update(self) -> None:
        """Show whether a run can begin, and why not where it cannot."""
        running = self.job is not None and not self.job.finished
        cancelling = running and self.job is not None and self.job.state == states.CANCELLING
        missing = "" if running else self._why()
        self.button.setText("Stopping…" if cancelling else "Cancel" if running else "Run")
        self.button.setEnabled(not cancelling and not missing)
        self.button.setToolTip(
            missing
            or ("Stop the computation; the scene stays as it is." if running else "Start the computation.")
        )
        self._ask(missing)

    def _ask(self, missing: str) -> None:
        """Say what is missing, unless something else is being said."""
        if missing != self._missing and self._told in ("", self._missing):
            self.tell(missing)
        self._missing = missing

    def _onJob(self, job: Job) -> None:
        if self._over:
            return
        if job is not self.job and self._queue.current not in (None, job):
            self._showProgress()  # it waits for its turn
            return
        if job is not self.job and job.finished:
            return  # it never had its turn
        if job is not self.job:
            self.job = job
            self.tell("")
        self.update()
        self._showProgress()
        if job.finished:
            self._showEnd(job)
        elif job.hint != self._hint:
            self._hint = job.hint
            self.tell(job.hint, say.WARNING)
        self._startClock()

    def _showProgress(self) -> None:
        job = self.job
        running = job is not None and not job.finished
        self.bar.setVisible(running)
        if job is None or not running:
            return
        # What is begun but has no share yet shows a moving bar.
        self.bar.setRange(0, 0 if job.fraction <= 0 else _BAR)
        self.bar.setValue(int(_BAR * job.fraction))
        waiting = f" – {len(self._queue.waiting)} waiting" if self._queue.waiting else ""
        self.bar.setFormat(f"{job.stage} – {job.fraction:.0%} – {report.duration(job.elapsed)}{waiting}")

    def _showEnd(self, job: Job) -> None:
        if job.state == states.FAILED:
            self.tell(job.message, say.ERROR)
        elif job.state == states.CANCELLED:
            self.tell(job.message, say.PLAIN)
        else:
            notes = "\n".join(getattr(job.work, "notes", []))
            self.tell(
                f"Done in {report.duration(job.elapsed)}. {notes}".strip(), say.WARNING if notes else say.GOOD
            )

    def _startClock(self) -> None:
        import qt

        if not self._ticking and self.job is not None and not self.job.finished:
            self._ticking = True
            qt.QTimer.singleShot(_CLOCK_MS, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        if not self._over:
            self._showProgress()
            self._startClock()
