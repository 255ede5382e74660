"""The command line: carries out one command of `cli_commands`, and tells how it ended.

Answers go to standard output, progress and errors to standard error; an error is one sentence. Exit codes:
0 done, 1 a fault of the program (details are in the file that the message names), 2 wrong usage, 3 the image
was refused, 4 the run could not end well (memory, disk, a missing model), 130 stopped by the user.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NoReturn

from . import __version__, faults
from .errors import BrainDiffusionError, Cancelled, Refused, WrongParameters

DONE, FAULT, USAGE, REFUSED, FAILED, STOPPED = 0, 1, 2, 3, 4, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without Unicode gets a question mark, not a crash
            stream.reconfigure(errors="replace")
    as_json = "--json" in arguments
    try:
        before = signal.signal(signal.SIGTERM, _interrupt)
    except ValueError:  # not the main thread, which has no signals of its own
        before = None
    try:
        from .cli_commands import parser  # here, as a package that it needs can be missing

        options, rest = parser().parse_known_args(arguments)
        if rest:
            raise WrongParameters(
                f"There is no option '{rest[0]}' here; see 'braindiffusion {options.command} --help'."
            )
        return options.act(options)
    except SystemExit as end:  # argparse's --help and --version
        return end.code if isinstance(end.code, int) else FAULT
    except BrainDiffusionError as error:
        return _fail(str(error), _exit_code(error), as_json)
    except KeyboardInterrupt:
        return _fail("Stopped; nothing was written.", STOPPED, as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        package = faults.lacking(error)
        if package is not None:
            return _fail(
                f"The package '{package}' is missing or broken; {_how_to_mend(package)}.", FAILED, as_json
            )
        # A bug: the user gets one sentence, the developers a file
        try:
            file = faults.write_report(error, f"braindiffusion {__version__}, arguments: {arguments}")
            details = f"the details are in '{file}'"
        except OSError:
            details = "there is no folder for temporary files that could take the details"
        return _fail(f"{faults.told(error)}; {details}.", FAULT, as_json)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _exit_code(error: BrainDiffusionError) -> int:
    kinds = ((WrongParameters, USAGE), (Refused, REFUSED), (Cancelled, STOPPED))
    return next((code for kind, code in kinds if isinstance(error, kind)), FAILED)


def _how_to_mend(package: str) -> str:
    """The command that installs what has this name for import."""
    names = metadata.packages_distributions().get(package)
    if names:
        return f"run 'python -m pip install --force-reinstall {names[0]}'"
    return "in the folder of BrainDiffusion's repository, run 'python -m pip install .'"


def _fail(sentence: str, code: int, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": sentence, "exit_code": code}, ensure_ascii=False), flush=True)
    print(sentence, file=sys.stderr, flush=True)
    return code


def _interrupt(signum: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt
