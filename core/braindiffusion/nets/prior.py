"""The network of `t1-brain-2mm`: noisy brain, optional guide, optional hole, covariates -> EDM's raw
output F.

A U-Net of MONAI's diffusion residual blocks that works on Haar coefficients (lossless, and cheap at a quarter
of the resolution), with skips that are added rather than concatenated (half the decoder's cost), and a narrow
path at full resolution so that no block edge shows. What the training brains look like at each place is an
input too: without a guide their mean, with one their mean brought to it, its z-score against them and its
mirror image, so that healing starts where a population z-score ends. What diffuses is the difference to what
is expected, the guide or that mean: it is much smaller than the brain itself, and the network need not learn
the average brain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from monai.networks.nets.diffusion_model_unet import DiffusionUNetResnetBlock, get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional

from ..diffusion.cond import Cond
from ..diffusion.denoise import Edm
from ..diffusion.path import Node
from ..imaging.expected import population
from .haar import fold, unfold

_GAIN = 4.0
"""Factor on the output, so that the narrow last layer need not learn large weights."""
_DETAIL_FLOOR = 0.03
"""Where the noise is weaker than this (white matter is 1), detail is given in units of it."""
SIGMA_DATA = 0.2
"""Standard deviation of brains around what is expected of them, about, where white matter is 1."""
CONTEXT = 3
"""Maps that go with a guide: what the population shows there, the guide's z-score, its mirror image."""
_Z_UNIT, _Z_MOST = 4.0, 8.0


