"""A fault, told: what is not installed, or else one sentence for the user and a file for who mends it."""

from __future__ import annotations

import sys
import tempfile
import traceback
from pathlib import Path
from types import ModuleType


def lacking(error: BaseException) -> str | None:
    """The package of others that is missing or broken, by its name for import; None for any other error.

    Broken is also what cannot be loaded (a library of its own is not found), and what is left of a package:
    an empty folder, which Python imports as a module that has nothing.
    """
    owner = getattr(error, "obj", None)
    if isinstance(error, ImportError):
        name = error.name or _imported(error)
    elif isinstance(error, AttributeError) and isinstance(owner, ModuleType):
        name = owner.__name__ if getattr(owner, "__file__", None) is None else ""
    else:
        name = _imported(error) if isinstance(error, OSError) else ""
    package = name.partition(".")[0]
    ours = package in ("", "__main__", __package__)
    return None if ours or package in sys.stdlib_module_names else package


def _imported(error: BaseException) -> str:
    """The module whose file was being run when the error came up; empty where none was."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    running = [frame.f_globals for frame in frames if frame.f_code.co_name == "<module>"]
    return str(running[-1].get("__name__", "")) if running else ""


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
