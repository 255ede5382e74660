"""However a worker ends, it is gone, and so is what an unfinished run wrote."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker_viewer import COMMAND, Viewer, environment, gone, hand, left_in

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's death"
)


@pytest.fixture
def viewer(tmp_path) -> Iterator[Viewer]:
    viewer = Viewer(tmp_path / "log.txt")
    assert viewer.hear()["event"] == "ready"
    yield viewer
    viewer.close()


@pytest.fixture
def image(scan, tmp_path) -> dict:
    return hand(scan, tmp_path / "scan.nrrd")


def started(viewer: Viewer, image: dict, tmp_path: Path, task: str) -> None:
    viewer.start(task, image, tmp_path / "out")
    viewer.until("progress", fraction=pytest.approx(0.51, abs=0.01))
    assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize("task", ["endless", "deaf", None])
def test_with_the_pipe(viewer, image, tmp_path, task):
    if task:
        started(viewer, image, tmp_path, task)
    viewer.process.stdin.close()
    assert viewer.process.wait(2) == 0 and left_in(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("task", ["deaf", None])
def test_by_a_signal(viewer, image, tmp_path, number, task):
    if task:
        started(viewer, image, tmp_path, task)
    viewer.process.send_signal(number)
    assert viewer.process.wait(2) == -number and left_in(tmp_path) == []
    assert viewer.log.read_bytes() == b"", "no traceback"


def test_when_nobody_listens_any_more():
    """The viewer's end of the pipe is closed, but not the worker's standard input."""
    code = (
        "import subprocess, sys\n"
        f"worker = subprocess.Popen({COMMAND!r}, stdout=subprocess.PIPE)\n"
        "worker.stdout.readline(); worker.stdout.close()\n"
        "print(worker.pid, flush=True); worker.wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    )
    pid = int(parent.stdout.readline())
    parent.stdin.write(b'{"v": 1, "do": "ping", "id": "1"}\n')
    parent.stdin.flush()
    assert gone(pid, 2)
    parent.communicate()


@on_linux
@pytest.mark.parametrize("untied", [False, True], ids=["told", "looking"])
def test_with_its_parent(image, tmp_path, untied):
    """The parent is killed; standard input stays open, because the test holds it."""
    code = f"import subprocess; subprocess.Popen({COMMAND!r}).wait()"
    more = {"WORKER_TASKS_UNTIE": "1"} if untied else {}
    viewer = Viewer(tmp_path / "log.txt", [sys.executable, "-c", code], **more)
    pid = viewer.hear()["pid"]
    assert pid != viewer.process.pid
    viewer.send("describe", id="1")  # loads the tasks, and with them what unties
    viewer.until("described")
    started(viewer, image, tmp_path, "deaf")
    viewer.process.send_signal(signal.SIGKILL)
    viewer.process.wait()
    assert gone(pid, 5) and left_in(tmp_path) == []
    viewer.close()


@on_linux
def test_not_with_the_thread_that_started_it(tmp_path):
    """Linux tells of the parent's death when its thread ends; that is no reason to go."""
    code = (
        "import subprocess, threading\n"
        "started = []\n"
        f"start = threading.Thread(target=lambda: started.append(subprocess.Popen({COMMAND!r})))\n"
        "start.start(); start.join(); started[0].wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    )
    assert b"ready" in parent.stdout.readline()
    time.sleep(0.3)
    said, _ = parent.communicate(b'{"v": 1, "do": "ping", "id": "1"}\n')
    assert b"pong" in said
