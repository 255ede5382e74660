"""What a task is: its inputs, its parameters, and a generator that reports progress and ends in a `Result`.

One declaration makes the Python arguments, the command-line options, the panel, the validation and the
provenance record. A new task is one new file in this folder: module `segment` with a module-level `TASK =
Task(name="segment", ...)`. Nothing in such a file may import torch at its top, so that the first answer to a
user is quick.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import pkgutil
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import BrainDiffusionError, WrongParameters
from ..paths import resources

if TYPE_CHECKING:
    from ..imaging.volume import Volume
    from ..plan import Plan
    from ..result import Result


@dataclass(frozen=True)
class Progress:
    """How far a run is: `fraction` of the whole (0 to 1) and `stage`, a few words for the user.

    `preview` is what there is to see already, where the task shows something; its `meta["title"]` says what.
    """

    fraction: float
    stage: str
    preview: Volume | None = None


class Partway(Protocol):
    """How far a computation is: the share that is done, 0 to 1."""

    @property
    def share(self) -> float: ...


_Step = TypeVar("_Step", bound=Partway)
_End = TypeVar("_End")


def following(
    steps: Generator[_Step, None, _End],
    low: float,
    high: float,
    stage: str,
    preview: Callable[[_Step], Volume],
    previews: int = 6,
) -> Generator[Progress, None, _End]:
    """Pass on `steps` as progress between `low` and `high`, at most `previews` of them with a preview; what
    they return is the value.
    """
    shown = 0
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        due = math.ceil(step.share * previews)
        seen = preview(step) if due > shown else None
        shown = due
        yield Progress(low + (high - low) * step.share, stage, seen)


class Parameters(BaseModel):
    """Base of every task's parameters: unknown names are errors, values never change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Parameters:
        """Validate `values`; raises WrongParameters with one sentence that names each wrong parameter."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise WrongParameters(_sentence(cls, error)) from None


class Drawn(Parameters):
    """Base of the parameters of a task that draws `samples` images from a `seed`: each has both fields."""

    if TYPE_CHECKING:
        seed: int
        samples: int

    def seeds(self) -> list[int]:
        """Of each image (`sample_seeds`)."""
        from ..diffusion.noise import sample_seeds

        return sample_seeds(self.seed, self.samples)


def parameter(
    default: Any,
    title: str,
    help: str,
    *,
    unit: str | None = None,
    advanced: bool = False,
    covariate: bool = False,
    for_place: Any = None,
    **limits: Any,
) -> Any:
    """Declare one parameter. `title` is its label, `help` a sentence, `limits` pydantic's ge, gt, le, lt.

    A default of `...` makes the parameter required. A `covariate` describes the person in the scan, so a
    viewer forgets it when another person's scan is opened. `for_place` is what a viewer sets, and says that
    it does, where the mask is a place that a result tells of.
    """
    extra: dict[str, Any] = {"level": "advanced" if advanced else "basic"}
    extra |= ({"unit": unit} if unit else {}) | ({"covariate": True} if covariate else {})
    extra |= {} if for_place is None else {"for_place": for_place}
    return Field(default, title=title, description=help, json_schema_extra=extra, **limits)


def sampler_steps(default: int) -> Any:
    """How many steps the sampler makes."""
    help = "Steps of the sampler; more is slower and a little more precise."
    return parameter(default, "Steps", help, ge=2, le=100, advanced=True)


def age_of_person() -> Any:
    """In years, where it is known."""
    help = "Age of the person, if known."
    return parameter(None, "Age", help, unit="years", covariate=True, ge=0, le=120, examples=[35])


def sex_of_person() -> Any:
    """Female or male, where it is known."""
    return parameter(None, "Sex", "Sex of the person, if known.", covariate=True)


@dataclass(frozen=True)
class Input:
    """An image that the task needs. The engine takes it through the gate before the task sees it.

    kind: "volume", a scan in grey values, float32; "labels", a label map or mask in whole numbers, which a
    viewer hands over on the grid of the task's first scan; or "segments", labels of which each counts: of a
    segmentation all segments, whose names are `Volume.meta["names"]`. A file lies as it lies.
    """

    name: str
    title: str
    help: str
    required: bool = True
    kind: Literal["volume", "labels", "segments"] = "volume"


@dataclass(frozen=True)
class Task:
    """One thing that the package can do.

    `run(inputs, parameters, plan)` yields `Progress` and returns a `Result`. `inputs` are admitted volumes by
    name; `plan` says where and how to compute (`plan.device`, `plan.precision`, `plan.batch`,
    `plan.threads`), and is smaller at every retry after memory ran out; `plan.tell` takes the share that is
    done where a stage takes longer than a second, so that a cancel is heard there too.
    `memory(inputs, parameters, batch, precision)` estimates the peak in bytes. `picture(result, path)` draws
    the PNG of a result. `samples(parameters)` is how many could be computed at once. `first`: a panel with
    several tasks begins with this one.
    """

    name: str
    title: str
    summary: str
    parameters: type[Parameters]
    run: Callable[[Mapping[str, Volume], Any, Plan], Generator[Progress, None, Result]]
    inputs: tuple[Input, ...] = ()
    memory: Callable[[Mapping[str, Volume], Any, int, str], int] | None = None
    picture: Callable[[Result, Path], None] | None = None
    samples: Callable[[Any], int] = lambda parameters: getattr(parameters, "samples", 1)
    uses_torch: bool = True
    first: bool = False


PLUGINS = "BRAINDIFFUSION_PLUGINS"
"""Environment variable that names modules, separated by commas, which `register` further tasks."""
_REGISTERED: dict[str, Task] = {}
_NOT_TASKS = {"base", "scan"}


def register(task: Task) -> Task:
    """Add a task that does not live in this folder, such as a plug-in's or a test's."""
    _REGISTERED[task.name] = task
    return task


def unregister(name: str) -> None:
    """Forget a task that `register` added."""
    _REGISTERED.pop(name, None)


def names() -> list[str]:
    """Names of all tasks, in alphabetical order."""
    _load_plugins()
    folder = importlib.import_module(__package__).__path__
    modules = (info.name for info in pkgutil.iter_modules(folder) if info.name not in _NOT_TASKS)
    return sorted({name for name in modules if _from_module(name)} | set(_REGISTERED))


def get(name: str) -> Task:
    """The task of that name; raises WrongParameters where there is none."""
    _load_plugins()
    task = _REGISTERED.get(name) or (_from_module(name) if name.isidentifier() else None)
    if task is None:
        raise WrongParameters(f"There is no task named '{name}'; the tasks are {', '.join(names())}.")
    return task


def schema(task: Task) -> dict[str, Any]:
    """JSON Schema of the parameters, with the task's title, summary and inputs: all that a panel needs."""
    described = task.parameters.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "task": task.name,
        "title": task.title,
        "description": task.summary,
        **({"first": True} if task.first else {}),
        "inputs": [asdict(image) for image in task.inputs],
        **{key: value for key, value in described.items() if key not in ("title", "description")},
    }


