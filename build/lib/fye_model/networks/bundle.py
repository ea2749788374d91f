"""The four networks together: what training steps and sampling steps call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from fye_model.files import whole_folder
from fye_model.networks.appearance_net import AppearanceNet
from fye_model.networks.attention import KeyValue
from fye_model.networks.denoiser import Denoiser
from fye_model.networks.image_prompt import ImagePrompt
from fye_model.networks.landmark_encoder import LandmarkEncoder
from fye_model.networks.weights import LoadReport, load_model

COMPONENTS = {
    "appearance_net": AppearanceNet,
    "denoiser": Denoiser,
    "landmark_encoder": LandmarkEncoder,
    "image_prompt": ImagePrompt,
}


@dataclass(frozen=True)
class Prepared:
    """What does not change over the sampling steps of one animation, projected once. Made by `Networks.prepare`."""

    context: list[KeyValue]
    reference: list[KeyValue] | None
    plain: int | Tensor


class Networks(nn.Module):
    """Appearance net, denoiser, landmark encoder and image prompt.

    Shapes: b items, f frames, (h, w) of the latent grid, (H, W) pixels; videos are (b, c, f, h, w). Where guidance
    runs both halves in one batch, the order is [unconditional, conditional].
    """

    reports: tuple[LoadReport, ...] = ()  # what `build_networks` loaded from the files of its configuration

    def __init__(
        self,
        appearance_net: AppearanceNet,
        denoiser: Denoiser,
        landmark_encoder: LandmarkEncoder,
        image_prompt: ImagePrompt,
    ) -> None:
        super().__init__()
        self.appearance_net = appearance_net
        self.denoiser = denoiser
        self.landmark_encoder = landmark_encoder
        self.image_prompt = image_prompt

    # --- computing --------------------------------------------------------------------------------------------------

    def reference_features(self, reference_latent: Tensor, image_tokens: Tensor) -> list[Tensor]:
        """Run the appearance net on latents (b, 4, h, w) of portraits with CLIP tokens (b, n, d), once per animation.

        Returns the input of each self-attention, (b, tokens, channels), in running order (see `AppearanceNet`).
        """
        return self.appearance_net(reference_latent, self.image_prompt(image_tokens, "appearance"))

    def landmark_features(self, images: Tensor) -> Tensor:
        """Encode landmark pictures (b, 3, f, H, W) in [0, 1] to features (b, C, f, h, w)."""
        return self.landmark_encoder(images)

    def prepare(
        self,
        reference: Sequence[Tensor] | None,
        image_tokens: Tensor,
        unconditional: Tensor | Sequence[bool] | None = None,
    ) -> Prepared:
        """Project reference features and image tokens to the keys and values that all sampling steps share.

        Either may have a batch of 1 when `unconditional` has one entry per item: `prepare(features, tokens,
        [True, False])` serves guidance with one portrait.
        """
        if unconditional is not None and image_tokens.shape[0] == 1:
            image_tokens = image_tokens.expand(len(unconditional), -1, -1)
        plain, marked = _plain_items(unconditional, image_tokens)
        context = self.denoiser.project_context(self.image_prompt(image_tokens, "denoiser", marked))
        if reference is None or (isinstance(plain, int) and plain == image_tokens.shape[0]):
            return Prepared(context, None, 0)
        return Prepared(context, self.denoiser.project_reference(reference), plain)

    def denoise(
        self,
        noisy: Tensor,
        t: Tensor | int,
        landmark_features: Tensor | None = None,
        reference: Sequence[Tensor] | None = None,
        image_tokens: Tensor | None = None,
        given: Tensor | None = None,
        unconditional: Tensor | Sequence[bool] | None = None,
        temporal: bool = True,
        *,
        prepared: Prepared | None = None,
        deep_features: Tensor | None = None,
        return_deep: bool = False,
        depth: int = 1,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the network's prediction (b, 4, f, h, w) for noisy (b, 4, f, h, w) at timestep t, a number or (b,).

        - `landmark_features` (b, C, f, h, w) or None; they stay on for unconditional items.
        - `reference`: the list that `reference_features` returns, of batch b or 1, or None for plain self-attention.
        - `image_tokens` (b, n, d): CLIP tokens.
        - `given` (b, 5, f, h, w): clean latents where known and zeros where covered, and a flag channel (1 = given).
          None means that all is covered.
        - `unconditional` (b,): items with plain self-attention and image tokens set to zero before the projection. A
          list or a CPU tensor whose marked items come first runs them without the reference's tokens; any other
          pattern, or a tensor on the GPU, is handled without a synchronisation at the cost of a masked item being no
          cheaper than an unmasked one.
        - `temporal=False` leaves the motion modules out (stage 1).
        - `prepared` (see `prepare`) replaces reference, image_tokens and unconditional over many steps.

        For step caching: `return_deep=True` also returns the features (b·f, c, h', w'), b-major, that enter the
        `depth` outermost levels of the up path. With these as `deep_features` (same depth, any step's or extrapolated),
        only the `depth` outermost down and up levels run, which are exact for the given input; the result equals the
        full run's when the deep features are that run's own. `depth` is 1 to levels − 1.

        ValueError for more frames than the motion modules' positions, or shapes that do not go together.
        """
        if prepared is None:
            if image_tokens is None:
                raise ValueError("denoise needs image_tokens, or what `prepare` made of them")
            if image_tokens.shape[0] == 1:
                image_tokens = image_tokens.expand(noisy.shape[0], -1, -1)
            prepared = self.prepare(reference, image_tokens, unconditional)
        timesteps = torch.as_tensor(t, device=noisy.device).expand(noisy.shape[0])
        return self.denoiser(
            noisy,
            timesteps,
            prepared.context,
            landmark_features,
            prepared.reference,
            given,
            prepared.plain,
            temporal,
            deep_features,
            return_deep,
            depth,
        )

    # --- training ---------------------------------------------------------------------------------------------------

    def temporal_parameters(self) -> dict[str, nn.Parameter]:
        """Motion modules and the covered-latent input channels: what stage 2 trains. [paper, ours]"""
        return {name: p for name, p in self.named_parameters() if _is_temporal(name)}

    def spatial_parameters(self) -> dict[str, nn.Parameter]:
        """Appearance net, spatial layers, landmark encoder, image prompt: what stage 1 trains. [paper]"""
        return {name: p for name, p in self.named_parameters() if not _is_temporal(name)}

    def trainable_parameters(self, stage: int) -> dict[str, nn.Parameter]:
        """The parameters of stage 1 or 2 by name. The two sets are disjoint and cover the networks.

        No gradient mask is needed: the covered-latent channels of the input convolution are a parameter of their own.
        """
        if stage not in (1, 2):
            raise ValueError(f"training stage is {stage}, expected 1 (spatial) or 2 (temporal)")
        return self.spatial_parameters() if stage == 1 else self.temporal_parameters()

    def set_stage(self, stage: int) -> dict[str, nn.Parameter]:
        """Let exactly the parameters of a stage require gradients, and return them."""
        trained = self.trainable_parameters(stage)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in trained)
        return trained

    def enable_gradient_checkpointing(self) -> None:
        """Trade time for memory: recompute each UNet layer in the backward pass."""
        self.appearance_net.enable_gradient_checkpointing()
        self.denoiser.enable_gradient_checkpointing()

    # --- storing ----------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write one subfolder per network (config.json and safetensors). Each appears complete or not at all."""
        for name in COMPONENTS:
            with whole_folder(folder / name) as temporary:
                getattr(self, name).save_pretrained(temporary)

    @classmethod
    def load(cls, folder: Path, expected: Mapping[str, Mapping[str, object]] | None = None) -> Self:
        """Load what `save` wrote.

        `expected` (from `build.component_arguments`) are the settings that the run's configuration asks for; a folder
        of another configuration is a ValueError that names each setting that differs.
        """
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder; expected one with {', '.join(COMPONENTS)}")
        loaded = {name: load_model(kind, folder / name) for name, kind in COMPONENTS.items()}
        for name, settings in (expected or {}).items():
            found = loaded[name].config
            if wrong := {k: (found[k], v) for k, v in settings.items() if _plain_value(found[k]) != _plain_value(v)}:
                listed = ", ".join(f"{key} is {a}, expected {b}" for key, (a, b) in wrong.items())
                raise ValueError(f"{folder / name} is of another configuration: {listed}; use that run's recipe")
        return cls(**loaded)


def _is_temporal(name: str) -> bool:
    return ".motion_modules." in name or name.startswith("denoiser.conv_given")


def _plain_items(unconditional: Tensor | Sequence[bool] | None, like: Tensor) -> tuple[int | Tensor, Tensor | None]:
    """How the denoiser is told which items are plain, and the bool tensor (b,) that marks them."""
    if unconditional is None:
        return 0, None
    marked = torch.as_tensor(unconditional, dtype=torch.bool)
    if marked.shape != like.shape[:1]:
        raise ValueError(f"unconditional has shape {tuple(marked.shape)}, expected one entry for each of {len(like)}")
    if marked.device.type == "cpu":
        flags = marked.tolist()
        first = sum(flags)
        if all(flags[:first]):
            return first, marked.to(like.device)
    marked = marked.to(like.device)
    return marked, marked


def _plain_value(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value
