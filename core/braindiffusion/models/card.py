"""The card of a model: what it is, what it was trained on, what it measures, and how to know that it is
intact.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..diffusion.covariate import Covariate
from ..errors import BrainDiffusionError
from ..paths import resources

WEIGHTS = "weights.safetensors"


class Card(BaseModel):
    """Content of `resources/models/<name>/card.json`.

    architecture: {"class", "arguments"} of a network in `nets/`. path: noise path, {"kind", ...}.
    parametrisation: {"kind", ...}. frame: the grid and intensities that the network expects. fingerprint:
    mean absolute output, and first values, on fixed input. measured: figures of `docs/results.md` with the
    command that makes them. caution: a sentence that every result of this model must carry, such as that it
    has not been shown to work.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    title: str
    intended_use: str
    not_for: str
    architecture: dict[str, Any]
    parametrisation: dict[str, Any] = Field(default_factory=dict)
    path: dict[str, Any] = Field(default_factory=dict)
    covariates: list[dict[str, Any]] = Field(default_factory=list)
    frame: dict[str, Any]
    training: dict[str, Any]
    licence: str
    caution: str = ""
    measured: dict[str, Any] = Field(default_factory=dict)
    parameters: int
    sha256: str
    files: dict[str, str] = Field(default_factory=dict)
    fingerprint: list[float]

    @property
    def identity(self) -> dict[str, str]:
        """What a provenance record says of the model."""
        return {"name": self.name, "sha256": self.sha256}

    def conditions(self) -> tuple[Covariate, ...]:
        """The covariates as the panel, the conditions and the network's input know them."""
        return tuple(Covariate.from_json(entry) for entry in self.covariates)


def folder_of(name: str) -> Path:
    """The folder of a shipped model. Raises BrainDiffusionError where there is none of that name.

    The name is looked up among the installed ones and never becomes part of a path, so that it leads nowhere
    else.
    """
    installed = {path.parent.name: path.parent for path in (resources() / "models").glob("*/card.json")}
    if name not in installed:
        known = ", ".join(sorted(installed)) or "none"
        raise BrainDiffusionError(f"There is no model named {name!r}; the installed models are: {known}.")
    return installed[name]


def read_card(folder: Path) -> Card:
    """The card in `folder`. Raises BrainDiffusionError where it is missing or not a card."""
    try:
        card = Card.model_validate_json((folder / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BrainDiffusionError(
            f"The model card in {folder.name} cannot be read ({reason}); install the model again."
        ) from None
    if card.name != folder.name:
        raise BrainDiffusionError(
            f"The model card in {folder.name} is that of {card.name!r}; install the model again."
        )
    return card


def write_card(card: Card, folder: Path) -> None:
    """Write `card` as indented JSON."""
    (folder / "card.json").write_text(
        json.dumps(card.model_dump(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
