"""The Denoiser of `t1-brain-2mm-paint`: pathology where labels are painted on a scan (methods.md B2.2).

The network is `nets.prior.PriorNet`: its guide is the healthy scan, its context says what is painted and how
bright. What diffuses is the difference to flat tissue of that brightness: its texture, its border, and what
shows through it. Where nothing is painted the scan is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.cond import Cond
from .prior import PriorDenoiser, Shown

SIGMA_DATA = 0.1
"""Standard deviation of painted tissue around flat tissue, about, where white matter is 1."""


def context_of(shares: Tensor, levels: Tensor) -> Tensor:
    """The context [B, T + 1, X, Y, Z]: how much of each voxel each of T tissues fills, `shares` [B, T, X, Y,
    Z], and their intensity there by `levels` [B, T] (white matter is 1).
    """
    return torch.cat([shares, (shares * levels[:, :, None, None, None]).sum(1, keepdim=True)], 1)


def flat(guide: Tensor, context: Tensor) -> Tensor:
    """The scan `guide` with flat tissue on it, [B, 1, X, Y, Z]; the scan itself where none is."""
    shares = context[:, :-1].sum(1, keepdim=True)
    return torch.where(shares > 0, guide * (1 - shares).clamp(min=0) + context[:, -1:], guide)


@dataclass(frozen=True)
class PaintDenoiser(PriorDenoiser):
    """EDM's preconditioning (methods.md A09) around `flat` tissue; the context is `context_of` it."""

    sigma_data: float = SIGMA_DATA

    def shown(self, x: Tensor, cond: Cond) -> Shown:
        """What goes with x [B, 1, X, Y, Z]; raises ValueError without a scan and labels."""
        if cond.guide is None or cond.context is None:
            raise ValueError("painting needs a scan and labels")
        guide, context = cond.guide.to(x), cond.context.to(x)
        bare, nothing = ~context[:, :-1].any(1, keepdim=True), torch.zeros_like(guide)
        return Shown(guide, nothing, context, flat(guide, context), bare, nothing.bool())
