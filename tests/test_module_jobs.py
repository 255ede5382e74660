"""Jobs of the module against a worker that misbehaves: queue, cancel, faults, and a user's thread that is
free.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from desktop_host import core  # noqa: F401
from SlicerDiffusionLib import engine, jobs, process
from SlicerDiffusionLib import job as states
from SlicerDiffusionLib.job import Complaint, Job, Work

pytestmark = pytest.mark.usefixtures("core")

WORKER = str(Path(__file__).with_name("module_worker.py"))
LINUX = sys.platform.startswith("linux")


class Plain(Work):
    """Asks for nothing but a behaviour, and keeps what it is told."""

    def __init__(self, title="Plain", behaviour=None, steps=3, fail=None):
        self.title, self.behaviour, self.steps, self.fail = title, behaviour, steps, fail
        self.prepared = self.over = 0
        self.undone = False

    def prepare(self, job):
        for _ in range(self.steps):
            self.prepared += 1
            if isinstance(self.fail, Exception):
                raise self.fail
            yield
        told = {"behaviour": self.behaviour} if self.behaviour else {}
        return {"task": "none", "inputs": {}, "parameters": told}

    def present(self, job, answer):
        try:
            yield
            if self.fail == "present":
                raise ValueError("no such node")
            if self.fail == "present long":
                for _ in range(200):
                    time.sleep(0.01)
                    yield
            yield
        except GeneratorExit:
            self.undone = True
            raise
        return "shown"

    def ended(self, job):
        self.over += 1


@pytest.fixture
def queue():
    made = []

    def make(behaviour="ok"):
        made.append(jobs.Jobs([sys.executable, WORKER, behaviour]))
        return made[-1]

    yield make
    for each in made:
        each.close()


def finish(qtbot, *waited, seconds=20):
    qtbot.waitUntil(lambda: all(job.finished for job in waited), timeout=seconds * 1000)


def is_gone(pid):
    """Whether a process has ended, also one that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_job_runs_to_its_end_and_says_how_far_it_is(queue, qtbot):
    waiting = queue()
    seen = []
    waiting.listeners.append(lambda job: seen.append((job.state, job.stage, job.fraction)))
    work, ends = Plain(), []
    job = waiting.submit(Job(work, ends.append))
    assert job.state == states.QUEUED
    finish(qtbot, job)
    assert (job.state, job.value, job.fraction) == (states.DONE, "shown", 1.0)
    assert ends == [job] and work.over == 1
    stages = list(dict.fromkeys(stage for _, stage, _ in seen))
    for earlier, later in zip(["Preparing the scan", "Starting", "Healing"], ["Starting", "Healing", "Done"]):
        assert stages.index(earlier) < stages.index(later)
    fractions = [fraction for _, _, fraction in seen]
    assert fractions == sorted(fractions)


def test_the_process_stays_warm_between_jobs(queue, qtbot):
    waiting = queue()
    first = waiting.submit(Job(Plain()))
    finish(qtbot, first)
    pid = waiting.processId()
    second = waiting.submit(Job(Plain()))
    finish(qtbot, second)
    assert waiting.processId() == pid is not None


def test_two_jobs_run_one_after_the_other(queue, qtbot):
    waiting = queue()
    order = []
    waiting.listeners.append(lambda job: order.append((job.work.title, job.state)))
    both = [waiting.submit(Job(Plain(title))) for title in ("first", "second")]
    finish(qtbot, *both)
    assert order.index(("first", states.DONE)) < order.index(("second", states.RUNNING))
    assert [job.state for job in both] == [states.DONE] * 2


def test_a_waiting_job_can_be_cancelled_alone(queue, qtbot):
    waiting = queue()
    first, second = waiting.submit(Job(Plain(behaviour="slow"))), waiting.submit(Job(Plain()))
    qtbot.waitUntil(lambda: first.stage == "Healing", timeout=20000)
    second.cancel()
    assert second.state == states.CANCELLED and first.state == states.RUNNING
    first.cancel()
    finish(qtbot, first)


