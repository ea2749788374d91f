"""Networks rearranged for speed at inference: the same function of the same weights, in fewer passes over memory.

- Query, key and value of an attention are one matrix product; a frame's pixels and the portrait's are attended to
  where they lie (`pixel_attention`).
- Motion modules keep the layout of the convolutions (frame, pixel, channel) and attend across it (`frame_attention`).
- Cross-attention to a few image-prompt tokens is folded into two thin matrices, once per video: scores are
  x (Wq^T k), the output is (v Wo) weighted.
- 1x1 convolutions are matrix products on tokens; the gated feed-forward never writes its gates (`gated`), and all that
  comes behind them is one product (`feed_forward`).
- Images are channels-last; group norm, SiLU, the time step and a convolution's bias are one operation (`group_norm`).
- A 3x3 convolution of an image doubled by repeating pixels is four 2x2 ones of the image itself, with weights that
  fall on the same pixel added up: 4/9 of the multiplications.

`make_fast` changes the classes of a network's blocks in place, as `networks.attention.specialise` does; names and
weights stay, so it saves and loads as before. Weights changed afterwards are not seen: call it again. Not for training.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from fye_model.fast.kernels.elementwise import add_residual, interleave
from fye_model.fast.kernels.feed_forward import finish, finish_in_place, tail_weight
from fye_model.fast.kernels.frame_attention import frame_attention
from fye_model.fast.kernels.gated import fits, geglu, paired
from fye_model.fast.kernels.group_norm import ChannelsLastGroupNorm, group_norm
from fye_model.fast.kernels.pixel_attention import attend, attend_both_ways, pixel_attention
from fye_model.networks.attention import KeyValue, SpatialTransformer


class FastResnet(ResnetBlock2D):
    """`ResnetBlock2D` of the Stable Diffusion kind, with what lies between its convolutions in one operation each."""

    norm1: Any
    norm2: Any
    conv1: Any
    conv2: Any
    time_emb_proj: Any
    conv_shortcut: Any

    takes_skip = True  # see `Denoiser.forward`

    def forward(  # type: ignore[override]
        self, hidden: Tensor, temb: Tensor | None = None, skip: Tensor | None = None, **_: Any
    ) -> Tensor:
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
            hidden = _image(self._shortcut(hidden, skip), hidden)
            bias = bias + self.conv_shortcut.bias
        return add_residual(inner, hidden, bias)

    def _shortcut(self, hidden: Tensor, skip: Tensor | None) -> Tensor:
        """The 1x1 convolution of [hidden ; skip] as tokens (b, n, c'), without its bias."""
        weight = self.conv_shortcut.weight.flatten(1)
        if skip is None:
            return F.linear(_tokens(hidden), weight)
        channels = hidden.shape[1]
        tokens = F.linear(_tokens(hidden), weight[:, :channels])
        return _linear_onto(tokens, _tokens(skip), weight[:, channels:])


class FastUpsample(Upsample2D):
    """`Upsample2D` by a factor of two, the convolution before the repetition."""

    conv: Any
    phase_weight: Tensor

    def forward(self, hidden: Tensor, output_size: Any = None, *_: Any, **__: Any) -> Tensor:  # type: ignore[override]
        """Map (b, c, h, w) to (b, c', 2h, 2w), or to an odd `output_size` as diffusers does."""
        if output_size is not None and tuple(output_size) != tuple(2 * size for size in hidden.shape[-2:]):
            return super().forward(hidden, output_size)
        # At 16 pixels cuDNN takes a kernel half as fast unless the zeros are written out; at 8 these cost a sixteenth
        # of the time, at larger sizes more than they could save.
        small = hidden.shape[-1] <= 16
        phases = F.conv2d(F.pad(hidden, (1, 1, 1, 1)) if small else hidden, self.phase_weight, padding=int(not small))
        return interleave(phases, self.conv.bias)


class FastGEGLU(GEGLU):
    """`GEGLU` in one operation."""

    paired_weight: Tensor
    paired_bias: Tensor

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor:  # type: ignore[override]
        """Map (..., c) to (..., h)."""
        return geglu(hidden, self.paired_weight, self.paired_bias)


class FoldedContext(NamedTuple):
    """Cross-attention to m tokens as two matrices: `scores` (b, c, heads·m) and `values` (b, heads·m, c)."""

    scores: Tensor
    values: Tensor


class FastSpatialTransformer(SpatialTransformer):
    """`SpatialTransformer` with fused projections and folded cross-attention."""

    proj_in: Any
    qkv_weight: Tensor
    tail_weight: Tensor
    compiled = False

    takes_shared = True  # see `Denoiser.forward`

    def project_context(self, tokens: Tensor) -> KeyValue | FoldedContext:  # type: ignore[override]
        """Fold the image prompt (b, m, c) into the layer's weights where that is less work than attending to it."""
        plain = super().project_context(tokens)
        attention = self.block.attn2
        heads, channels = attention.heads, plain.key.shape[-1]
        if heads * tokens.shape[1] > channels:
            return plain
        wide = torch.promote_types(tokens.dtype, torch.float32)
        key, value = (x.to(wide).unflatten(-1, (heads, -1)) for x in plain)  # (b, m, heads, d)
        query_weight = attention.to_q.weight.to(wide).unflatten(0, (heads, -1))  # (heads, d, c)
        out_weight = attention.to_out[0].weight.to(wide).unflatten(1, (heads, -1))  # (c, heads, d)
        scale = query_weight.shape[1] ** -0.5
        scores = torch.einsum("bmhd,hdc->bchm", key, query_weight).flatten(2) * scale
        values = torch.einsum("bmhd,chd->bhmc", value, out_weight).flatten(1, 2)
        return FoldedContext(scores.to(tokens.dtype), values.to(tokens.dtype))

    def forward(  # type: ignore[override]
        self,
        hidden: Tensor,
        context: KeyValue | FoldedContext,
        reference: KeyValue | None = None,
        plain: int | Tensor = 0,
        frames: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """As `SpatialTransformer.forward`; `plain` is a number. `hidden` of one item stands for all of `context`.

        On a GPU `hidden` may be overwritten by the result.
        """
        assert isinstance(plain, int), "the fast path takes the number of plain items, which come first"
        items = len(context[0])
        shared = len(hidden) < items * frames
        if shared and (items, plain, reference is None) != (2, 1, False):
            shared = False  # only a plain item and one with the reference share their attention
            hidden = torch.cat([hidden] * items)
        body = _compiled(FastSpatialTransformer._body) if self.compiled else FastSpatialTransformer._body
        tokens, added, normed = body(self, hidden, context, reference, plain, frames, shared)
        if shared:
            hidden = torch.cat([hidden] * items)
        bias = self.block.attn2.to_out[0].bias if isinstance(context, FoldedContext) else None
        return _finish(self, hidden, tokens, added, bias), normed

    def _body(
        self, hidden: Tensor, context: Any, reference: KeyValue | None, plain: int, frames: int, shared: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The block up to its feed-forward: tokens, what the cross-attention adds, and the self-attention's input."""
        block = self.block
        tokens = _tokens(self.norm(hidden))
        tokens = F.linear(tokens, self.proj_in.weight.flatten(1), self.proj_in.bias)
        normed = block.norm1(tokens)
        tokens = _plus(self._self_attention(normed, reference, plain, frames, shared), tokens)
        return tokens, self._cross_attention(block.norm2(tokens), context), normed

    def _self_attention(
        self, normed: Tensor, reference: KeyValue | None, plain: int, frames: int, shared: bool
    ) -> Tensor:
        """Attention of (b·f, n, c), the first `plain` items without the reference; of what two share, both ways."""
        attention = self.block.attn1
        qkv = F.linear(normed, self.qkv_weight)
        if shared:
            assert reference is not None
            return attention.to_out[0](attend_both_ways(qkv, attention.heads, reference))
        return attention.to_out[0](pixel_attention(qkv, attention.heads, reference, plain, frames))

    def _cross_attention(self, normed: Tensor, context: KeyValue | FoldedContext) -> Tensor:
        attention = self.block.attn2
        items = len(context[0])
        tokens = normed.reshape(items, -1, normed.shape[-1])
        if isinstance(context, FoldedContext):
            scores = torch.bmm(tokens, context.scores).unflatten(-1, (attention.heads, -1))
            weights = scores.softmax(-1, torch.promote_types(scores.dtype, torch.float32)).to(tokens.dtype).flatten(2)
            return torch.bmm(weights, context.values).reshape(normed.shape)  # its bias is added in the end
        out = attend(attention.to_q(tokens), context.key, context.value, attention.heads)
        return attention.to_out[0](out).reshape(normed.shape)


class FastMotionModule(AnimateDiffTransformer3D):
    """`AnimateDiffTransformer3D` of one block with two self-attentions, in the layout of the convolutions."""

    norm: Any
    transformer_blocks: Any
    qkv_weight: Tensor
    qkv_weight_2: Tensor
    tail_weight: Tensor
    compiled = False

    def forward(self, hidden: Tensor, num_frames: int = 1, **_: Any) -> Tensor:  # type: ignore[override]
        """Map (b·f, c, h, w) to the same shape. On a GPU `hidden` may be overwritten by the result."""
        body = _compiled(FastMotionModule._body) if self.compiled else FastMotionModule._body
        tokens, added = body(self, hidden, num_frames)
        return _finish(self, hidden, tokens, added, None)

    def _body(self, hidden: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
        """The block up to its feed-forward: tokens and what the last attention adds, both (b·f, n, c)."""
        (block,) = self.transformer_blocks
        tokens = self.proj_in(_tokens(group_norm(hidden, self.norm))).unflatten(0, (-1, num_frames))  # (b, f, n, c)
        place = block.pos_embed.pe[:, :num_frames, None].to(tokens.dtype)

        def attended(norm: nn.Module, attention: Any, weight: Tensor) -> Tensor:
            qkv = F.linear(norm(tokens) + place, weight)
            return attention.to_out[0](frame_attention(qkv, attention.heads))

        tokens = tokens + attended(block.norm1, block.attn1, self.qkv_weight)
        added = attended(block.norm2, block.attn2, self.qkv_weight_2)
        return tokens.flatten(0, 1), added.flatten(0, 1)


@torch.no_grad()
def make_fast(network: nn.Module) -> None:
    """Rearrange a denoiser, or an autoencoder, for inference, in place; calling it again takes over changed weights.

    Errors: `ValueError` for a denoiser with other blocks than ours (linear spatial projections, deeper transformers).
    """
    for module in network.modules():
        if type(module) is nn.GroupNorm:
            module.__class__ = ChannelsLastGroupNorm
        elif type(module) is ResnetBlock2D and _is_plain(module):
            module.__class__ = FastResnet
        elif isinstance(module, GEGLU):
            module.__class__ = FastGEGLU
            module.register_buffer("paired_weight", paired(module.proj.weight), persistent=False)
            module.register_buffer("paired_bias", paired(module.proj.bias), persistent=False)
        elif isinstance(module, Upsample2D) and _repeats_pixels(module):
            module.__class__ = FastUpsample
            convolution: Any = module.conv
            module.register_buffer("phase_weight", phase_weight(convolution.weight), persistent=False)
        elif isinstance(module, SpatialTransformer):
            if module.use_linear_projection or len(module.transformer_blocks) != 1:
                raise ValueError("make_fast expects transformers of one block with 1x1 convolutions around it")
            module.__class__ = FastSpatialTransformer
            _fuse(module, "qkv_weight", module.block.attn1)
            _join_tail(module)
        elif isinstance(module, AnimateDiffTransformer3D):
            if len(module.transformer_blocks) != 1:
                raise ValueError("make_fast expects motion modules of one block")
            module.__class__ = FastMotionModule
            block = module.transformer_blocks[0]
            _fuse(module, "qkv_weight", block.attn1)
            _fuse(module, "qkv_weight_2", block.attn2)
            _join_tail(module)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def compile_blocks(network: nn.Module) -> None:
    """Compile the blocks of a rearranged network, each kind once per size of its input, at their first calls.

    Blocks of one shape share their code, so this takes a fraction of what compiling the whole network does.
    """
    # Every block runs through the same Python function; the default limit of 8 shapes would leave most uncompiled.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 256)
    for module in network.modules():
        if isinstance(module, FastResnet):
            module.compile(dynamic=False)
        elif isinstance(module, FastSpatialTransformer | FastMotionModule):
            module.compiled = True


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The part of a block that is worth compiling; what is overwritten in place stays outside."""
    return torch.compile(function, dynamic=False)


def _is_plain(block: ResnetBlock2D) -> bool:
    """Whether a residual block has nothing but two convolutions, two norms, SiLU and perhaps a time step."""
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


def _repeats_pixels(module: Upsample2D) -> bool:
    """Whether an upsampling doubles by repeating pixels, with a 3x3 convolution behind it."""
    return (
        module.use_conv
        and not module.use_conv_transpose
        and module.interpolate
        and module.norm is None
        and isinstance(getattr(module, "conv", None), nn.Conv2d)
        and module.conv.kernel_size == (3, 3)
    )


def phase_weight(weight: Tensor) -> Tensor:
    """Weights (4c', c, 2, 2) that do to an image what (c', c, 3, 3) do to the doubled one, for `rows.interleave`.

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


def _fuse(module: nn.Module, name: str, attention: Any) -> None:
    """Keep the three projections as one matrix that follows the module's device and dtype and is never saved."""
    fused = torch.cat([attention.to_q.weight, attention.to_k.weight, attention.to_v.weight])
    module.register_buffer(name, fused, persistent=False)


def _join_tail(module: Any) -> None:
    """Keep what comes after a block's gates as one matrix."""
    weight = tail_weight(module.proj_out, module.transformer_blocks[0].ff.net[2])
    module.register_buffer("tail_weight", weight, persistent=False)


def _finish(module: Any, hidden: Tensor, tokens: Tensor, added: Tensor, bias: Tensor | None) -> Tensor:
    """The feed-forward of a transformer's block and its projection, added to its input (b·f, c, h, w)."""
    block = module.transformer_blocks[0]
    gates = block.ff.net[0]
    function = finish_in_place
    if not fits(tokens, gates.paired_weight):
        function = _compiled(finish) if module.compiled else finish
    out = function(_tokens(hidden), tokens, added, bias, block.norm3, gates, module.tail_weight)
    return _image(out, hidden)


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


def _plus(x: Tensor, shared: Tensor) -> Tensor:
    """x (b·n, ...) + what all b share (n, ...)."""
    return (x.unflatten(0, (-1, len(shared))) + shared).flatten(0, 1)


def _tokens(image: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, h·w, c); free of charge for channels-last images."""
    return image.permute(0, 2, 3, 1).flatten(1, 2)


def _image(tokens: Tensor, like: Tensor) -> Tensor:
    """(b, h·w, c) -> (b, c, h, w), channels-last."""
    return tokens.unflatten(1, like.shape[-2:]).permute(0, 3, 1, 2)
