"""Conditions of a batch: covariates, each with its own null, a guide image and a real or synthetic flag.

A null for each covariate and for the guide is what lets one network generate, heal and inpaint, and what
classifier-free guidance leans on (methods.md A16, A21).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import BrainDiffusionError
from .covariate import Covariate

__all__ = ["UNKNOWN", "Cond", "Covariate"]

UNKNOWN = 0.5
"""The value of `Cond.real` where it is not known whether an image is real: neither of the two flags."""


@dataclass(frozen=True, eq=False)
class Cond:
    """What the denoiser is told about each of B samples.

    covariates  [B, K] scaled to the network's span; 0 wherever `known` is False, so no dropped value leaks
    known       [B, K] bool
    real        [B] 1 for a real image, 0 for a synthetic one, UNKNOWN where that is not known
    guide       [B, 1, X, Y, Z] image to follow, or None; what counts is where `has_guide` is 1
    hole        [B, 1, X, Y, Z] 1 where the guide has to be invented, or None
    context     [B, C, X, Y, Z] maps that the network takes beside the images, or None for those of no guide
    has_guide   [B] 1 or 0
    outside     [B, K] bool: the covariate extrapolates the training range
    names       the K covariates' names
    """

    covariates: Tensor
    known: Tensor
    real: Tensor
    guide: Tensor | None = None
    hole: Tensor | None = None
    context: Tensor | None = None
    has_guide: Tensor | None = None
    outside: Tensor | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        batch, outside = self.batch, self.outside
        if self.has_guide is None:
            flag = torch.ones_like if self.guide is not None else torch.zeros_like
            object.__setattr__(self, "has_guide", flag(self.real))
        if outside is None:
            outside = torch.zeros_like(self.known)
            object.__setattr__(self, "outside", outside)
        if not self.known.shape == self.covariates.shape == outside.shape:
            raise BrainDiffusionError("Covariates and their known flags must both be [batch, covariates].")
        if self.names and len(self.names) != self.covariates.shape[1]:
            raise BrainDiffusionError(
                f"{len(self.names)} names were given for {self.covariates.shape[1]} covariates."
            )
        for name in ("real", "has_guide", "guide", "hole", "context"):
            value = getattr(self, name)
            if value is not None and value.shape[0] != batch:
                raise BrainDiffusionError(
                    f"The condition '{name}' is for {value.shape[0]} samples, not {batch}."
                )
        object.__setattr__(self, "covariates", torch.where(self.known, self.covariates, 0.0))

    @property
    def batch(self) -> int:
        """The number of samples B."""
        return self.covariates.shape[0]

    @classmethod
    def from_values(
        cls,
        covariates: Sequence[Covariate],
        values: Sequence[Mapping[str, Any]],
        *,
        real: float | Sequence[float] = 1.0,
        allow_outside: bool = False,
    ) -> Cond:
        """From one dict of values per sample, in the covariates' units; what is absent or None is unknown.

        Raises BrainDiffusionError for a name that the model does not have, for what is not a number, and for
        a value outside the training range unless `allow_outside`, which flags it in `outside` instead.
        """
        scaled, known, outside = (torch.zeros(len(values), len(covariates)) for _ in range(3))
        for row, sample in enumerate(values):
            _refuse_strangers(covariates, sample)
            for column, covariate in enumerate(covariates):
                if sample.get(covariate.name) is None:
                    continue
                value = covariate.value_of(sample[covariate.name])
                if covariate.is_outside(value) and not allow_outside:
                    message = covariate.outside_message(value)
                    raise BrainDiffusionError(f"{message}; choose a value inside it or allow extrapolation.")
                scaled[row, column] = covariate.scale(value)
                known[row, column] = 1
                outside[row, column] = covariate.is_outside(value)
        flags = torch.as_tensor(real, dtype=torch.float32).expand(len(values)).clone()
        names = tuple(c.name for c in covariates)
        return cls(scaled, known.bool(), flags, outside=outside.bool(), names=names)

    def with_guide(self, guide: Tensor, hole: Tensor | None = None, context: Tensor | None = None) -> Cond:
        """The same conditions with a guide [B, 1, X, Y, Z]; its voxels where `hole` is 1 are set to 0."""
        shown = guide if hole is None else guide * (1 - hole.to(guide.dtype))
        flags = torch.ones_like(self.real)
        return replace(self, guide=shown, hole=hole, context=context, has_guide=flags)

    def without_guide(self) -> Cond:
        """The same conditions without the guide image, its hole and its context."""
        return replace(self, guide=None, hole=None, context=None, has_guide=torch.zeros_like(self.real))

    def null(self, *names: str) -> Cond:
        """The named covariates made unknown; without names all of them, the guide and the hole too.

        The real or synthetic flag stays: the null of guidance is another real image, not a synthetic one.
        """
        if not names:
            return replace(self.without_guide(), known=torch.zeros_like(self.known), outside=None)
        columns = torch.tensor([self._column(name) for name in names], device=self.known.device)
        return replace(
            self,
            known=self.known.index_fill(1, columns, False),
            outside=None if self.outside is None else self.outside.index_fill(1, columns, False),
        )

    @classmethod
    def cat(cls, conds: Sequence[Cond]) -> Cond:
        """Several batches as one; a guide, hole or context that only some have is zeros for others."""
        if len({c.names for c in conds}) != 1:
            raise BrainDiffusionError("Only conditions of the same covariates can be joined in one batch.")
        joined: dict[str, Any] = {"names": conds[0].names}
        for name in ("covariates", "known", "real", "has_guide", "outside"):
            joined[name] = torch.cat([getattr(c, name) for c in conds])
        for name in ("guide", "hole", "context"):
            model = next((getattr(c, name) for c in conds if getattr(c, name) is not None), None)
            if model is not None:
                joined[name] = torch.cat([_or_zeros(getattr(c, name), model, c.batch) for c in conds])
        return cls(**joined)

    def repeat(self, n: int) -> Cond:
        """Each sample n times in a row: [a, b] becomes [a, a, b, b] for n = 2."""
        return self._each(lambda value: value.repeat_interleave(n, dim=0))

    def index(self, i: int | slice | Sequence[int]) -> Cond:
        """The chosen samples; the batch dimension stays."""
        chosen = slice(i, i + 1 or None) if isinstance(i, int) else i
        return self._each(lambda value: value[chosen])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Cond:
        """On another device; `dtype` applies to everything but the bool flags."""
        return self._each(lambda v: v.to(device=device, dtype=v.dtype if v.dtype == torch.bool else dtype))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Cond:
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "names"}
        changed: dict[str, Any] = {k: None if v is None else change(v) for k, v in tensors.items()}
        return replace(self, **changed)

    def _column(self, name: str) -> int:
        if name not in self.names:
            raise BrainDiffusionError(_no_such(name, self.names))
        return self.names.index(name)


def _no_such(name: str, names: Sequence[str]) -> str:
    known = f"it knows {', '.join(names)}" if names else "it knows none"
    return f"This model has no condition called '{name}'; {known}."


def _refuse_strangers(covariates: Sequence[Covariate], sample: Mapping[str, Any]) -> None:
    names = [c.name for c in covariates]
    for name in sample:
        if name not in names:
            raise BrainDiffusionError(_no_such(name, names))


def _or_zeros(value: Tensor | None, like: Tensor, batch: int) -> Tensor:
    return like.new_zeros((batch, *like.shape[1:])) if value is None else value
