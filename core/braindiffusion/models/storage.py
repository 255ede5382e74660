"""Weights on disk: safetensors with eight bits a weight.

Each output channel has a scale of its own, so that rounding errs by at most 1/254 of the channel's largest
weight. That halves float16 and lets two networks ship in the room of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

_SCALE = ".scale"
_STEPS = 127
_LEAST_SIZE = 4096
"""Smaller tensors are stored in float16: they cost nothing."""


def save_weights(weights: Mapping[str, Tensor], file: Path) -> None:
    """Write a state dict: matrices and kernels in eight bits, all else in float16."""
    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        if value.ndim < 2 or value.numel() < _LEAST_SIZE:
            stored[name] = value.half().contiguous()
            continue
        rows = value.float().flatten(1)
        scale = rows.abs().amax(1).clamp(min=1e-12) / _STEPS
        steps = (rows / scale[:, None]).round().to(torch.int8)
        stored[name], stored[name + _SCALE] = steps.view(value.shape).contiguous(), scale
    save_file(stored, file)


def load_weights(file: Path) -> dict[str, Tensor]:
    """The state dict in `file`, in float32.

    Raises SafetensorError or OSError where it cannot be read.
    """
    stored = load_file(file)
    weights = {}
    for name, value in stored.items():
        if name.removesuffix(_SCALE) != name and name.removesuffix(_SCALE) in stored:
            continue
        scale = stored.get(name + _SCALE)
        if value.dtype == torch.int8 and scale is not None:
            value = value.float() * scale.view(-1, *[1] * (value.ndim - 1))
        weights[name] = value.float()
    return weights


def member_of(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of `weights` that fit the network whose state dict is `wanted`: all, or one member's of an
    ensemble (`nets.prior.PriorEnsemble`); as they are where none fits.
    """
    heads = {".".join(name.split(".")[:2]) + "." for name in weights if name.startswith("members.")}
    for head in sorted(heads):
        some = {name.removeprefix(head): value for name, value in weights.items() if name.startswith(head)}
        if fits(some, wanted):
            return some
    return dict(weights)


def fits(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    """Whether names and shapes are those `wanted`."""
    return set(weights) == set(wanted) and all(weights[key].shape == wanted[key].shape for key in wanted)
