"""A real pipeline at tiny size: every component is the real class, with random weights and nothing left at zero."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from fye_model.animation.description import Crop, ModelDescription
from fye_model.animation.pipeline import FollowYourEmojiPipeline
from fye_model.config import NetworkConfig, SamplingConfig
from fye_model.networks import build_networks

SIZE = 32  # pixels; the VAE and the landmark encoder both reduce by 4

NETWORKS = NetworkConfig(
    block_out_channels=(16, 32),
    layers_per_block=1,
    attention_heads=2,
    cross_attention_dim=16,
    norm_num_groups=8,
    motion_heads=2,
    landmark_channels=(4, 8, 8),
    qformer_layers=1,
    qformer_tokens=4,
    qformer_heads=2,
)


def describe_tiny(**changes: object) -> ModelDescription:
    """What a model of `build_tiny` could say about itself."""
    values = {
        "checkpoint": "random weights",
        "landmark_model": None,
        "landmark_variant": "expression_aware",
        "size": SIZE,
        "fps": 25.0,
        "crop": Crop(margin=0.5, faces=None),
        "max_gap_frames": 5,
        "sampling": SamplingConfig(),
    }
    return ModelDescription.model_validate(values | changes)


def build_tiny(seed: int = 0, **changes: object) -> FollowYourEmojiPipeline:
    """A tiny pipeline; `changes` go to the networks' configuration."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    )
    clip = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
        )
    )
    networks = build_networks(NETWORKS.model_copy(update=changes), image_encoder_dim=16)
    for parameter in networks.parameters():
        if not parameter.any():  # layers that start at zero would hide what they read
            torch.nn.init.normal_(parameter, std=0.1)
    pipe = FollowYourEmojiPipeline(
        vae=vae,
        image_encoder=clip,
        feature_extractor=CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        appearance_net=networks.appearance_net,
        denoiser=networks.denoiser,
        landmark_encoder=networks.landmark_encoder,
        image_prompt=networks.image_prompt,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
        ),
    )
    for part in (vae, clip, networks):
        part.eval()
    pipe.set_progress_bar_config(disable=True)
    return pipe
