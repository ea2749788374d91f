"""The image prompt: CLIP tokens of the portrait to the tokens that both networks' cross-attention reads."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from fye_model.networks.base import Network

Target = Literal["appearance", "denoiser"]


class Attention(nn.Module):
    """Multi-head attention from queries (b, n, c) to memory (b, m, d)."""

    def __init__(self, dim: int, memory_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(memory_dim, dim)
        self.to_v = nn.Linear(memory_dim, dim)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Return (b, n, c)."""
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (self.to_q(x), self.to_k(memory), self.to_v(memory))
        )
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers, four times as wide between."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, 4 * dim)
        self.out = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return x's shape."""
        return self.out(F.gelu(self.enter(x)))


class QFormerLayer(nn.Module):
    """Queries look at each other, then at the image, then through an MLP; each step is a residual on normed input."""

    def __init__(self, dim: int, memory_dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.image_attention = Attention(dim, memory_dim, heads)
        self.norm3 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Return refined queries (b, n, c) given image tokens (b, m, d)."""
        normed = self.norm1(queries)
        queries = queries + self.self_attention(normed, normed)
        queries = queries + self.image_attention(self.norm2(queries), memory)
        return queries + self.mlp(self.norm3(queries))

    def start_at_identity(self) -> None:
        """Zero the last layer of each residual, so that the queries pass unchanged until trained."""
        for layer in (self.self_attention.to_out, self.image_attention.to_out, self.mlp.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


class ImagePrompt(Network):
    """Maps CLIP `last_hidden_state` (b, n, image_dim) to cross-attention tokens (b, m, cross_attention_dim).

    Three kinds:
    - `linear` [release]: one Linear per network; m = n.
    - `qformer` [paper]: a Q-Former gathers the image into `tokens` learned queries; then one Linear per network.
    - `linear_qformer` [ours]: the Q-Former's queries are the linear tokens, and its residual branches start at zero. A
      model that was trained with `linear` (the released weights) gains a Q-Former and computes exactly what it did
      before, until it is trained further.
    """

    @register_to_config
    def __init__(
        self,
        kind: Literal["linear", "qformer", "linear_qformer"] = "qformer",
        image_dim: int = 1024,
        cross_attention_dim: int = 768,
        layers: int = 4,
        tokens: int = 16,
        heads: int = 12,
    ) -> None:
        super().__init__()
        if kind != "linear" and cross_attention_dim % heads:
            raise ValueError(
                f"networks.qformer_heads is {heads}, which does not divide networks.cross_attention_dim "
                f"({cross_attention_dim})"
            )
        dim = cross_attention_dim
        entry = dim if kind == "qformer" else image_dim
        self.appearance = nn.Linear(entry, dim)
        self.denoiser = nn.Linear(entry, dim)
        if kind == "linear":
            return
        stack = [QFormerLayer(dim, image_dim, heads) for _ in range(layers)]
        self.qformer = nn.ModuleList(stack)
        self.image_norm: nn.Module = nn.LayerNorm(image_dim)
        if kind == "qformer":
            self.queries = nn.Parameter(torch.randn(tokens, dim) * 0.02)
            self.norm = nn.LayerNorm(dim)
        else:
            for layer in stack:
                layer.start_at_identity()

    def forward(self, image_tokens: Tensor, target: Target, unconditional: Tensor | None = None) -> Tensor:
        """Return the tokens for one of the two networks.

        Items marked in `unconditional` (b,) bool have their image tokens set to zero first; biases stay. [release]
        """
        if unconditional is not None:
            image_tokens = image_tokens.masked_fill(unconditional[:, None, None], 0)
        head = self.appearance if target == "appearance" else self.denoiser
        kind = self.config["kind"]
        if kind == "linear":
            return head(image_tokens)
        if kind == "linear_qformer":
            return self._refine(head(image_tokens), self.image_norm(image_tokens))
        queries = self.queries.expand(image_tokens.shape[0], -1, -1)
        return head(self.norm(self._refine(queries, self.image_norm(image_tokens))))

    def _refine(self, queries: Tensor, memory: Tensor) -> Tensor:
        for layer in self.qformer:
            queries = layer(queries, memory)
        return queries
