"""Command-line options from a task's parameters, and the parameters back from what was given."""

from __future__ import annotations

import argparse
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .tasks.base import Parameters

_LIMITS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


def flag(name: str) -> str:
    """`guidance_scale` is `guidance-scale` on the command line."""
    return name.replace("_", "-")


def add_parameters(command: argparse.ArgumentParser, parameters: type[Parameters]) -> None:
    """Give the command one option per parameter, the basic ones before the advanced ones."""
    groups = {
        "basic": command.add_argument_group("parameters"),
        "advanced": command.add_argument_group("advanced parameters"),
    }
    for name, field in parameters.model_fields.items():
        group = groups[_extra(field).get("level", "basic")]
        group.add_argument(
            f"--{flag(name)}", dest=name, default=argparse.SUPPRESS, help=_help(field), **_kind(field)
        )


def collect(options: argparse.Namespace, parameters: type[Parameters]) -> dict[str, Any]:
    """The parameters that were given; the rest keep their defaults."""
    return {name: getattr(options, name) for name in parameters.model_fields if hasattr(options, name)}


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _kind(field: FieldInfo) -> dict[str, Any]:
    """argparse's words for a parameter's type; limits are pydantic's to check."""
    wanted = _without_none(field.annotation)
    required = {"required": True} if field.is_required() else {}
    if wanted is bool:
        return {"action": argparse.BooleanOptionalAction, **required}
    if get_origin(wanted) is Literal:
        values = get_args(wanted)
        return {"choices": values, "type": type(values[0]), **required}
    number: Callable[[str], Any] = {int: int, float: float}.get(wanted, str)
    metavar = {int: "N", float: "X"}.get(wanted, "TEXT")
    return {"type": number, "metavar": metavar, **required}


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else str
    return annotation


def _help(field: FieldInfo) -> str:
    limits = [
        text.format(getattr(limit, name))
        for limit in field.metadata
        for name, text in _LIMITS.items()
        if getattr(limit, name, None) is not None
    ]
    facts = [", ".join(part for part in (_extra(field).get("unit", ""), *limits) if part)]
    if field.default is not None and field.default is not PydanticUndefined:
        facts.append(f"default: {field.default}")
    said = "; ".join(fact for fact in facts if fact)
    # argparse reads % in a help text as a format.
    return (f"{field.description or field.title or ''}{f' ({said})' if said else ''}").replace("%", "%%")
