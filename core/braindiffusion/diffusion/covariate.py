"""One condition of a model, with its unit and its range: what the panel shows and what the network gets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import BrainDiffusionError


@dataclass(frozen=True)
class Covariate:
    """A number that the model was trained with, e.g. Covariate("age", "Age", "years", 18, 90).

    `low` and `high` are the training range in `unit`; they are mapped to `span` for the network. `choices`
    names values, e.g. {"female": 0, "male": 1}, and then no value between them is taken.
    """

    name: str
    label: str
    unit: str
    low: float
    high: float
    span: tuple[float, float] = (0.0, 1.0)
    choices: Mapping[str, float] = field(default_factory=dict)
    help: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise BrainDiffusionError(f"The range of {self.label} must go from a lower to a higher number.")
        object.__setattr__(self, "span", tuple(self.span))

    def value_of(self, given: float | str) -> float:
        """The number in `unit` that a number, its text or a choice means; raises BrainDiffusionError."""
        if isinstance(given, str) and given.strip().lower() in self.choices:
            return float(self.choices[given.strip().lower()])
        try:
            value = float(given)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value) or (self.choices and value not in self.choices.values()):
            raise BrainDiffusionError(f"{self.label} cannot be '{given}'; give {self._wanted()}.")
        return value

    def is_outside(self, value: float) -> bool:
        """Whether a value in `unit` lies outside the training range."""
        return not self.low <= value <= self.high

    def scale(self, value: float) -> float:
        """From `unit` to the network's span; values outside the range extrapolate."""
        return self.span[0] + (value - self.low) / (self.high - self.low) * (self.span[1] - self.span[0])

    def unscale(self, scaled: float) -> float:
        """From the network's span back to `unit`."""
        return self.low + (scaled - self.span[0]) / (self.span[1] - self.span[0]) * (self.high - self.low)

    def outside_message(self, value: float) -> str:
        """One sentence that says that a value lies outside the training range."""
        return (
            f"{self.label} {value:g}{self._unit()} lies outside the range this model was trained on "
            f"({self.low:g} to {self.high:g}{self._unit()})"
        )

    def to_json(self) -> dict[str, Any]:
        """As a model card writes it."""
        return {**asdict(self), "span": list(self.span), "choices": dict(self.choices)}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Covariate:
        """From a model card's entry."""
        return cls(**{**entry, "span": tuple(entry.get("span", (0.0, 1.0)))})

    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def _wanted(self) -> str:
        if self.choices:
            return " or ".join(self.choices)
        return f"a number from {self.low:g} to {self.high:g}{self._unit()}"


def outside(covariates: Sequence[Covariate], values: Mapping[str, Any]) -> list[str]:
    """A sentence for each of `values` that lies outside the training range; None is unknown, and inside."""
    given = [(c, c.value_of(values[c.name])) for c in covariates if values.get(c.name) is not None]
    return [f"{c.outside_message(value)}." for c, value in given if c.is_outside(value)]
