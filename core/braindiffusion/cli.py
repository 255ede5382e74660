"""The command line: one command per task, built from the task's parameters, and a few beside them.

Answers go to standard output, progress and errors to standard error; an error is one sentence. Exit codes:
0 done, 1 a fault of the program (details are in the file that the message names), 2 wrong usage, 3 the image
was refused, 4 the run could not end well (memory, disk, a missing model), 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from . import __version__, faults
from .cli_options import add_parameters, collect, flag
from .cli_train import add_training_options, train
from .errors import BrainDiffusionError, Cancelled, Refused, WrongParameters
from .tasks import base
from .tasks.base import Task

DONE, FAULT, USAGE, REFUSED, FAILED, STOPPED = 0, 1, 2, 3, 4, 130
_EPILOG = "Research use only: not a medical device, not for diagnosis."
_ENGINE_OPTIONS = ("device", "precision", "threads", "batch", "frame", "orientation")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongParameters(f"{message[:1].upper()}{message[1:].rstrip('.')}; see '{self.prog} --help'.")


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
        options, rest = _parser().parse_known_args(arguments)
        if rest and options.command != "evaluate":
            raise WrongParameters(
                f"There is no option '{rest[0]}' here; see 'braindiffusion {options.command} --help'."
            )
        return options.act(options, rest)
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
            anew = "install BrainDiffusion anew: pip install --force-reinstall braindiffusion"
            return _fail(f"The package '{package}' is missing or broken; {anew}.", FAILED, as_json)
        # A bug: the user gets one sentence, the developers a file
        file = faults.write_report(error, f"braindiffusion {__version__}, arguments: {arguments}")
        return _fail(f"{faults.told(error)}; the details are in '{file}'.", FAULT, as_json)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="braindiffusion", description="Diffusion models for brain scans.", epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"braindiffusion {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in base.names():
        _add_task(commands, base.get(name))

    inspect = _command(
        commands, "inspect", "Say what the gate says about a scan: passed, repaired or refused, and why."
    )
    inspect.add_argument("input", metavar="INPUT", help="image file or DICOM folder")
    _add_gate_options(inspect)
    inspect.set_defaults(act=_inspect)

    train = _command(commands, "train", "Train a model; stop it at any time and go on with --resume.")
    add_training_options(train)
    train.set_defaults(act=_train)

    evaluate = _command(
        commands,
        "evaluate",
        "Measure the models and write docs/results.md; options are the evaluation's own.",
    )
    evaluate.set_defaults(act=_evaluate)

    schema = _command(commands, "schema", "Write the JSON Schema of every task to resources/tasks/.")
    schema.add_argument("--check", action="store_true", help="write nothing; fail where a file is stale")
    schema.set_defaults(act=_schema)
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, epilog=_EPILOG)
    command.add_argument(
        "--json", action="store_true", help="write JSON, one object a line, to standard output"
    )
    return command


def _add_task(commands: Any, task: Task) -> None:
    command = _command(commands, task.name, task.summary)
    for place, image in enumerate(task.inputs):
        if place == 0:
            command.add_argument(image.name, metavar="INPUT", help=image.help)
        else:
            command.add_argument(
                f"--{flag(image.name)}", dest=image.name, required=image.required, help=image.help
            )
    command.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        required=True,
        help="folder for the result: new, empty or an earlier result's",
    )
    add_parameters(command, task.parameters)
    _add_gate_options(command)
    machine = command.add_argument_group("this computer")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")
    machine.add_argument(
        "--precision", default="auto", choices=("auto", "bf16", "fp32"), help="default: auto"
    )
    machine.add_argument("--threads", type=int, help="processor threads (default: all that may be used)")
    machine.add_argument(
        "--batch", type=int, help="most samples computed at once (default: what fits into memory)"
    )
    command.set_defaults(act=_run_task)


def _add_gate_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("where the file does not say")
    group.add_argument("--frame", type=int, help="which frame of a 4-D file, counted from 0")
    group.add_argument("--orientation", help="axes of a file without orientation, such as RAS or LPI")


def _run_task(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from .cli_output import progress_bar, tell
    from .result import check_folder

    task = base.get(options.command)
    check_folder(options.output)
    with progress_bar(as_json=options.json) as on_progress:
        # The first words come before the engine and what it needs are loaded.
        on_progress(base.Progress(0.0, "Starting"))
        from . import engine

        inputs = {image.name: getattr(options, image.name) for image in task.inputs}
        settings = {name: getattr(options, name) for name in _ENGINE_OPTIONS}
        result = engine.run(
            task, inputs, collect(options, task.parameters), on_progress=on_progress, **settings
        )
        on_progress(base.Progress(1.0, "Writing the result"))
        folder = result.save(options.output)
    tell(result, folder, as_json=options.json)
    return DONE


def _inspect(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from . import inspect
    from .cli_output import tell_verdict

    verdict = inspect(options.input, frame=options.frame, orientation=options.orientation)
    tell_verdict(options.input, verdict, as_json=options.json)
    return REFUSED if verdict.status == "refused" else DONE


def _train(options: argparse.Namespace, rest: Sequence[str]) -> int:
    print(f"The weights are in '{train(options)}'.")
    return DONE


def _evaluate(options: argparse.Namespace, rest: Sequence[str]) -> int:
    return importlib.import_module("braindiffusion.evaluation.run").main(list(rest)) or DONE


def _schema(options: argparse.Namespace, rest: Sequence[str]) -> int:
    stale = False
    for name in base.names():
        task = base.get(name)
        path, text = base.schema_path(task), base.schema_text(task)
        fresh = path.is_file() and path.read_text(encoding="utf-8") == text
        stale = stale or not fresh
        if not fresh and not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{path}: {'fresh' if fresh else 'stale' if options.check else 'written'}")
    return FAILED if stale and options.check else DONE


def _exit_code(error: BrainDiffusionError) -> int:
    kinds = ((WrongParameters, USAGE), (Refused, REFUSED), (Cancelled, STOPPED))
    return next((code for kind, code in kinds if isinstance(error, kind)), FAILED)


def _fail(sentence: str, code: int, as_json: bool) -> int:
    from .result import to_json

    if as_json:
        print(to_json({"error": sentence, "exit_code": code}), flush=True)
    print(sentence, file=sys.stderr, flush=True)
    return code


def _interrupt(signum: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt
