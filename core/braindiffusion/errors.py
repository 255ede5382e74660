"""Errors that a user reads. Each message is one sentence that says what is wrong and what to do."""

from __future__ import annotations


class BrainDiffusionError(Exception):
    """Base of every error that this package raises on purpose."""


class Refused(BrainDiffusionError):
    """The input cannot be used; the message says why."""


class Unanswered(Refused):
    """The file leaves open what only its user knows, and nothing is guessed; the message says what to state.

    asked: "frame", which of its `images` is meant, counted from 0; or "orientation".
    """

    def __init__(self, message: str, asked: str, images: int = 1) -> None:
        super().__init__(message)
        self.asked, self.images = asked, images


class WrongParameters(BrainDiffusionError):
    """A parameter is unknown, missing or out of range, or there is no such task; the message says which."""


class Cancelled(BrainDiffusionError):
    """The user stopped the run; nothing was written."""

    def __init__(self, message: str = "Stopped at your request; nothing was written.") -> None:
        super().__init__(message)
