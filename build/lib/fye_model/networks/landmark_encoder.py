"""The landmark encoder: drawn landmarks to features that are added to the denoiser's first convolution."""

from __future__ import annotations

from diffusers.configuration_utils import register_to_config
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from torch import Tensor

from fye_model.networks.base import Network


class LandmarkEncoder(Network):
    """Convolutions over each frame; one halving per step of `channels`, the last layer starting at zero. [release]"""

    @register_to_config
    def __init__(self, out_channels: int = 320, channels: tuple[int, ...] = (16, 32, 96, 256)) -> None:
        super().__init__()
        self.embedding = ControlNetConditioningEmbedding(out_channels, 3, tuple(channels))
        self.factor = 2 ** (len(channels) - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, out_channels, f, h, w) of landmark pictures (b, 3, f, H, W) with values in [0, 1].

        ValueError when H or W is not a multiple of the encoder's factor (8 at the paper's size).
        """
        height, width = images.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"landmark pictures are {width}x{height} pixels, but width and height must be multiples of "
                f"{self.factor} (the latent grid); resize or pad them to "
                f"{-(-width // self.factor) * self.factor}x{-(-height // self.factor) * self.factor}"
            )
        batch = images.shape[0]
        features = self.embedding(images.transpose(1, 2).flatten(0, 1))
        return features.unflatten(0, (batch, -1)).transpose(1, 2)