def _zero(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def _repeated(transform: Callable[[Tensor], Tensor], x: Tensor, times: int) -> Tensor:
    for _ in range(times):
        x = transform(x)
    return x


def _shown_to(conv: nn.Conv3d, x: Tensor, live: list[int]) -> Tensor:
    """`conv` of images of which only those numbered `live` are given; the others are 0."""
    each = x.shape[1] // len(live)
    columns = [n * each + k for n in live for k in range(each)]
    weight = conv.weight[:, columns].contiguous(memory_format=torch.channels_last_3d)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    return functional.conv3d(x, weight, conv.bias, padding=conv.padding)


def _around(x: Tensor) -> Tensor:
    """The mean of the 27 voxels about each, 0 beyond the edge: avg_pool3d in a tenth of the time."""
    x = functional.pad(x, (1,) * 6)
    for axis in (2, 3, 4):
        n = x.shape[axis] - 2
        x = x.narrow(axis, 0, n) + x.narrow(axis, 1, n) + x.narrow(axis, 2, n)
    return x / 27


def context_of(guide: Tensor, hole: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """The context [B, 3, X, Y, Z] of a guide whose `hole` is 1 where it has to be invented, all [B, 1, X, Y,
    Z].

    mean and deviation: what the population shows there (`imaging.expected`); mean is 0 where it shows no
    brain. The mirror image is that of the grid, whose middle is the brain's.
    """
    known = (guide > 0) & (hole < 0.5) & (mean > 0)
    z = ((guide - mean) / deviation).clamp(-_Z_MOST, _Z_MOST) / _Z_UNIT
    return torch.cat([mean, z * known, guide.flip(2)], 1)


class ConditionEmbedding(nn.Module):
    """Noise level, covariates with a null each, real/synthetic flag and guide flag -> one vector [B, width].

    A covariate enters as (value if known else 0, known), so "unknown" differs from every value.
    """

    def __init__(self, covariates: int, width: int) -> None:
        super().__init__()
        self.frequencies = width // 2
        self.noise = nn.Sequential(nn.Linear(self.frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Sequential(
            nn.Linear(2 * covariates + 3, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(
        self, c_noise: Tensor, covariates: Tensor, known: Tensor, real: Tensor, has_guide: Tensor
    ) -> Tensor:
        wave = get_timestep_embedding(1000 * c_noise.float(), self.frequencies)
        known = known.to(wave)
        flags = torch.stack([(real > 0.75).to(wave), (real < 0.25).to(wave), has_guide.to(wave)], 1)
        return self.noise(wave) + self.condition(torch.cat([covariates.to(wave) * known, known, flags], 1))


class Level(nn.Module):
    """`blocks` residual blocks of one width."""

    def __init__(self, width: int, embedding: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            DiffusionUNetResnetBlock(3, width, embedding, width, norm_num_groups=8) for _ in range(blocks)
        )

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h, emb)
        return h


class PriorNet(nn.Module):
    """See the module's text. `folds` Haar levels come first, then `widths` and `blocks` run downwards.
    `reach` is the first convolution's kernel, `fine` the full-resolution width, `context` how many maps go
    with a guide.
    """

    def __init__(
        self,
        covariates: int = 4,
        widths: tuple[int, ...] = (16, 64, 128, 192),
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        fine: int = 8,
        context: int = CONTEXT,
        sigma_data: float | None = SIGMA_DATA,
        folds: int = 1,
        reach: int = 3,
    ) -> None:
        super().__init__()
        self.sigma_data, self.folds = sigma_data, folds
        embedding, self.covariates, self.context = 256, covariates, context
        self.embedding = ConditionEmbedding(covariates, embedding)
        images = 4 + context
        self.stem = nn.Conv3d(8**folds * images, widths[0], reach, padding=reach // 2)
        self.encoder = nn.ModuleList(Level(w, embedding, n) for w, n in zip(widths, blocks))
        pairs = list(zip(widths, widths[1:]))
        self.down = nn.ModuleList(nn.Conv3d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.up = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in pairs)
        self.decoder = nn.ModuleList(Level(w, embedding, n) for w, n in zip(widths[:-1], blocks[:-1]))
        out = nn.Conv3d(widths[0], 8**folds * fine, 1)
        self.head = nn.Sequential(nn.GroupNorm(8, widths[0]), nn.SiLU(), out)
        self.fine_in = nn.Conv3d(images, fine, 3, padding=1)
        self.fine_mid = nn.Conv3d(fine, fine, 3, padding=1)
        self.fine_out = _zero(nn.Conv3d(fine, 1, 3, padding=1))

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        guide: Tensor,
        hole: Tensor,
        context: Tensor,
        has_guide: Tensor,
        covariates: Tensor,
        known: Tensor,
        real: Tensor,
    ) -> Tensor:
        """x [B, 2, X, Y, Z] with sides divisible by 16; guide, hole [B, 1, X, Y, Z]; context [B, C, X, Y, Z];
        c_noise, has_guide, real [B]; covariates, known [B, K].

        Returns F [B, 1, X, Y, Z].

        x: the noisy difference scaled to unit variance (EDM's c_in), and its finest detail in units of the
        noise. guide and hole are zero where absent. real: 1 real, 0 synthetic, 0.5 not said.
        """
        image, detail = x[:, :1], x[:, 1:]
        if self.sigma_data is not None:
            # Where noise drowns the image its voxels say nothing: only their averages, further down, do.
            calm = (1 + (torch.exp(4 * c_noise.float()) / self.sigma_data) ** 2) ** -0.5
            calm = calm.to(x).view(-1, 1, 1, 1, 1)
            detail, calmed = calm * detail, calm * image
        else:
            calmed = image
        emb = self.embedding(c_noise, covariates, known, real, has_guide).to(x.dtype)
        # Maps that are empty, as all but two are without a guide, need no multiplying.
        maps = enumerate([detail, guide, hole, *context.to(x).split(1, 1)], 1)
        shown = {n: some for n, some in maps if bool(some.count_nonzero())}
        live = [0, *shown]
        full, fine = (
            torch.cat([some, *shown.values()], 1).contiguous(memory_format=torch.channels_last_3d)
            for some in (image, calmed)
        )
        h = _shown_to(self.stem, _repeated(fold, full, self.folds), live)
        skips = []
        for level, down in zip(self.encoder, self.down):
            h = level(h, emb)
            skips.append(h)
            h = down(h)
        h = self.encoder[-1](h, emb)
        for level, up, skip in zip(reversed(self.decoder), reversed(self.up), reversed(skips)):
            h = nn.functional.interpolate(up(h), scale_factor=2.0, mode="nearest") + skip
            h = level(h, emb)
        h = _repeated(unfold, self.head(h), self.folds) + _shown_to(self.fine_in, fine, live)
        h = h + self.fine_mid(nn.functional.silu(h))
        return _GAIN * self.fine_out(nn.functional.silu(h))


class PriorEnsemble(nn.Module):
    """Networks that were trained apart, given the arguments of each.

    Alone a member answers as `members[n]`; together they answer with the mean of what they say, weighted by
    `shares` (all alike where not given), and where their errors are independent it errs less
    (Lakshminarayanan et al. 2017). Who has no share is not asked.
    """

    def __init__(self, members: Sequence[Mapping[str, Any]], shares: Sequence[float] = ()) -> None:
        super().__init__()
        self.shares = tuple(shares) or (1.0,) * len(members)
        some = [PriorNet(**arguments) for arguments in members]
        self.members = nn.ModuleList(some)
        self.covariates, self.context = some[0].covariates, some[0].context

    def forward(self, *told: Tensor) -> Tensor:
        """What `PriorNet.forward` takes; the weighted mean of the members' F [B, 1, X, Y, Z]."""
        asked = [(share, member) for share, member in zip(self.shares, self.members) if share]
        answers = torch.stack([share * member(*told) for share, member in asked])
        return answers.sum(0) / sum(share for share, _ in asked)


class Shown(NamedTuple):
    """What a batch is shown: [B, 1, X, Y, Z], the context [B, 3, X, Y, Z].

    expected: what is expected at each voxel; followed (bool): where that is a guide; doubted (bool): where it
    is a guide that may be wrong.
    """

    guide: Tensor
    hole: Tensor
    context: Tensor
    expected: Tensor
    followed: Tensor
    doubted: Tensor


@dataclass(frozen=True)
class PriorDenoiser:
    """The Denoiser of a PriorNet: EDM's preconditioning (methods.md A09) around what is expected.

    What diffuses is the difference to the guide where one is followed (B3.9), and to the mean of the training
    brains in a hole and without a guide; its standard deviation is `sigma_data` (white matter is 1). A guide
    without a hole may be wrong anywhere inside its brain; one with a hole is right everywhere else.
    """

    net: nn.Module
    sigma_data: float = SIGMA_DATA

    def __call__(self, x: Tensor, node: Node, cond: Cond) -> Tensor:
        """x0 [B, 1, X, Y, Z] at x of that shape; `node` holds numbers or tensors that broadcast against x."""
        shown = self.shown(x, cond)
        raw = self.raw(x, node, cond, shown).to(x.dtype)
        x0 = shown.expected + self.edm.to_x0(raw, x - node.alpha * shown.expected, node)
        return torch.where(shown.followed & ~shown.doubted, shown.expected, x0)

    @property
    def edm(self) -> Edm:
        """The preconditioning of the difference."""
        return Edm(self.sigma_data)

    def target(self, x0: Tensor, x: Tensor, node: Node, shown: Shown) -> Tensor:
        """The raw output [B, 1, X, Y, Z] that means x0 at x."""
        return self.edm.from_x0(x0 - shown.expected, x - node.alpha * shown.expected, node)

    def raw(self, x: Tensor, node: Node, cond: Cond, shown: Shown) -> Tensor:
        """The network's output F [B, 1, X, Y, Z]."""
        difference = x - node.alpha * shown.expected
        level = torch.as_tensor(node.sigma / node.alpha, dtype=torch.float32, device=x.device).log() / 4
        level = level.reshape(-1).expand(x.shape[0])
        detail = difference - _around(difference)
        detail = detail / (node.sigma**2 + _DETAIL_FLOOR**2) ** 0.5
        # Beside a guide the noisy image counts by what it says under its noise; elsewhere it is all there is.
        scale = self.edm.scale_in(node)
        said = torch.where(shown.doubted, scale * self.sigma_data, 1.0)
        noisy = torch.cat([scale * said * difference, detail], 1)
        told = (self._flag(x, cond).flatten(), cond.covariates, cond.known, cond.real)
        return self.net(noisy, level, shown.guide, shown.hole, shown.context, *told)

    def _flag(self, x: Tensor, cond: Cond) -> Tensor:
        """1 where a sample has a guide, [B, 1, 1, 1, 1]."""
        flag = torch.zeros_like(cond.real) if cond.has_guide is None else cond.has_guide
        return flag.to(x).view(-1, 1, 1, 1, 1)

    def shown(self, x: Tensor, cond: Cond) -> Shown:
        """What goes with x [B, 1, X, Y, Z]; guide and hole are 0 where there is none."""
        guide, hole = (torch.zeros_like(x) if v is None else v.to(x) for v in (cond.guide, cond.hole))
        flag = self._flag(x, cond)
        guide, context = guide * flag, self._context(x, cond)
        followed = (flag > 0.5) & (hole < 0.5)
        expected = torch.where(followed, guide, context[:, :1])
        whole = (hole > 0.5).flatten(1).count_nonzero(1).view(-1, 1, 1, 1, 1) == 0
        return Shown(guide, hole, context, expected, followed, followed & (expected > 0) & whole)

    def _context(self, x: Tensor, cond: Cond) -> Tensor:
        """The context [B, 3, X, Y, Z]. Without one, or where it is 0, the mean is that of the model grid,
        stretched to another; without a guide nothing but the mean is told.
        """
        typical = torch.from_numpy(population().typical.copy()).to(x)[None, None]
        if typical.shape[2:] != x.shape[2:]:
            typical = functional.interpolate(typical, size=x.shape[2:], mode="trilinear")
        if cond.context is None:
            return functional.pad(typical.expand_as(x), (0,) * 7 + (CONTEXT - 1,))
        context = cond.context.to(x)
        given = context.flatten(1).count_nonzero(1).view(-1, 1, 1, 1, 1) > 0
        mean = torch.where(given, context[:, :1], typical)
        return torch.cat([mean, context[:, 1:] * self._flag(x, cond)], 1)