def schema_text(task: Task) -> str:
    """The text of the task's schema file, line for line."""
    return json.dumps(schema(task), indent=2, ensure_ascii=False) + "\n"


def schema_path(task: Task) -> Path:
    """Where the task's schema file lies."""
    return resources() / "tasks" / f"{task.name}.schema.json"


def _load_plugins() -> None:
    for name in filter(None, (part.strip() for part in os.environ.get(PLUGINS, "").split(","))):
        try:
            importlib.import_module(name)
        except Exception as error:  # a stranger's module may raise anything; its words are the cause
            raise BrainDiffusionError(
                f"The module '{name}' that {PLUGINS} names cannot be loaded ({type(error).__name__}); "
                "correct its name, mend it or leave it out."
            ) from error


def _from_module(name: str) -> Task | None:
    full_name = f"{__package__}.{name}"
    if name in _NOT_TASKS or importlib.util.find_spec(full_name) is None:
        return None
    task = getattr(importlib.import_module(full_name), "TASK", None)
    if task is not None and task.name != name:
        raise RuntimeError(f"tasks/{name}.py declares a task named '{task.name}'")
    return task


def _sentence(model: type[Parameters], error: ValidationError) -> str:
    """One sentence from pydantic's list of errors, in the labels of the parameters."""
    return "; ".join(_complaint(model, dict(item)) for item in error.errors(include_url=False)) + "."


def _complaint(model: type[Parameters], item: dict[str, Any]) -> str:
    name = str(item["loc"][0]) if item["loc"] else ""
    if item["type"] == "extra_forbidden":
        return f"There is no parameter '{name}'; the parameters are {', '.join(model.model_fields)}"
    if item["type"] == "missing":
        return f"The parameter '{name}' must be given"
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    if not name:
        return message[:1].upper() + message[1:]
    unit = (model.model_fields[name].json_schema_extra or {}).get("unit")  # type: ignore[union-attr]
    return f"The parameter '{name}' {message}{f' {unit}' if unit else ''}, but was given {item['input']!r}"
