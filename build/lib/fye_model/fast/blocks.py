"""Fast blocks of the image layers, each around the plain block that it stands for.

- 1x1 convolutions are matrix products on tokens.
- Group norm, SiLU, the time step and a convolution's bias are one operation (`kernels.group_norm`).
- A 3x3 convolution of an image doubled by repeating pixels is four 2x2 ones of the image itself, with weights that
  fall on the same pixel added up: 4/9 of the multiplications.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from fye_model.fast.kernels.elementwise import add_residual, interleave
from fye_model.fast.kernels.gated import geglu, paired
from fye_model.fast.kernels.group_norm import group_norm


class FastBlock(nn.Module):
    """A block that computes what `plain` does, and stands in its place in the network.

    It has no weights of its own: its tables of parameters and of children are the plain block's tables, the same
    objects. So names in a state dict stay, loading, saving and moves to another device or precision reach both, and
    whoever puts `plain` back finds it as it would be without the fast block. What is worked out of the weights lies in
    buffers that move along and are never saved; it is not worked out anew when the weights change. `plain` itself is no
    child, or it would be saved twice. Its hooks do not run while the fast block is in its place.

    Raises `ValueError` for a block with buffers of its own, whose table cannot be shared.
    """

    plain: Any

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        if plain._buffers:
            raise ValueError(f"{type(plain).__name__} has buffers ({', '.join(plain._buffers)}); expected none")
        self.__dict__["plain"] = plain
        self._parameters = plain._parameters
        self._modules = plain._modules
        self.training = plain.training

    def derive(self, name: str, value: Tensor) -> None:
        """Keep something that was worked out of the weights; it follows the block's device and precision."""
        self.register_buffer(name, value, persistent=False)


