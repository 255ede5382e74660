"""Run, and what a run says while it goes on: a button, a bar with the named stage, what waits, a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

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
    begin; `copyReport(job)` puts a report of that failure, or of what happened last, on the clipboard.
    """

    def __init__(
        self,
        queue: Jobs,
        start: Callable[[], Job],
        why: Callable[[], str],
        copyReport: Callable[[Job | None], None],
    ):
        import qt

        self._queue, self._start, self._why, self._copyReport = queue, start, why, copyReport
        self._clicked = 0.0
        self._ticking = self._over = False
        self._told = self._missing = self._hint = ""
        self._tone = say.PLAIN
        self._failures: list[Job] = []
        self._rows: dict[str, Any] = {}
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
        self.bar.setValue(0)
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
        self.waiting = qt.QWidget()
        self.waiting.setObjectName("waiting")
        self._waitingColumn = qt.QVBoxLayout(self.waiting)
        self._waitingColumn.setContentsMargins(0, 0, 0, 0)
        self._makeRemedies()
        for part in (self.button, self.bar, self.waiting, self.status, self.remedies, self.preview):
            column.addWidget(part)
        queue.listeners.append(self._onJob)
        self.update()
        if self.job is not None:
            self._onJob(self.job)

    def _makeRemedies(self) -> None:
        """What can be done about an error: two buttons below its sentence."""
        import qt

        self.remedies = qt.QWidget()
        row = qt.QHBoxLayout(self.remedies)
        row.setContentsMargins(0, 0, 0, 0)
        help_ = "Versions, request and log, as text on the clipboard: to send to who can help."
        self.copy = say.button("Copy report", help_, self._copy, "copyErrorReport")
        row.addWidget(self.copy)
        row.addWidget(say.button("Dismiss", "Take this sentence away.", self.dismiss, "dismiss"))
        row.addStretch(1)
        self.remedies.setVisible(False)

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
        self.dismiss()
        try:
            start()
        except states.Complaint as complaint:
            self.tell(str(complaint), say.ERROR)

    def tell(self, text: str, tone: str = say.PLAIN) -> None:
        """Say a sentence where the run's sentences are; runs that failed are still told of."""
        self._told, self._tone = text, tone
        failed = [
            job.message if job is self.job else f"{job.work.title}: {job.message}" for job in self._failures
        ]
        say.say(self.status, "\n".join(filter(None, [*failed, text])), say.ERROR if failed else tone)
        self.copy.setText("Copy report")
        self.remedies.setVisible(bool(failed) or (tone == say.ERROR and bool(text)))

    def dismiss(self) -> None:
        """Forget the failures: the user has seen them."""
        self._failures = []
        self.tell(self._missing)

    def _copy(self) -> None:
        self._copyReport(self._failures[-1] if self._failures else None)
        self.copy.setText("Report copied")

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
        self._showWaiting()
        if job is not self.job and self._queue.current not in (None, job):
            return  # it waits for its turn
        if job is not self.job and job.finished:
            return  # it never had its turn
        if job is not self.job:
            self.job = job
            self._hint = ""
            self.tell("")
            self._showWaiting()
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
        # A range of nothing would be a moving bar, but Qt writes no text into that.
        self.bar.setValue(int(_BAR * job.fraction))
        share = f"{job.fraction:.0%} – " if job.fraction > 0 else ""
        self.bar.setFormat(f"{job.stage} – {share}{report.duration(job.elapsed)}")

    def _showWaiting(self) -> None:
        """A line for each run that waits, with a button to cancel it."""
        waiting = {job.id: job for job in self._queue.waiting if job is not self.job}
        for name in [name for name in self._rows if name not in waiting]:
            row = self._rows.pop(name)
            row.setVisible(False)
            row.deleteLater()
        for name, job in waiting.items():
            if name not in self._rows:
                self._rows[name] = self._waitingRow(job)
        self.waiting.setVisible(bool(waiting))

    def _waitingRow(self, job: Job) -> Any:
        import qt

        row = qt.QWidget(self.waiting)
        box = qt.QHBoxLayout(row)
        box.setContentsMargins(0, 0, 0, 0)
        label = qt.QLabel(f"Waiting: {job.work.title}")
        label.setWordWrap(True)
        box.addWidget(label, 1)
        help_ = "This run shall not begin; the one that goes on is not touched."
        box.addWidget(say.button("Cancel", help_, lambda: self._queue.cancel(job), f"cancel{job.id}"))
        self._waitingColumn.addWidget(row)
        return row

    def _showEnd(self, job: Job) -> None:
        if job.state == states.FAILED:
            self._failures.append(job)
            self.tell("")
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
