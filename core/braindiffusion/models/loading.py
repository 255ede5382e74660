"""Loading a shipped model, safely: hash, exact keys, finite weights and a numerical fingerprint (design.md
§5).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from ..diffusion.covariate import Covariate
from ..diffusion.path import NoisePath, from_spec
from ..errors import BrainDiffusionError
from ..nets.anatomy import AnatomyNet
from ..nets.detail import DetailDenoiser, DetailNet
from ..nets.paint import PaintDenoiser
from ..nets.prior import PriorDenoiser, PriorEnsemble, PriorNet
from .card import WEIGHTS, Card, folder_of, read_card
from .storage import fits, load_weights

_NETWORKS: dict[str, type[nn.Module]] = {
    "AnatomyNet": AnatomyNet,
    "PriorNet": PriorNet,
    "PriorEnsemble": PriorEnsemble,
    "DetailNet": DetailNet,
}
_DENOISERS: dict[str, type[PriorDenoiser]] = {"edm around flat tissue": PaintDenoiser}
"""By the kind of the card's parametrisation, where it is another one than the prior's."""
_FINGERPRINT_SIDE = 16
_TOLERANCE = 2e-3
"""Largest difference of a fingerprint value: processors round float32 sums differently, wrong weights differ
far more.
"""


@dataclass(frozen=True)
class Model:
    """A loaded model: its card, its network in float32 and evaluation mode, and the folder it came from."""

    card: Card
    net: nn.Module
    folder: Path

    @property
    def path(self) -> NoisePath:
        """The noise path of a diffusion model."""
        return from_spec(self.card.path)

    @property
    def covariates(self) -> tuple[Covariate, ...]:
        return self.card.conditions()

    def file(self, name: str) -> Path:
        """A further file of the model, whose hash was checked on loading.

        Raises BrainDiffusionError where the card lists none of that name.
        """
        if name not in self.card.files:
            raise BrainDiffusionError(
                f"The model {self.card.name} has no file {name}, which is needed here; choose another model "
                "or method."
            )
        return self.folder / name

    def denoiser(self, device: str = "cpu", precision: str = "fp32") -> PriorDenoiser:
        """The Denoiser of a diffusion model on `device`; precision "bf16" or "fp32". Of an ensemble the first
        network, which knows every deed.
        """
        net = self.net.members[0] if isinstance(self.net, PriorEnsemble) else self.net
        return self._denoiser(net, device, precision)

    def guided_denoiser(self, device: str = "cpu", precision: str = "fp32") -> PriorDenoiser:
        """The Denoiser for a scan that guides: of an ensemble all networks that have a share."""
        return self._denoiser(self.net, device, precision)

    def detail_denoiser(self, device: str = "cpu", precision: str = "fp32") -> DetailDenoiser:
        """The Denoiser of a model that brings a 2 mm brain to 1 mm."""
        sigma_data = self.card.parametrisation["sigma_data"]
        return DetailDenoiser(prepared(self.net, device, precision), sigma_data)

    def _denoiser(self, net: nn.Module, device: str, precision: str) -> PriorDenoiser:
        options = {key: value for key, value in self.card.parametrisation.items() if key != "kind"}
        kind = _DENOISERS.get(self.card.parametrisation.get("kind", ""), PriorDenoiser)
        return kind(prepared(net, device, precision), **options)


class _Autocast(nn.Module):
    """A network in float32 that computes in bfloat16 and answers in float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *args: Tensor) -> Tensor:
        with torch.autocast(args[0].device.type, torch.bfloat16):
            return self.net(*args).float()


def prepared(net: nn.Module, device: str, precision: str) -> nn.Module:
    """`net` on `device` in the memory layout and precision that its convolutions like."""
    net = net.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return _Autocast(net) if precision == "bf16" else net


def load_model(name: str, device: str = "cpu") -> Model:
    """The model `name`, its network on `device`; it is loaded and checked once.

    Raises BrainDiffusionError where it is absent, damaged or not the one of its card.
    """
    model = _checked(name)
    model.net.to(device)
    return model


@lru_cache(maxsize=4)
def _checked(name: str) -> Model:
    folder = folder_of(name)
    card = read_card(folder)
    for file, expected in {WEIGHTS: card.sha256, **card.files}.items():
        if not (folder / file).is_file() or sha256(folder / file) != expected:
            raise BrainDiffusionError(
                f"The file {file} of the model {name} is missing or damaged; install the model again."
            )
    net = build(card.architecture)
    _fill(net, folder / WEIGHTS, name)
    net.eval().requires_grad_(False)
    if not _agree(fingerprint(net), card.fingerprint):
        raise BrainDiffusionError(
            f"The model {name} computes something else here than when it was made, so it is not used."
        )
    return Model(card, net, folder)


def build(architecture: dict[str, Any]) -> nn.Module:
    """The network of a card with fresh weights. Raises BrainDiffusionError for a class or arguments that are
    not ours.
    """
    kind = str(architecture.get("class", ""))
    if kind not in _NETWORKS:
        raise BrainDiffusionError(
            f"This version does not know the network {kind!r}; update it or choose another model."
        )
    try:
        return _NETWORKS[kind](**architecture.get("arguments", {}))
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise BrainDiffusionError(
            f"This version cannot build the network {kind} of the card ({reason}); update it or choose "
            "another model."
        ) from None


def _fill(net: nn.Module, file: Path, name: str) -> None:
    try:
        weights = load_weights(file)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise BrainDiffusionError(
            f"The weights of {name} cannot be read ({error}); install the model again."
        ) from None
    wanted = net.state_dict()
    if not fits(weights, wanted):
        raise BrainDiffusionError(
            f"The weights of {name} do not fit the network that its card names; install the model again."
        )
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise BrainDiffusionError(
            f"The weights of {name} hold values that are not numbers; install the model again."
        )
    net.load_state_dict(weights)


def _agree(found: list[float], expected: list[float]) -> bool:
    """Whether two fingerprints are the same up to rounding; one that is not a number never is."""
    return len(found) == len(expected) and all(abs(a - b) <= _TOLERANCE for a, b in zip(found, expected))


def sha256(file: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(file, "rb") as stream:
        return (
            hashlib.file_digest(stream, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _digest(stream)
        )


def _digest(stream: Any) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


@torch.no_grad()
def fingerprint(net: nn.Module) -> list[float]:
    """Eight numbers of the output in float32 on fixed noise: the same on any machine for the same weights."""
    side, generator = _FINGERPRINT_SIDE, torch.Generator().manual_seed(2026)
    volumes = [torch.randn(1, 1, side, side, side, generator=generator) for _ in range(2)]
    if isinstance(net, (PriorNet, PriorEnsemble)):
        ones, known = torch.ones(1), torch.ones(1, net.covariates)
        output = net(
            volumes[0].expand(-1, 2, -1, -1, -1),
            0.1 * ones,
            volumes[1],
            torch.zeros_like(volumes[0]),
            0.5 * volumes[1].expand(-1, net.context, -1, -1, -1),
            ones,
            0.3 * known,
            known,
            ones,
        )
    elif isinstance(net, DetailNet):
        places = functional.avg_pool3d(volumes[0], 2).expand(-1, 3, -1, -1, -1)
        output = net(volumes[0], torch.full((1,), -0.5), volumes[1], places)
    else:
        output = net(volumes[0].clamp(0, 1))
    flat = output.flatten().float()
    return [
        round(float(v), 6) for v in (flat.mean(), flat.abs().mean(), *flat[:: max(1, flat.numel() // 6)][:6])
    ]