def test_cancel_shows_at_once_and_keeps_an_obedient_process(queue, qtbot):
    waiting = queue("slow")
    job = waiting.submit(Job(Plain()))
    qtbot.waitUntil(lambda: job.fraction > 0.001, timeout=20000)
    pid = waiting.processId()
    began = time.monotonic()
    job.cancel()
    assert job.state == states.CANCELLING and job.stage == "Stopping"
    finish(qtbot, job)
    assert time.monotonic() - began < 2
    assert job.state == states.CANCELLED and "scene is unchanged" in job.message
    assert waiting.processId() == pid


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
def test_a_process_that_ignores_cancel_is_gone_within_five_seconds(queue, qtbot):
    waiting = queue("ignores cancel")
    job = waiting.submit(Job(Plain()))
    qtbot.waitUntil(lambda: job.stage == "Healing", timeout=20000)
    pid = waiting.processId()
    group = {entry for entry in os.listdir("/proc") if entry.isdigit() and _group(entry) == pid}
    assert len(group) == 2  # it has a child
    began = time.monotonic()
    job.cancel()
    finish(qtbot, job)
    qtbot.waitUntil(lambda: all(is_gone(member) for member in group), timeout=5000)
    assert time.monotonic() - began < 5
    assert job.state == states.CANCELLED
    again = waiting.submit(Job(Plain(behaviour="ok")))
    finish(qtbot, again)
    assert again.state == states.DONE and waiting.processId() != pid


def _group(pid):
    try:
        return os.getpgid(int(pid))
    except ProcessLookupError:
        return None


def test_a_killed_process_is_told_in_plain_words_and_the_next_run_works(queue, qtbot):
    waiting = queue()
    job = waiting.submit(Job(Plain(behaviour="killed")))
    finish(qtbot, job)
    assert job.state == states.FAILED and job.kind == "killed"
    assert "stopped from outside, probably because memory ran out" in job.message
    assert "scene is unchanged" in job.message and "run again" in job.message
    again = waiting.submit(Job(Plain()))
    finish(qtbot, again)
    assert again.state == states.DONE


def test_a_process_that_was_killed_between_runs_is_replaced(queue, qtbot):
    waiting = queue()
    finish(qtbot, waiting.submit(Job(Plain())))
    first = waiting.processId()
    os.kill(first, 9)
    qtbot.waitUntil(lambda: waiting.processId() is None, timeout=5000)
    job = waiting.submit(Job(Plain()))
    finish(qtbot, job)
    assert job.state == states.DONE and waiting.processId() != first


@pytest.mark.parametrize(
    "behaviour, kind, words",
    [
        ("memory", "memory", "not enough memory"),
        ("refused", "refused", "cut short; export it again"),
        ("crash", "crash", "Copy report"),
    ],
)
def test_what_the_engine_says_of_a_failure_reaches_the_user(queue, qtbot, behaviour, kind, words):
    waiting = queue()
    job = waiting.submit(Job(Plain(behaviour=behaviour)))
    finish(qtbot, job)
    assert job.state == states.FAILED and job.kind == kind and words in job.message


def test_garbage_becomes_log_and_breaks_nothing(queue, qtbot):
    waiting = queue()
    job = waiting.submit(Job(Plain(behaviour="garbage")))
    finish(qtbot, job)
    assert job.state == states.DONE
    log = waiting.logText()
    assert "not UTF-8" in log and "{broken json" in log
    assert max(map(len, log.splitlines())) < 3000
    finish(qtbot, waiting.submit(Job(Plain())))
    assert "naïve" in waiting.logText()  # what was said on the error stream


def test_a_process_that_dies_at_start_says_why(queue, qtbot):
    job = queue("dies at start").submit(Job(Plain()))
    finish(qtbot, job)
    assert job.state == states.FAILED and job.kind == "start"
    assert "No module named 'torch'" in job.message and "Check & repair" in job.message


def test_an_engine_without_a_package_says_which_and_what_to_do(qtbot):
    """The true worker begins without its packages; only the first run needs them."""
    code = "import sys; sys.modules['pydantic'] = None; import braindiffusion.worker as w; w.main()"
    waiting = jobs.Jobs([sys.executable, "-c", code])
    job = waiting.submit(Job(Plain()))
    finish(qtbot, job, seconds=120)
    waiting.close()
    assert (job.state, job.kind, job.lacksEngine) == (states.FAILED, "missing", True)
    assert "'pydantic'" in job.message and "Check & repair" in job.message
    assert "fault" not in job.message and job.details is None


def test_a_python_that_does_not_exist_is_told(qtbot):
    waiting = jobs.Jobs(["/no/such/python"])
    job = waiting.submit(Job(Plain()))
    finish(qtbot, job)
    assert job.state == states.FAILED and "could not be started" in job.message


def test_an_engine_of_another_version_is_refused(queue, qtbot):
    job = queue("other protocol").submit(Job(Plain()))
    finish(qtbot, job)
    assert job.state == states.FAILED and "different versions" in job.message


def test_a_silent_engine_is_told_and_not_killed(queue, qtbot, monkeypatch):
    monkeypatch.setattr(engine, "SILENT_S", 0.2)
    monkeypatch.setattr(engine, "ANSWER_S", 0.2)
    waiting = queue()
    job = waiting.submit(Job(Plain(behaviour="hangs")))
    qtbot.waitUntil(lambda: "may hang" in job.hint, timeout=20000)
    assert job.state == states.RUNNING and waiting.processId() is not None
    job.cancel()
    finish(qtbot, job)
    assert job.state == states.CANCELLED


