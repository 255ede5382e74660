"""The engine's process: started in a session of its own, spoken to in JSON lines, read from and ended.

Two threads read its output and error streams into a queue; they touch no Qt and no MRML. Everything else is
called from the main thread, and nothing here waits.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

PROTOCOL = 1
# A longer line is cut into pieces, so that a stream without line ends cannot fill the memory.
_LONGEST_LINE = 16 * 2**20
# The engine waits when so many lines are unread.
_UNREAD_LINES = 20_000
# Output that a child keeps open is waited for so long after the process itself has ended.
_DRAIN_S = 1.0

if os.name == "nt":
    _OWN_GROUP: dict[str, Any] = {
        "creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    }
else:
    _OWN_GROUP = {"start_new_session": True}


def python() -> str:
    """The Python that runs the engine: this one, or PythonSlicer where this is the application 3D Slicer."""
    if Path(sys.executable or "").stem.lower().startswith("python"):
        return sys.executable
    found = shutil.which("PythonSlicer")
    if found:
        return found
    import slicer

    return str(Path(str(slicer.app.slicerHome), "bin", "PythonSlicer"))


def environment(core: Path | None) -> dict[str, str]:
    """Variables of the engine's process: ours, UTF-8, unbuffered, and `core` first on the path where it is
    given.
    """
    variables = dict(os.environ, PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8", PYTHONUTF8="1")
    if core is not None:
        paths = [str(core), os.environ.get("PYTHONPATH", "")]
        variables["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return variables


def parse(line: bytes) -> dict[str, Any] | None:
    """The message on a line of the engine's output; None where it is log text."""
    try:
        message = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and "v" in message and "event" in message else None


class Process:
    """One process of the engine. Raises OSError where it cannot be started."""

    def __init__(self, command: list[str], variables: dict[str, str]):
        self._lines: queue.Queue[tuple[str, bytes]] = queue.Queue(_UNREAD_LINES)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            **_OWN_GROUP,
        )
        self._ended_at: float | None = None
        streams = {"out": self._process.stdout, "error": self._process.stderr}
        self._readers = [
            threading.Thread(target=self._read, args=item, name=f"engine {item[0]}", daemon=True)
            for item in streams.items()
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: dict[str, Any]) -> bool:
        """Write one message; False where the process no longer listens."""
        line = json.dumps({"v": PROTOCOL, **message}, ensure_ascii=False) + "\n"
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(line.encode("utf-8"))
            self._process.stdin.flush()
        except (OSError, ValueError):  # a broken pipe, or one that is closed already
            return False
        return True

    def next(self) -> dict[str, Any] | str | None:
        """The next message (a dict) or line of log (a str) that has arrived; None where there is none."""
        try:
            stream, line = self._lines.get_nowait()
        except queue.Empty:
            return None
        message = parse(line) if stream == "out" else None
        return line.decode("utf-8", "replace").rstrip("\r\n") if message is None else message

    def exitCode(self) -> int | None:
        """How the process ended, once all that it wrote has been read; None before."""
        code = self._process.poll()
        if code is None:
            return None
        if self._ended_at is None:
            self._ended_at = time.monotonic()
        unread = not self._lines.empty() or any(reader.is_alive() for reader in self._readers)
        return None if unread and time.monotonic() - self._ended_at < _DRAIN_S else code

    def hangUp(self) -> None:
        """Say goodbye; a process that listens ends by itself."""
        self.send({"do": "quit"})
        try:
            assert self._process.stdin is not None
            self._process.stdin.close()
        except OSError:
            pass  # what was not written cannot be: the process is gone

    def terminate(self) -> None:
        """Ask the process and its children to end (on Windows: end them)."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process and its children."""
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    def wait(self, seconds: float) -> bool:
        """Wait until the process has ended; whether it has. For the end of the program, not for the user's
        thread.
        """
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: int) -> None:
        if os.name == "nt":
            command = ["taskkill", "/F", "/T", "/PID", str(self.pid)]
            quiet = subprocess.DEVNULL
            subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, **_OWN_GROUP)
            return
        try:
            # The whole group: PythonSlicer is a launcher whose child does the work.
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # it ended by itself; macOS answers so for a process that nobody has waited for yet

    def _read(self, name: str, stream: IO[bytes]) -> None:
        while line := stream.readline(_LONGEST_LINE):
            self._lines.put((name, line))
        stream.close()
