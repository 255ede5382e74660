"""Runs one task: admits its images, plans device and memory, reports progress, cancels, and records all.

The first progress comes before anything heavy is imported. Memory that runs out is met with a smaller plan,
and every such step is told as progress and kept in the result's notes.
"""

from __future__ import annotations

import gc
import importlib.metadata
import platform
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import BrainDiffusionError, Cancelled, WrongParameters
from .plan import Plan, failure_kind, make_plan
from .result import Artifact, Result
from .tasks import base
from .tasks.base import Parameters, Progress, Task

if TYPE_CHECKING:
    from .imaging.volume import Volume

OnProgress = Callable[[Progress], None]

_LIBRARIES = (
    "torch",
    "monai",
    "numpy",
    "scipy",
    "SimpleITK",
    "nibabel",
    "pydicom",
    "pydantic",
    "safetensors",
)
# Share of the bar for reading the images; the task has the rest.
_READING = 0.03


def run(
    task: str | Task,
    inputs: Mapping[str, Any],
    parameters: Mapping[str, Any] | Parameters | None = None,
    *,
    seed: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    batch: int | None = None,
    frame: int | None = None,
    orientation: str | None = None,
    on_progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
) -> Result:
    """Run `task` on `inputs` ({name: path or Volume}) and give its `Result`, on the grid of the first input.

    `seed` is short for the parameter of that name. `device` is "auto", "cpu", "cuda" or "cuda:1", `precision`
    "auto", "bf16" or "fp32"; `batch` limits how many samples are computed at once. `frame` and `orientation`
    are answers to the gate's questions (which frame of a 4-D file; the orientation of a file that does not
    say).

    Raises Refused for an image that cannot be used, WrongParameters, Cancelled when `cancel` is set, and
    BrainDiffusionError where the run cannot end well; each message is one sentence.
    """
    say = _Reporter(on_progress, cancel)
    say(0.0, "Starting")
    task = base.get(task) if isinstance(task, str) else task
    checked = _checked(task, parameters, seed)
    images, notes = _admitted(task, inputs, frame, orientation, say)

    say(_READING * 0.9, "Planning")
    plan, plan_notes = _plan(task, images, checked, device, precision, threads, batch)
    for note in plan_notes:
        say(_READING, note)
    result, plan, retries = _with_retries(task, images, checked, plan, say)

    _must_be_sound(result, images)
    result.inputs = dict(images)
    result.notes = list(dict.fromkeys([*notes, *plan_notes, *retries, *result.notes]))
    result.provenance = _provenance(task, checked, inputs, images, plan, say) | {
        "frame": frame,
        "orientation": orientation,
        "retries": retries,
        **result.provenance,
    }
    if task.picture is not None:
        result.artifacts.append(Artifact("picture", "plot", draw=partial(task.picture, result)))
    say(1.0, "Done")
    return result


class _Reporter:
    """Passes progress on, keeps the time of each stage, and raises Cancelled once `cancel` is set."""

    def __init__(self, on_progress: OnProgress | None, cancel: threading.Event | None):
        self._on_progress, self._cancel = on_progress, cancel
        self.started = datetime.now(timezone.utc)
        self.seconds: dict[str, float] = {}
        self._begin = self._since = time.monotonic()
        self._stage = ""

    def __call__(self, fraction: float, stage: str, preview: Volume | None = None) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled
        now = time.monotonic()
        if self._stage:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now
        if self._on_progress is not None:
            self._on_progress(Progress(min(max(fraction, 0.0), 1.0), stage, preview))

    def within(self, share: float) -> None:
        """The share of the task that is done, in the stage that was told last."""
        self(_of_all(share), self._stage)

    def times(self) -> dict[str, float]:
        total = time.monotonic() - self._begin
        return {stage: round(spent, 3) for stage, spent in (self.seconds | {"total": total}).items()}


def _checked(task: Task, parameters: Mapping[str, Any] | Parameters | None, seed: int | None) -> Parameters:
    values = parameters.model_dump() if isinstance(parameters, Parameters) else dict(parameters or {})
    return task.parameters.parse(values if seed is None else values | {"seed": seed})


def _admitted(
    task: Task, inputs: Mapping[str, Any], frame: int | None, orientation: str | None, say: _Reporter
) -> tuple[dict[str, Volume], list[str]]:
    """The task's images behind the gate, and what the gate repaired."""
    known = [image.name for image in task.inputs]
    for name in inputs:
        if name not in known:
            raise WrongParameters(
                f"The task '{task.name}' takes no image '{name}'; it takes {', '.join(known) or 'none'}."
            )
    images: dict[str, Volume] = {}
    notes: list[str] = []
    for image in task.inputs:
        source = inputs.get(image.name)
        if source is None:
            if image.required:
                raise WrongParameters(
                    f"The task '{task.name}' needs the image '{image.name}' ({image.title})."
                )
            continue
        say(_READING * len(images) / len(known), "Reading the scan")
        from .imaging.gate import admit

        images[image.name], repairs = admit(
            source, frame=frame, orientation=orientation, labels=image.kind != "volume"
        )
        notes.extend(repairs)
    return images, notes


