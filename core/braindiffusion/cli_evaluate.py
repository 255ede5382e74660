"""`braindiffusion evaluate`: what to measure, and where to keep it, from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from .evaluation.parts import PARTS
from .paths import workplace


def add_evaluation_options(command: argparse.ArgumentParser) -> None:
    """Give the command the options that `evaluation.run.measure` takes."""
    add, home = command.add_argument, workplace()
    add("--only", choices=[*PARTS, "page"], help="measure this part and write the page anew")
    add("--quick", action="store_true", help="few cases: shows that it runs, measures nothing")
    add(
        "--folder",
        metavar="DIR",
        type=Path,
        default=home / "runs" / "eval",
        help="for the cache",
    )
    add("--docs", metavar="DIR", type=Path, default=home / "docs", help="for results.md and what it shows")
    baselines = home / "runs"
    add("--baselines", metavar="DIR", type=Path, default=baselines, help="holds the trained baselines")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")
    add("--threads", metavar="N", type=int, help="processor threads (default: all that may be used)")


def evaluate(options: argparse.Namespace) -> Path:
    """Measure what the options say; where the page lies."""
    from .evaluation.run import measure

    return measure(options)
