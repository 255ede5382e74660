"""`braindiffusion generate --covariates TABLE`: a brain for each row of a table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .cli_options import collect
from .errors import WrongParameters
from .tasks import base

TASK = "generate"
_MACHINE = ("device", "precision", "threads", "batch")


def add_cohort_options(command: argparse.ArgumentParser) -> None:
    """Give the command the options that make a cohort of it."""
    group = command.add_argument_group("a brain for each row of a table")
    group.add_argument(
        "--covariates",
        metavar="TABLE",
        type=Path,
        help="CSV or TSV file with columns of participant_id, age, sex, ventricles, brain, seed; the folder "
        "becomes a BIDS derivative, and the same command goes on where it was stopped",
    )
    group.add_argument("--jobs", metavar="N", type=int, help="processes for the rows (default: 1)")


def wanted(options: argparse.Namespace) -> bool:
    """Whether the command asks for a cohort. Raises WrongParameters where its options do not go together."""
    if getattr(options, "covariates", None) is not None:
        if hasattr(options, "samples"):
            raise WrongParameters("A table has one brain for each row; leave --samples out.")
        return True
    if getattr(options, "jobs", None) is not None:
        raise WrongParameters("The jobs are for the rows of a table; give it with --covariates.")
    return False


def make_cohort(options: argparse.Namespace) -> bool:
    """Make the cohort and tell of each row; whether all of them are there now."""
    from . import cohort
    from .result import RESEARCH_USE, to_json

    def say(outcome: cohort.Outcome) -> None:
        if options.json:
            print(to_json(vars(outcome)), flush=True)
        else:
            said = f"{outcome.name}: {outcome.status}" + (f". {outcome.message}" if outcome.message else "")
            print(said, file=sys.stderr, flush=True)

    machine: dict[str, Any] = {name: getattr(options, name) for name in _MACHINE}
    given = collect(options, base.get(TASK).parameters)
    outcomes = cohort.make(
        options.covariates, options.output, given, jobs=options.jobs or 1, on_outcome=say, **machine
    )
    count = {status: sum(o.status == status for o in outcomes) for status in ("made", "kept", "failed")}
    if options.json:
        print(to_json({"cohort": {"folder": str(Path(options.output).absolute()), **count}}), flush=True)
    else:
        print(f"{count['made']} brains made, {count['kept']} were there, {count['failed']} failed.")
        print(f"{RESEARCH_USE}.\nThe cohort is in '{options.output}', listed in '{cohort.MANIFEST}'.")
    return not count["failed"]
