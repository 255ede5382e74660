"""The engine in a process of its own: a viewer's requests on standard input, events on standard output.

    python -m braindiffusion.worker

docs/worker.md has the protocol. `ready`, `ping` and `describe` do not wait for torch. Runs have one thread to
themselves, which stays, so that models, and what libraries keep for each thread, stay warm between them.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from . import __version__
from .errors import Cancelled, WrongParameters
from .lifeline import private_streams, tie_to_parent
from .protocol import VERSION, RunRequest, check, decode, encode, failure
from .result import Result
from .result_folder import HANDOVER, MANIFEST, cannot_write, check_folder

if TYPE_CHECKING:
    from .imaging.volume import Volume
    from .tasks.base import Progress

# Progress within one stage is told no more often; a stage's beginning and a preview always are.
_TELL_SECONDS = 0.05
# The engine's thread may still be writing into a folder that is being removed.
_TRIES = 5


class Worker:
    """Answers requests, one run at a time, and says events, one line each."""

    def __init__(self, events: BinaryIO) -> None:
        self._events = events
        self._lock = threading.Lock()
        self._run: Run | None = None
        self._engine = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._answers: dict[str, Callable[[dict[str, Any]], None]] = {
            "ping": self._ping,
            "describe": self._describe,
            "run": self._start,
            "cancel": self._cancel,
        }

    def serve(self, requests: Iterable[bytes]) -> None:
        """Answer every line of `requests` until one says quit or there are no more."""
        self.say("ready", protocol=VERSION, version=__version__, pid=os.getpid())
        for line in requests:
            if line.strip() and not self._answer(line):
                return

    def say(self, event: str, **content: Any) -> None:
        """Write an event's line."""
        line = encode(event, content)
        with self._lock:
            self._write(line)

    def leave(self, signum: int | None = None) -> NoReturn:
        """End the process at once, by the signal if there was one; an unfinished run leaves nothing."""
        if self._run is not None:
            self._run.discard()
        if signum is not None:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        os._exit(0)  # an ordinary end waits for the engine's thread

    def _write(self, line: bytes) -> None:
        try:
            self._events.write(line)
            self._events.flush()
        except OSError:  # nobody listens any more
            self.leave()

    def _answer(self, line: bytes) -> bool:
        """Answer one request, whatever it is; whether to go on."""
        message: dict[str, Any] = {}
        try:
            message = decode(line)
            check(message)
            if message["do"] == "quit":
                return False
            self._answers[message["do"]](message)
        except Exception as error:  # a fault in one answer does not end the worker
            ident = message.get("id")
            doing = line.decode("utf-8", "replace").strip()
            self.say("failed", id=ident if isinstance(ident, str) else None, **failure(error, doing))
        return True

    def _ping(self, message: dict[str, Any]) -> None:
        self.say("pong", id=message["id"])

    def _describe(self, message: dict[str, Any]) -> None:
        from .engine import versions
        from .tasks import base

        tasks = [base.schema(base.get(name)) for name in base.names()]
        self.say("described", id=message["id"], tasks=tasks, versions=versions())

    def _start(self, message: dict[str, Any]) -> None:
        run = Run(RunRequest.of(message), self.say)
        with self._lock:
            if self._run is not None:
                raise WrongParameters("The engine is busy with another run; wait for its end or cancel it.")
            self._run = run
        self.say("progress", id=run.id, fraction=0.0, stage="Starting")
        self._engine.submit(self._carry_out, run)

    def _cancel(self, message: dict[str, Any]) -> None:
        run = self._run
        if run is not None and run.id == message["id"]:
            run.cancel.set()

    def _carry_out(self, run: Run) -> None:
        """One run to its last event; in the engine's thread."""
        try:
            line = encode("result", {"id": run.id} | run.work())
        except BaseException as error:  # a library's SystemExit is a failure too
            run.discard()
            line = encode("failed", {"id": run.id} | failure(error, str(run.request)))
        with self._lock:
            # Before the event: a viewer may answer it with the next request.
            self._run = None
            self._write(line)


