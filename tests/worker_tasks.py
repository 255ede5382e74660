"""A plug-in for the worker's tests: tasks that do what a task may do wrong, none with a model or torch.

`BRAINDIFFUSION_PLUGINS=worker_tasks` brings them into a worker. No test imports this module: it would put its
own `heal` in the place of the true one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np

from braindiffusion.imaging.volume import Volume
from braindiffusion.result import Artifact, Result
from braindiffusion.tasks import base
from braindiffusion.tasks.base import Progress
from braindiffusion.tasks.heal import TASK as HEAL
from toy_task import TOY

FALSE_RESULT = '{"v": 1, "event": "result", "id": "noisy", "folder": "/", "manifest": {}, "volumes": {}}'


def endless(inputs, parameters, plan):
    while True:
        time.sleep(0.005)
        yield Progress(0.5, "Going on and on")


def deaf(inputs, parameters, plan):
    yield Progress(0.5, "Not listening")
    time.sleep(60)


def failing(inputs, parameters, plan):
    yield Progress(0.5, "Failing")
    raise ValueError("shapes do not fit")


def ending(inputs, parameters, plan):
    yield Progress(0.5, "Leaving")
    sys.exit("a library thinks that it is a program")


def hungry(inputs, parameters, plan):
    yield Progress(0.5, "Sampling")
    if plan.precision == "fp32":
        raise MemoryError
    return (yield from TOY.run(inputs, parameters, plan))


def insatiable(inputs, parameters, plan):
    yield Progress(0.5, "Sampling")
    raise MemoryError


def noisy(inputs, parameters, plan):
    """Prints as libraries do, and reads what is not meant for it."""
    yield Progress(0.1, "Printing")
    print(FALSE_RESULT)
    os.write(1, b"\xff\xfe not UTF-8\n" + FALSE_RESULT.encode() + b"\n")
    subprocess.run([sys.executable, "-c", f"print({FALSE_RESULT!r})"], check=True)
    assert sys.stdin.read() == "" and os.read(0, 10) == b""
    return (yield from TOY.run(inputs, parameters, plan))


def chatty(inputs, parameters, plan):
    for n in range(20_000):
        yield Progress(n / 20_000, "Counting")
    return Result("chatty", [])


def showing(inputs, parameters, plan):
    """Previews on a grid twice as coarse, the last one of what are no numbers."""
    coarse = inputs["scan"].affine @ np.diag([2.0, 2, 2, 1])
    for n in range(3):
        data = np.full((5, 6, 7), n, np.float32)
        yield Progress(n / 3, "Showing", Volume(data, coarse, {"title": "What there is"}))
    yield Progress(1.0, "Showing", Volume(data * np.nan, coarse))
    return (yield from TOY.run(inputs, parameters, plan))


def full(inputs, parameters, plan):
    """The disk is full when the result is written."""
    result = yield from TOY.run(inputs, parameters, plan)

    def draw(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    result.artifacts.append(Artifact("chart", "plot", draw=draw))
    return result


def drawing(inputs, parameters, plan):
    """Takes its time to be written."""
    result = yield from TOY.run(inputs, parameters, plan)

    def draw(path):
        time.sleep(0.3)
        path.write_bytes(b"a chart")

    result.artifacts.append(Artifact("chart", "plot", draw=draw))
    return result


def cramped(inputs, parameters, plan):
    """Files may hold 20 kB from now on: enough for a compressed image, too little for its copy."""
    yield Progress(0.5, "Filling the disk")
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    nothing = inputs["scan"].with_data(np.zeros_like(inputs["scan"].data))
    return Result("cramped", [Artifact("nothing", "volume", nothing, of="scan")])


def heal(inputs, parameters, plan):
    """As the true task shows itself, in a fifth of a second."""
    for n in range(parameters.steps):
        time.sleep(0.2 / parameters.steps)
        shown = Volume(inputs["scan"].data, inputs["scan"].affine, {"title": "Healed scan, preview"})
        yield Progress(n / parameters.steps, "Healing", shown)
    result = yield from TOY.run(inputs, TOY.parameters(seed=parameters.seed), plan)
    result.task = "heal"
    result["healed"].display.update(unit="as the scan", title="Healed scan")
    return result


for task in (
    endless, deaf, failing, ending, hungry, insatiable, noisy, chatty, showing, full, cramped, drawing
):  # fmt: skip
    base.register(replace(TOY, name=task.__name__, run=task, picture=None))
base.register(replace(TOY, picture=None))
base.register(replace(HEAL, run=heal, memory=None, picture=None, uses_torch=False))

if os.environ.get("WORKER_TASKS_UNTIE"):
    # As on a system that does not say when a parent dies.
    ctypes.CDLL(None).prctl(1, 0)
