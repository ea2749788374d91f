"""Whether the components of a pipeline are of one model."""

from __future__ import annotations

from typing import Any


def check_components(pipe: Any, vae_factor: int) -> None:
    """Raise `ValueError` when two components' configurations do not go together, naming both settings."""
    vae, denoiser, appearance = pipe.vae.config, pipe.denoiser.config, pipe.appearance_net.config
    prompt, landmark = pipe.image_prompt.config, pipe.landmark_encoder.config
    pairs = [
        ("vae.latent_channels", vae["latent_channels"], "denoiser.in_channels", denoiser["in_channels"]),
        (
            "image_encoder.hidden_size",
            pipe.image_encoder.config.hidden_size,
            "image_prompt.image_dim",
            prompt["image_dim"],
        ),
        (
            "landmark_encoder.out_channels",
            landmark["out_channels"],
            "denoiser.block_out_channels[0]",
            denoiser["block_out_channels"][0],
        ),
        ("landmark_encoder's factor", pipe.landmark_encoder.factor, "vae's factor", vae_factor),
        *(
            (f"appearance_net.{key}", appearance[key], f"denoiser.{key}", denoiser[key])
            for key in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim")
        ),
        (
            "image_prompt.cross_attention_dim",
            prompt["cross_attention_dim"],
            "denoiser.cross_attention_dim",
            denoiser["cross_attention_dim"],
        ),
    ]
    wrong = [f"{a} is {x} and {b} is {y}" for a, x, b, y in pairs if _plain(x) != _plain(y)]
    if wrong:
        raise ValueError(f"these components are not of one model: {'; '.join(wrong)}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