class Run:
    """One run of a task, its folder, and the event that stops it."""

    def __init__(self, request: RunRequest, say: Callable[..., None]) -> None:
        self.request, self.id, self.cancel = request, request.id, threading.Event()
        self._say = say
        self._folder = Path(request.folder)
        self._claimed = False
        self._made: list[Path] = []
        self._previews = 0
        self._told: tuple[str, float] = ("", 0.0)

    def work(self) -> dict[str, Any]:
        """Compute, and write all that the event `result` tells. Raises what the engine raises."""
        request = self.request
        self._claim()
        from . import engine
        from .imaging.handover import read
        from .tasks import base

        task = base.get(request.task)
        images = {name: read(image.path, image.affine, image.meta) for name, image in request.inputs.items()}
        result = engine.run(
            task,
            images,
            request.parameters,
            device=request.device,
            precision=request.precision,
            threads=request.threads,
            batch=request.batch,
            on_progress=self._tell,
            cancel=self.cancel,
        )
        self._tell(base.Progress(1.0, "Writing the result"))
        result.save(self._folder)
        volumes = self._hand_over(result)
        self._heed()
        manifest = json.loads((self._folder / MANIFEST).read_text(encoding="utf-8"))
        return {"folder": request.folder, "manifest": manifest, "volumes": volumes}

    def discard(self) -> None:
        """Remove the folder, and the folders above that had to be made for it."""
        if not self._claimed:
            return
        for _ in range(_TRIES):
            shutil.rmtree(self._folder, ignore_errors=True)
            if not self._folder.exists():
                break
        with suppress(OSError):  # somebody else's files are in it by now
            for place in self._made:
                place.rmdir()

    def _claim(self) -> None:
        """Make the folder, which from now on is removed if the run fails."""
        with self._writing():
            check_folder(self._folder)
            if (self._folder / MANIFEST).exists():
                raise WrongParameters(f"'{self._folder}' holds a result; give an empty or a new folder.")
            self._made = [place for place in self._folder.parents if not place.exists()]
            self._claimed = True
            self._folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._folder / HANDOVER, ignore_errors=True)
            (self._folder / HANDOVER).mkdir()

    def _tell(self, step: Progress) -> None:
        stage, since = self._told
        now = time.monotonic()
        if step.preview is None and step.stage == stage and now - since < _TELL_SECONDS:
            return
        self._told = step.stage, now
        shown = {} if step.preview is None else self._preview(step.preview)
        self._say("progress", id=self.id, fraction=step.fraction, stage=step.stage, **shown)

    def _preview(self, volume: Volume) -> dict[str, Any]:
        import numpy as np

        if not np.isfinite(volume.data).all():  # no NaN is ever shown as an image
            return {}
        self._previews += 1
        file = self._hand(volume, f"preview-{self._previews}.nrrd", synthetic=True)
        return {"preview": file | {"title": volume.meta.get("title", "Preview")}}

    def _hand_over(self, result: Result) -> dict[str, Any]:
        """The volumes of a result as the viewer reads them, by role (`Artifact.parts`)."""
        return {
            name: self._hand(volume, f"{name}.nrrd", synthetic=artifact.synthetic)
            for artifact in result.artifacts
            for name, volume in artifact.parts().items()
        }

    def _hand(self, volume: Volume, name: str, *, synthetic: bool) -> dict[str, Any]:
        from .imaging.handover import write

        self._heed()
        path = self._folder / HANDOVER / name
        with self._writing():
            write(volume, path, synthetic=synthetic)
        return {"path": str(path), "affine": volume.affine.tolist()}

    def _heed(self) -> None:
        """Stop where the user wants it; while the task runs, the engine sees to it."""
        if self.cancel.is_set():
            raise Cancelled

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._folder, error) from error


def main() -> NoReturn:
    """Serve the process that started this one until it says quit, closes the pipe or dies."""
    requests, events = private_streams()
    if sys.stderr is not None:
        faulthandler.enable()  # what crashes a library is in the log
    worker = Worker(events)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: worker.leave(signum))
    tie_to_parent(worker.leave)
    worker.serve(requests)
    worker.leave()


if __name__ == "__main__":
    main()
