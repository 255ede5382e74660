"""A task as its JSON Schema describes it: inputs, and parameters as fields. Nothing here knows any task."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import places

INTEGER, NUMBER, CHOICE, BOOLEAN, TEXT = "integer", "number", "choice", "boolean", "text"
_KINDS = {"integer": INTEGER, "number": NUMBER, "boolean": BOOLEAN, "string": TEXT}
# A number may not lie on an exclusive limit; this share of the range beside it is near enough.
_BESIDE = 1e-3


@dataclass(frozen=True)
class Input:
    """An image that a task takes, of a kind that is a file in inputs/."""

    name: str
    title: str
    help: str
    required: bool
    kind: str = "volume"


@dataclass(frozen=True)
class Field:
    """A parameter: its label, its sentence of help, and which values it takes.

    `optional`: it may be left open (None). `minimum` and `maximum` are within the range. `choices` are the
    values that it takes, where they are listed. `covariate`: it describes the person in the scan. `example`:
    a value to begin with, where there is no default. `forPlace`: the value for a mask that is a place of a
    result. `trained`: the range that the model has learnt from.
    """

    name: str
    kind: str
    title: str
    help: str
    default: Any = None
    example: Any = None
    optional: bool = False
    advanced: bool = False
    covariate: bool = False
    forPlace: Any = None
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()
    trained: tuple[float, float] | None = None


@dataclass(frozen=True)
class Task:
    """What a user may ask the engine for."""

    name: str
    title: str
    help: str
    inputs: tuple[Input, ...]
    fields: tuple[Field, ...]
    # Titles of parameters that no widget can show; where a script does not set them, the engine does.
    hidden: dict[str, str] = field(default_factory=dict)
    first: bool = False  # a panel with several tasks begins with it

    def field(self, name: str) -> Field | None:
        return next((item for item in self.fields if item.name == name), None)

    def short(self) -> str:
        """One word for the name of a run's folder."""
        return self.name.replace("_", " ").capitalize()


def tasks(folder: Path | None = None) -> list[Task]:
    """Every task that has a schema file: first the one to begin with, then by their names."""
    folder = folder or places.resources() / "tasks"
    found = [read(path) for path in sorted(folder.glob("*.schema.json"))]
    return sorted(found, key=lambda task: not task.first)


def read(path: Path) -> Task:
    """The task of one schema file."""
    return parse(json.loads(path.read_text(encoding="utf-8")))


def parse(schema: dict[str, Any]) -> Task:
    """The task that a schema describes, as `braindiffusion.tasks.base.schema` makes it."""
    inputs = tuple(
        Input(
            item["name"],
            item["title"],
            item.get("help", ""),
            item.get("required", True),
            item.get("kind", "volume"),
        )
        for item in schema.get("inputs", [])
    )
    fields, hidden = [], {}
    for name, described in schema.get("properties", {}).items():
        made = _field(name, described, schema)
        if made is None:
            hidden[name] = described.get("title", name)
        else:
            fields.append(made)
    title = schema.get("title", schema["task"])
    help_, first = schema.get("description", ""), bool(schema.get("first", False))
    return Task(schema["task"], title, help_, inputs, tuple(fields), hidden, first)


def _field(name: str, described: dict[str, Any], schema: dict[str, Any]) -> Field | None:
    value, optional = _value(described, schema)
    choices = tuple(value.get("enum", (value["const"],) if "const" in value else ()))
    kind = CHOICE if choices else _KINDS.get(value.get("type", ""))
    if kind is None:
        return None
    return Field(
        name=name,
        kind=kind,
        title=described.get("title", name),
        help=described.get("description", ""),
        default=described.get("default"),
        example=next(iter(described.get("examples", value.get("examples", []))), None),
        optional=optional,
        advanced=described.get("level") == "advanced",
        covariate=bool(described.get("covariate", False)),
        forPlace=described.get("for_place"),
        unit=described.get("unit", ""),
        minimum=_limit(value, "minimum", "exclusiveMinimum", kind, 1),
        maximum=_limit(value, "maximum", "exclusiveMaximum", kind, -1),
        choices=tuple(choice for choice in choices if choice is not None),
        trained=tuple(described["range"]) if "range" in described else None,
    )


def _value(described: dict[str, Any], schema: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """What a value other than null is, and whether null is allowed."""
    options = [_resolved(option, schema) for option in described.get("anyOf", [described])]
    given = [option for option in options if option.get("type") != "null"]
    return (given[0] if len(given) == 1 else {}), len(given) < len(options)


def _resolved(described: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = described.get("$ref", "")
    if reference.startswith("#/$defs/"):
        return {**schema["$defs"][reference.removeprefix("#/$defs/")], **described}
    return described


def _limit(value: dict[str, Any], inside: str, outside: str, kind: str, inwards: int) -> float | None:
    if inside in value:
        return value[inside]
    if outside not in value:
        return None
    return value[outside] + inwards * (1 if kind == INTEGER else _BESIDE * _span(value))


def _span(value: dict[str, Any]) -> float:
    """How far the limits of a number lie apart, at most 1."""
    low = value.get("minimum", value.get("exclusiveMinimum"))
    high = value.get("maximum", value.get("exclusiveMaximum"))
    return min(1.0, high - low) if low is not None and high is not None else 1.0