def test_a_silence_that_ends_leaves_no_hint(queue, qtbot, monkeypatch):
    monkeypatch.setattr(engine, "SILENT_S", 0.2)
    hints = []
    waiting = queue()
    waiting.listeners.append(lambda job: hints.append(job.hint))
    job = waiting.submit(Job(Plain(behaviour="quiet then done")))
    finish(qtbot, job)
    assert job.state == states.DONE and job.hint == ""


def test_a_complaint_while_preparing_is_the_message(queue, qtbot):
    waiting = queue()
    job = waiting.submit(Job(Plain(fail=Complaint("'MRHead' is a label map."))))
    finish(qtbot, job)
    assert job.state == states.FAILED and job.message == "'MRHead' is a label map."
    assert waiting.processId() is None  # nothing was started for it


def test_a_fault_while_presenting_is_told_and_logged(queue, qtbot):
    waiting = queue()
    job = waiting.submit(Job(Plain(fail="present")))
    finish(qtbot, job)
    assert job.state == states.FAILED and "no such node" in job.message
    assert "Traceback" in waiting.logText()


def test_cancel_while_presenting_undoes_it(queue, qtbot):
    waiting = queue()
    work = Plain(fail="present long")
    job = waiting.submit(Job(work))
    qtbot.waitUntil(lambda: job.stage == "Showing the result", timeout=20000)
    job.cancel()
    assert job.state == states.CANCELLED and work.undone


def test_waiting_for_a_job_processes_events(queue):
    import qt
    import slicer

    waiting, ticks = queue(), []
    qt.QTimer.singleShot(0, lambda: ticks.append(1))
    job = waiting.wait(waiting.submit(Job(Plain())), slicer.app.processEvents)
    assert job.state == states.DONE and ticks


def test_a_job_may_be_run_and_waited_for_at_the_end_of_another(queue, qtbot):
    import slicer

    waiting, values = queue(), []

    def next_one(_job):
        values.append(waiting.wait(waiting.submit(Job(Plain())), slicer.app.processEvents).value)

    finish(qtbot, waiting.submit(Job(Plain(), next_one)))
    assert values == ["shown"]


def test_closing_leaves_no_process(queue, qtbot):
    waiting = queue("slow")
    job = waiting.submit(Job(Plain()))
    qtbot.waitUntil(lambda: job.fraction > 0, timeout=20000)
    pid = waiting.processId()
    began = time.monotonic()
    waiting.close()
    assert time.monotonic() - began < 1.5
    assert job.state == states.CANCELLED and "module was closed" in job.message
    assert waiting.processId() is None
    if LINUX:
        assert is_gone(pid)


def test_the_users_thread_is_never_blocked(queue, qtbot):
    import qt

    waiting, gaps, last = queue(), [], [time.monotonic()]

    def tick():
        now = time.monotonic()
        gaps.append(now - last[0])
        last[0] = now
        qt.QTimer.singleShot(5, tick)

    qt.QTimer.singleShot(0, tick)
    job = waiting.submit(Job(Plain(behaviour="garbage")))
    finish(qtbot, job)
    assert max(gaps) < 0.1


def test_the_engine_is_found_beside_the_module(monkeypatch):
    from SlicerDiffusionLib import places

    core_folder = places.core()
    assert (core_folder / "braindiffusion" / "worker.py").is_file()
    variables = process.environment(core_folder)
    assert variables["PYTHONPATH"].split(os.pathsep)[0] == str(core_folder)
    assert (places.resources() / "tasks" / "heal.schema.json").is_file()
    assert places.sample().is_file()


def test_slicers_own_executable_is_not_taken_for_python(monkeypatch):
    monkeypatch.setattr(process.sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    monkeypatch.setattr(process.shutil, "which", lambda name: "/opt/Slicer/bin/PythonSlicer")
    assert process.python() == "/opt/Slicer/bin/PythonSlicer"
    monkeypatch.setattr(process.sys, "executable", "/usr/bin/python3.12")
    assert process.python() == "/usr/bin/python3.12"


@pytest.mark.parametrize(
    "line, message",
    [
        (b'{"v": 1, "event": "pong", "id": "1"}\n', {"v": 1, "event": "pong", "id": "1"}),
        (b'{"event": "pong"}\n', None),
        (b"[1]\n", None),
        (b"\xff\xfe\n", None),
        (b"[" * 100_000, None),
    ],
)
def test_only_objects_of_the_protocol_are_messages(line, message):
    assert process.parse(line) == message
