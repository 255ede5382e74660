"""A viewer for the worker's tests: it starts one, talks with it over pipes, and hands voxels over."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from braindiffusion.imaging.volume import Volume
from conftest import ROOT

COMMAND = [sys.executable, "-m", "braindiffusion.worker"]
PATIENCE = 120.0
"""Seconds after which an answer counts as missing; far more than any takes."""


def environment(**more: str) -> dict[str, str]:
    """Of a worker that knows the tasks of `worker_tasks`."""
    paths = os.pathsep.join(str(ROOT / name) for name in ("core", "tests"))
    return os.environ | {"PYTHONPATH": paths, "BRAINDIFFUSION_PLUGINS": "worker_tasks"} | more


class Viewer:
    """One worker, whose log is in the file `log`."""

    def __init__(self, log: Path, command: list[str] = COMMAND, **more: str) -> None:
        self.log = log
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("wb"),
            env=environment(**more), cwd=log.parent,
        )  # fmt: skip
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def send(self, do: str, **content: Any) -> None:
        self.send_line(json.dumps({"v": 1, "do": do} | content).encode())

    def send_line(self, line: bytes) -> None:
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The next event; whatever else stands on standard output fails the test."""
        line = self._lines.get(timeout=PATIENCE)
        event = json.loads(line.decode("ascii"))
        assert event["v"] == 1
        return event

    def silent(self) -> bool:
        """Whether standard output has ended without a further line."""
        return self._lines.get(timeout=PATIENCE) == b""

    def until(self, *kinds: str, **like: Any) -> dict[str, Any]:
        """The next event of one of these kinds, of whose content `like` is a part."""
        while True:
            event = self.hear()
            if event["event"] in kinds and like.items() <= event.items():
                return event

    def start(self, task: str, image: dict[str, Any], folder: Path, ident: str = "run", **more: Any) -> None:
        self.send("run", id=ident, task=task, inputs={"scan": image}, folder=str(folder), **more)

    def run(self, task: str, image: dict[str, Any], folder: Path, **more: Any) -> list[dict[str, Any]]:
        """All events of one run, the last one ends it."""
        self.start(task, image, folder, **more)
        events = [self.hear()]
        while events[-1]["event"] == "progress":
            events.append(self.hear())
        return events

    def processor_s(self) -> float:
        """What the worker has computed so far (Linux): seconds on the clock depend on what else goes on."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()


def hand(volume: Volume, path: Path, **more: Any) -> dict[str, Any]:
    """An image as it stands in a request, its voxels in an NRRD file that SimpleITK wrote."""
    sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(volume.data.T)), str(path), False)
    return {"path": str(path), "affine": volume.affine.tolist(), "name": "MRHead"} | more


def received(handed: dict[str, Any]) -> Volume:
    """A volume of the event `result`, or a preview, read as a viewer does."""
    return Volume(sitk.GetArrayFromImage(sitk.ReadImage(handed["path"])).T, np.array(handed["affine"]))


def gone(pid: int, within: float) -> bool:
    """Whether the process ends within so many seconds."""
    limit = time.monotonic() + within
    while time.monotonic() < limit:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def left_in(folder: Path) -> list[str]:
    """What is in a folder beside the file that was handed over and the log."""
    return sorted({path.name for path in folder.iterdir()} - {"scan.nrrd", "log.txt"})
