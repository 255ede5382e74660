"""What the command line shows: progress, a result in plain words, the gate's verdict."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .result import RESEARCH_USE, Result, to_json
from .result_folder import MANIFEST
from .tasks.base import Progress

if TYPE_CHECKING:
    from .imaging.gate import Verdict


@contextmanager
def progress_bar(*, as_json: bool = False) -> Iterator[Callable[[Progress], None]]:
    """Shows progress: a bar on a terminal, a line per stage elsewhere, JSON lines if wanted."""
    if as_json:
        yield lambda step: print(
            to_json({"progress": round(step.fraction, 4), "stage": step.stage}), flush=True
        )
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _Lines()


class _Lines:
    """A line on standard error for each new stage."""

    def __init__(self) -> None:
        self._stage = ""

    def __call__(self, step: Progress) -> None:
        if step.stage != self._stage:
            self._stage = step.stage
            print(f"{step.fraction:4.0%}  {step.stage}", file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        BarColumn(bar_width=28),
        "{task.percentage:>3.0f} %",
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("", total=1.0)
        yield lambda step: bars.update(bar, completed=step.fraction, description=step.stage)


def tell(result: Result, folder: Path, *, as_json: bool = False) -> None:
    """Print what a result says and where its files are."""
    if as_json:
        print(to_json({"result": result.manifest() | {"folder": str(folder)}}), flush=True)
        return
    from .report import summary

    print(summary(result))
    print(f"\n{RESEARCH_USE}.\nThe files are in '{folder}' and are listed in '{folder / MANIFEST}':")
    for artifact in result.artifacts:
        print(f"  {artifact.path}")


def tell_verdict(source: str, verdict: Verdict, *, as_json: bool = False) -> None:
    """Print what the gate said."""
    if as_json:
        said = {"status": verdict.status, "notes": list(verdict.notes), "reason": verdict.reason}
        print(to_json(said), flush=True)
        return
    meaning = {
        "passed": "the file is sound; whether it shows a T1 brain is judged when it is healed.",
        "repaired": "the scan can be used; this was mended or deserves attention:",
        "refused": "the scan cannot be used:",
    }
    print(f"{source}: {verdict.status} – {meaning[verdict.status]}")
    for sentence in (*((verdict.reason,) if verdict.reason else ()), *verdict.notes):
        print(f"  {sentence}")
