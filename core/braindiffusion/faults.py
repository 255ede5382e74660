"""A fault of the program, told: one sentence for the user, and a file for who mends it."""

from __future__ import annotations

import sys
import tempfile
import traceback
from pathlib import Path


def told(error: BaseException) -> str:
    """The sentence for a user, without its full stop."""
    what = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".:")
    return f"This is a fault of the program, not of your scan ({what})"


def write_report(error: BaseException, context: str) -> Path:
    """Write `context` (version, what was asked for) and the traceback to a new temporary file, and name it.

    Raises OSError where the disk takes no more.
    """
    with tempfile.NamedTemporaryFile(
        "w", prefix="braindiffusion-fault-", suffix=".txt", delete=False, encoding="utf-8", errors="replace"
    ) as file:
        file.write(f"{context}\nPython {sys.version}\n\n")
        file.write("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    return Path(file.name)
