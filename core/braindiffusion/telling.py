"""How a long computation says how far it is, and learns that it is not wanted any more."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")

Tell = Callable[[float], None]
"""Takes the share that is done, 0 to 1. What it raises, such as Cancelled, ends the computation."""


def silent(share: float) -> None:
    """Tell nobody."""


def between(tell: Tell, low: float, high: float) -> Tell:
    """For a part of a computation: its whole is what lies between `low` and `high` of `tell`."""
    return lambda share: tell(low + (high - low) * share)


def finished(steps: Generator[Any, None, T]) -> T:
    """What a generator of progress returns, its progress told to nobody."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
