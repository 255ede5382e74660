"""The commands: one per task, built from the task's parameters, and a few beside them."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from . import __version__, cli_cohort
from .cli import DONE, FAILED, REFUSED
from .cli_evaluate import add_evaluation_options, evaluate
from .cli_options import add_parameters, collect, flag
from .cli_train import add_training_options, train
from .errors import WrongParameters
from .tasks import base
from .tasks.base import Task

_EPILOG = "Research use only: not a medical device, not for diagnosis."
_ENGINE_OPTIONS = ("device", "precision", "threads", "batch", "frame", "orientation")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongParameters(f"{message[:1].upper()}{message[1:].rstrip('.')}; see '{self.prog} --help'.")


def parser() -> argparse.ArgumentParser:
    """What the command line understands; `act(options)` of what is parsed does it, for an exit code."""
    top = _Parser(prog="braindiffusion", description="Diffusion models for brain scans.", epilog=_EPILOG)
    top.add_argument("--version", action="version", version=f"braindiffusion {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
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

    evaluate = _command(commands, "evaluate", "Measure the models and write docs/results.md.")
    add_evaluation_options(evaluate)
    evaluate.set_defaults(act=_evaluate)

    schema = _command(commands, "schema", "Write the JSON Schema of every task to resources/tasks/.")
    schema.add_argument("--check", action="store_true", help="write nothing; fail where a file is stale")
    schema.set_defaults(act=_schema)
    return top


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
    command.set_defaults(frame=None, orientation=None)
    if task.inputs:
        _add_gate_options(command)
    if task.name == cli_cohort.TASK:
        cli_cohort.add_cohort_options(command)
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


def _run_task(options: argparse.Namespace) -> int:
    from .cli_output import progress_bar, tell
    from .result_folder import check_folder

    if cli_cohort.wanted(options):
        return DONE if cli_cohort.make_cohort(options) else FAILED
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


def _inspect(options: argparse.Namespace) -> int:
    from . import inspect
    from .cli_output import tell_verdict

    verdict = inspect(options.input, frame=options.frame, orientation=options.orientation)
    tell_verdict(options.input, verdict, as_json=options.json)
    return REFUSED if verdict.status == "refused" else DONE


def _train(options: argparse.Namespace) -> int:
    print(f"The weights are in '{train(options)}'.")
    return DONE


def _evaluate(options: argparse.Namespace) -> int:
    print(f"The page is '{evaluate(options)}'.")
    return DONE


def _schema(options: argparse.Namespace) -> int:
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
