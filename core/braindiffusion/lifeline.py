"""A process that talks with its parent over pipes of its own, and never outlives it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

_PR_SET_PDEATHSIG = 1
_CHECK_SECONDS = 1.0


def private_streams() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output, out of the reach of libraries.

    What a library or a program that it starts prints goes to standard error from now on, and what it reads is
    empty.
    """
    requests, events = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2 if sys.stderr is not None else nothing, 1)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # whatever the locale, a print is never an error
            stream.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)
    return requests, events


def tie_to_parent(end: Callable[[], object]) -> None:
    """Call `end` once the parent process is gone; to be called in the main thread.

    Linux says so at once, by a signal. Elsewhere on POSIX its number is looked at every second. Windows has
    neither: there the end of standard input says it.
    """
    parent = os.getppid()

    def check(*_: object) -> None:
        if os.getppid() != parent:
            end()

    def watch() -> None:
        while True:
            time.sleep(_CHECK_SECONDS)
            check()

    if sys.platform == "linux":
        # Linux sends it also when only the thread that started this process ends, so the handler looks.
        signal.signal(signal.SIGUSR1, check)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    threading.Thread(target=watch, name="parent", daemon=True).start()