class FastGroupNorm(FastBlock):
    """`nn.GroupNorm` by kernels for channels-last images."""

    weight: Tensor
    bias: Tensor

    def __init__(self, plain: nn.GroupNorm) -> None:
        super().__init__(plain)
        self.num_groups, self.eps = plain.num_groups, plain.eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c, h, w) or (b, c, n) to the same shape."""
        return group_norm(x[..., None], self)[..., 0] if x.ndim == 3 else group_norm(x, self)


class FastResnet(FastBlock):
    """`ResnetBlock2D` of the Stable Diffusion kind, with what lies between its convolutions in one operation each."""

    norm1: Any
    norm2: Any
    conv1: Any
    conv2: Any
    time_emb_proj: Any
    conv_shortcut: Any

    def __init__(self, plain: ResnetBlock2D) -> None:
        super().__init__(plain)
        for name in ("time_emb_proj", "conv_shortcut"):
            if name not in self._modules:  # an attribute that is None
                self.__dict__[name] = getattr(plain, name)

    @staticmethod
    def takes(block: ResnetBlock2D) -> bool:
        """Whether a block has nothing but two convolutions, two norms, SiLU and perhaps a time step."""
        return (
            block.upsample is None
            and block.downsample is None
            and (block.time_embedding_norm == "default" or block.time_emb_proj is None)
            and not block.skip_time_act
            and block.output_scale_factor == 1
            and isinstance(block.nonlinearity, nn.SiLU)
            and block.conv1.kernel_size == (3, 3)
            and (block.conv_shortcut is None or block.conv_shortcut.kernel_size == (1, 1))
        )

    def forward(self, hidden: Tensor, temb: Tensor | None = None, skip: Tensor | None = None, **_: Any) -> Tensor:
        """Map (b, c, h, w), with `skip` (b, d, h, w) beside it, and the time embedding (b, t) to (b, c', h, w)."""
        inner = group_norm(hidden, self.norm1, silu=True, behind=skip)
        inner = F.conv2d(inner, self.conv1.weight, padding=1)
        added = self.conv1.bias.expand(len(hidden), -1)
        if self.time_emb_proj is not None:
            assert temb is not None
            added = added + self.time_emb_proj(F.silu(temb))
        inner = F.conv2d(group_norm(inner, self.norm2, silu=True, added=added), self.conv2.weight, padding=1)
        bias = self.conv2.bias
        if self.conv_shortcut is not None:
            hidden = image(self._shortcut(hidden, skip), hidden)
            bias = bias + self.conv_shortcut.bias
        return add_residual(inner, hidden, bias)

    def _shortcut(self, hidden: Tensor, skip: Tensor | None) -> Tensor:
        """The 1x1 convolution of [hidden ; skip] as tokens (b, n, c'), without its bias."""
        weight = self.conv_shortcut.weight.flatten(1)
        if skip is None:
            return F.linear(tokens_of(hidden), weight)
        channels = hidden.shape[1]
        total = F.linear(tokens_of(hidden), weight[:, :channels])
        return _linear_onto(total, tokens_of(skip), weight[:, channels:])


class FastUpsample(FastBlock):
    """`Upsample2D` by a factor of two, the convolution before the repetition."""

    conv: Any
    phase_weight: Tensor

    def __init__(self, plain: Upsample2D) -> None:
        super().__init__(plain)
        self.derive("phase_weight", phase_weight(self.conv.weight))

    @staticmethod
    def takes(block: Upsample2D) -> bool:
        """Whether an upsampling doubles by repeating pixels, with a 3x3 convolution behind it."""
        return (
            block.use_conv
            and not block.use_conv_transpose
            and block.interpolate
            and block.norm is None
            and isinstance(getattr(block, "conv", None), nn.Conv2d)
            and block.conv.kernel_size == (3, 3)
        )

    def forward(self, hidden: Tensor, output_size: Any = None, *_: Any, **__: Any) -> Tensor:
        """Map (b, c, h, w) to (b, c', 2h, 2w), or to an odd `output_size` as diffusers does."""
        if output_size is not None and tuple(output_size) != tuple(2 * size for size in hidden.shape[-2:]):
            return self.plain(hidden, output_size)
        # At 16 pixels cuDNN takes a kernel half as fast unless the zeros are written out; at 8 these cost a sixteenth
        # of the time, at larger sizes more than they could save.
        small = hidden.shape[-1] <= 16
        phases = F.conv2d(F.pad(hidden, (1, 1, 1, 1)) if small else hidden, self.phase_weight, padding=int(not small))
        return interleave(phases, self.conv.bias)


class FastGEGLU(FastBlock):
    """`GEGLU` in one operation."""

    proj: Any
    paired_weight: Tensor
    paired_bias: Tensor

    def __init__(self, plain: nn.Module) -> None:
        super().__init__(plain)
        self.derive("paired_weight", paired(self.proj.weight))
        self.derive("paired_bias", paired(self.proj.bias))

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        """Map (..., c) to (..., h)."""
        return geglu(hidden, self.paired_weight, self.paired_bias)


def phase_weight(weight: Tensor) -> Tensor:
    """Weights (4c', c, 2, 2) that do to an image what (c', c, 3, 3) do to the doubled one, for `interleave`.

    Of the three taps on an even row, the first falls on the row before and two on the row itself; on an odd row it is
    two on the row itself and the last on the row behind. Columns alike.
    """
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    even = torch.stack([wide[:, :, 0], wide[:, :, 1] + wide[:, :, 2]], 2)
    odd = torch.stack([wide[:, :, 0] + wide[:, :, 1], wide[:, :, 2]], 2)
    phases = []
    for rows in (even, odd):
        phases.append(torch.stack([rows[..., 0], rows[..., 1] + rows[..., 2]], -1))
        phases.append(torch.stack([rows[..., 0] + rows[..., 1], rows[..., 2]], -1))
    return torch.cat(phases).to(weight.dtype).contiguous(memory_format=torch.channels_last)


def tokens_of(picture: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, h·w, c); free of charge for channels-last images."""
    return picture.permute(0, 2, 3, 1).flatten(1, 2)


def image(tokens: Tensor, like: Tensor) -> Tensor:
    """(b, h·w, c) -> (b, c, h, w), channels-last."""
    return tokens.unflatten(1, like.shape[-2:]).permute(0, 3, 1, 2)


def _linear_onto(total: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """total (..., c') + x (..., c) weight^T, added within the matrix product: `total` is overwritten."""
    if not total.is_cuda:
        return total + F.linear(x, weight)
    add_product(total, x, weight)
    return total


# An operator of its own: the compiler would copy `total` first.
@torch.library.custom_op("fye::add_product", mutates_args=("total",))
def add_product(total: Tensor, x: Tensor, weight: Tensor) -> None:
    """Add x (..., c) weight^T to total (..., c'), which is contiguous."""
    total.view(-1, total.shape[-1]).addmm_(x.flatten(0, -2), weight.t())