def _plan(
    task: Task,
    images: Mapping[str, Volume],
    parameters: Parameters,
    device: str,
    precision: str,
    threads: int | None,
    batch: int | None,
) -> tuple[Plan, list[str]]:
    if precision not in ("auto", "bf16", "fp32"):
        raise WrongParameters(f"There is no precision '{precision}'; give auto, bf16 or fp32.")
    if any(count is not None and count < 1 for count in (threads, batch)):
        raise WrongParameters("The numbers of threads and of samples at a time are 1 or more.")
    if not task.uses_torch:
        return Plan(), []

    def estimate(batch: int, precision: str) -> int | None:
        return task.memory(images, parameters, batch, precision) if task.memory else None

    return make_plan(device, precision, threads, task.samples(parameters), batch, estimate)


def _with_retries(
    task: Task, images: Mapping[str, Volume], parameters: Parameters, plan: Plan, say: _Reporter
) -> tuple[Result, Plan, list[str]]:
    """Run with `plan`, and ever smaller ones where memory runs out; which one worked, and what was told."""
    told: list[str] = []
    while True:
        try:
            with plan.applied() if task.uses_torch else nullcontext():
                return _drive(task.run(images, parameters, replace(plan, tell=say.within)), say), plan, told
        except (RuntimeError, MemoryError) as error:
            step = _next_step(plan, error)
            if step is None:
                raise
        # Outside the except block: until it ends, the traceback keeps the failed attempt's tensors alive.
        _free_memory()
        plan, sentence = step
        told.append(sentence)
        say(_READING, sentence)


def _next_step(plan: Plan, error: RuntimeError | MemoryError) -> tuple[Plan, str] | None:
    kind = failure_kind(error)
    if kind == "device" and plan.on_gpu:
        why = str(error).splitlines()[0].rstrip(".")
        return plan.on_cpu(), f"The graphics card failed ({why}); trying again without it, which is slower."
    if kind != "memory":
        return None
    step = plan.smaller()
    if step is None:
        raise BrainDiffusionError(
            "There is not enough memory even for the smallest form of this run; close other programs."
        ) from error
    return step


def _drive(generator: Generator[Progress, None, Result], say: _Reporter) -> Result:
    """Exhaust a task's generator: its progress goes to `say`, its Result (returned or yielded) comes back."""
    try:
        while True:
            item = next(generator)
            if isinstance(item, Result):
                return item
            say(_of_all(item.fraction), item.stage, item.preview)
    except StopIteration as end:
        if not isinstance(end.value, Result):
            raise TypeError(f"a task ends in a Result, not in {type(end.value).__name__}") from None
        return end.value
    finally:
        generator.close()


def _of_all(share: float) -> float:
    """The share of the whole run, for a share of its task."""
    return _READING + (0.99 - _READING) * share


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        with suppress(RuntimeError):  # a card that has failed answers nothing any more, nor is it needed
            torch.cuda.empty_cache()


def _must_be_sound(result: Result, images: Mapping[str, Volume]) -> None:
    """No NaN is ever shown as an image, and a result of an input lies on that input's grid."""
    import numpy as np

    for artifact in result.artifacts:
        of = images.get(artifact.of or "") if artifact.kind != "transform" else None
        for volume in artifact.parts().values():
            if not np.isfinite(volume.data).all():
                raise BrainDiffusionError(
                    f"The computed '{artifact.role}' holds values that are not numbers, so it is withheld; "
                    "try precision fp32 or another device."
                )
            if of is not None and (
                of.data.shape != volume.data.shape or not np.array_equal(of.affine, volume.affine)
            ):
                raise RuntimeError(f"the artifact '{artifact.role}' is not on the grid of '{artifact.of}'")


def _provenance(
    task: Task,
    parameters: Parameters,
    inputs: Mapping[str, Any],
    images: Mapping[str, Volume],
    plan: Plan,
    say: _Reporter,
) -> dict[str, Any]:
    """All that is needed to run the same again; the task adds solver, steps, model name and hash itself."""
    return {
        "task": task.name,
        "parameters": parameters.model_dump(mode="json"),
        "seed": getattr(parameters, "seed", None),
        "inputs": {name: _identity(inputs[name], volume) for name, volume in images.items()},
        "device": plan.device,
        "device_name": _device_name(plan),
        "precision": plan.precision,
        "threads": plan.threads,
        "batch": plan.batch,
        "memory_bytes": plan.memory_bytes,
        "versions": versions(),
        "started": say.started.isoformat(timespec="seconds"),
        "seconds": say.times(),
    }


def _identity(source: Any, volume: Volume) -> dict[str, Any]:
    is_path = isinstance(source, (str, Path))
    return {
        "source": str(Path(source).expanduser().absolute())
        if is_path
        else volume.meta.get("source", "memory"),
        "sha256": volume.meta.get("sha256"),
        "frame": volume.meta.get("frame"),
        "orientation": volume.meta.get("orientation"),
        "content_hash": volume.content_hash(),
        "shape": list(volume.data.shape),
        "affine": volume.affine.tolist(),
    }


def _device_name(plan: Plan) -> str:
    if not plan.on_gpu:
        return platform.processor() or platform.machine()
    import torch

    return torch.cuda.get_device_name(plan.device)


def versions() -> dict[str, str]:
    """Versions of this package, of Python, of the system and of the libraries that compute."""
    found = {
        "braindiffusion": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
