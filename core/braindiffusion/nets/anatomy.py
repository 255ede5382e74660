"""The network of `brain-anatomy-2mm`: one image of any contrast -> logits of every structure.

MONAI's SegResNet on one Haar level: full-resolution logits at the cost of half resolution.
"""

from __future__ import annotations

from monai.networks.nets import SegResNet
from torch import Tensor, nn

from .haar import fold, unfold


class AnatomyNet(nn.Module):
    """[B, 1, X, Y, Z] with sides divisible by 16, intensities in 0..1 -> logits [B, structures, X, Y, Z]."""

    def __init__(self, structures: int, width: int = 16, blocks: tuple[int, ...] = (1, 2, 2, 2)) -> None:
        super().__init__()
        self.body = SegResNet(
            3,
            init_filters=width,
            in_channels=8,
            out_channels=8 * structures,
            blocks_down=blocks,
            blocks_up=(1, 1, 1),
        )
        # Most voxels are outside: starting from that saves the first hundreds of steps. The mean band is the
        # first of eight,
        # and a constant c has the mean band sqrt(8) c.
        bias = self.body.conv_final[-1].conv.bias
        nn.init.zeros_(bias)
        bias.data[::8] = -3.0 * 8**0.5
        bias.data[0] = 1.0 * 8**0.5

    def forward(self, image: Tensor) -> Tensor:
        return unfold(self.body(fold(image)))
