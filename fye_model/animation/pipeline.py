"""`FollowYourEmojiPipeline`: a portrait and landmark pictures in, the animated portrait out, as diffusers does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModel

from fye_model.animation import components
from fye_model.animation.card import CARD, write_card
from fye_model.animation.compatibility import check_components, check_folder
from fye_model.animation.counted import CountedSteps
from fye_model.animation.description import DESCRIPTION, ModelDescription, read_description
from fye_model.animation.inputs import LandmarkSource, Picture, landmark_source, landmark_tensor, portrait_image
from fye_model.animation.loading import add_networks, check_complete, local_folder, silent_bars
from fye_model.animation.memory import Saving, on_card
from fye_model.animation.output import FollowYourEmojiOutput, as_output, joined
from fye_model.animation.overlap import overlap_latents
from fye_model.animation.performing import PerformingMixin
from fye_model.animation.precision import CarefulSampler, decode_carefully
from fye_model.animation.progressive import FrameNoise, WindowStore, progressive_latents
from fye_model.animation.request import Request, check_callback_inputs
from fye_model.animation.sampler import Conditions, WindowSampler
from fye_model.animation.schedule import Window, overlap_windows, progressive_windows
from fye_model.animation.step_cache import StepCache
from fye_model.config import StepCacheConfig
from fye_model.fast.path import FastPath
from fye_model.fast.report import FastReport
from fye_model.files import share_folder
from fye_model.networks.appearance_net import AppearanceNet
from fye_model.networks.bundle import COMPONENTS
from fye_model.networks.denoiser import Denoiser
from fye_model.networks.image_prompt import ImagePrompt
from fye_model.networks.landmark_encoder import LandmarkEncoder
from fye_model.networks.weights import first_line

__all__ = ["FollowYourEmojiOutput", "FollowYourEmojiPipeline"]

Landmarks = LandmarkSource | np.ndarray | Tensor | Sequence[Image.Image]
Callback = Callable[["FollowYourEmojiPipeline", int, int, dict[str, Any]], dict[str, Any] | None]


class FollowYourEmojiPipeline(PerformingMixin, DiffusionPipeline):
    """Animates a portrait with landmark pictures. A model folder is what `save_pretrained` writes.

    Components whose configurations do not go together are a `ValueError`. The progressive strategy relies on the
    covered-latent input that stage 2 trains: a model that never trained it (released 4-channel weights, stage 1 alone)
    still keeps its keyframes, but is told about them only through the noisy latents of the kept frames.
    """

    model_cpu_offload_seq = "image_encoder->image_prompt->appearance_net->landmark_encoder->denoiser->vae"  # type: ignore[assignment]
    _callback_tensor_inputs = ("latents",)
    vae: AutoencoderKL
    image_encoder: CLIPVisionModel
    feature_extractor: Any
    appearance_net: AppearanceNet
    denoiser: Denoiser
    landmark_encoder: LandmarkEncoder
    image_prompt: ImagePrompt
    scheduler: Any

    def __init__(
        self,
        vae: AutoencoderKL,
        image_encoder: CLIPVisionModel,
        feature_extractor: Any,
        appearance_net: AppearanceNet,
        denoiser: Denoiser,
        landmark_encoder: LandmarkEncoder,
        image_prompt: ImagePrompt,
        scheduler: Any,
    ) -> None:
        super().__init__()
        self._fast: FastPath | None = None
        self.saving = Saving.NOTHING  # of graphics memory
        self.description: ModelDescription | None = None
        self.register_modules(
            vae=vae,
            image_encoder=image_encoder,
            feature_extractor=feature_extractor,
            appearance_net=appearance_net,
            denoiser=denoiser,
            landmark_encoder=landmark_encoder,
            image_prompt=image_prompt,
            scheduler=scheduler,
        )
        self.vae_scale_factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
        check_components(self, self.vae_scale_factor)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **kwargs: Any) -> Self:  # type: ignore[override]
        """Load a model folder that `save_pretrained` wrote, or the name of one on the hub (`org/name`); takes `dtype`,
        `variant` and components, and of the hub `revision`, `token`, `cache_dir` and `local_files_only`.

        Weights must fit exactly, and nothing in the folder is run. Raises `ValueError` that names the file.
        """
        root = local_folder(folder, kwargs)
        check_folder(root, kwargs)
        read_description(root)
        with silent_bars():
            add_networks(root, kwargs)
            try:
                return super().from_pretrained(str(root), **kwargs)
            except OSError as error:
                raise ValueError(f"{root} is not a whole model folder: {first_line(error)}") from error

    def register_to_config(self, **kwargs: Any) -> None:
        """As diffusers', which ends loading with it, also where `DiffusionPipeline.from_pretrained` was called: there
        it is seen whether weights are missing, and what the folder says about itself is read. Raises `ValueError`."""
        super().register_to_config(**kwargs)
        root = kwargs.get("_name_or_path")
        if root is not None and Path(root).is_dir():
            check_complete(self.components, Path(root))
            self.description = read_description(Path(root))

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:  # type: ignore[override]
        """Write a model folder: a folder per component, `model_index.json`, and, from the description, `fye.json` and a
        model card."""
        named = {name: (components.__name__, kind.__name__) for name, kind in COMPONENTS.items()}
        self.register_to_config(**named)
        with silent_bars():
            super().save_pretrained(str(save_directory), **kwargs)
        for name in self.components:
            share_folder(Path(save_directory) / name)
        if self.description is not None:
            self.description.write(Path(save_directory))
            write_card(Path(save_directory), self.description)
        else:  # what an earlier model left there would not be true of this one
            for name in (DESCRIPTION, CARD):
                (Path(save_directory) / name).unlink(missing_ok=True)

    @property
    def device(self) -> torch.device:
        """Where it draws: networks that wait beside the card (`memory`), or that hooks bring there, do not count."""
        drawing = (part.device for part in (self.denoiser, self.vae) if not hasattr(part, "_hf_hook"))
        return next(drawing, super().device)

    # --- what a caller uses -----------------------------------------------------------------------------------------

    def __call__(
        self,
        reference_image: Picture,
        landmarks: Landmarks,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 30,
        guidance_scale: float = 3.5,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        strategy: str = "progressive",
        window: int = 16,
        overlap: int = 4,
        step_cache: StepCacheConfig | Mapping[str, object] | None = None,
        output_type: str = "pil",
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        return_dict: bool = True,
        decode_chunk_size: int = 8,
        shared_noise: float = 0.0,
    ) -> FollowYourEmojiOutput | tuple[Any]:
        """Animate `reference_image` with `landmarks`, one frame per landmark picture.

        - reference_image: PIL of any mode, array (h, w, 3), tensor (3, h, w); cropped around its centre to
          `height` x `width`, which default to the size of the landmark pictures and must be divisible by 8.
        - landmarks: array (f, h, w, 3) or tensor (f, 3, h, w), uint8 or in [0, 1], list of PIL, or a lazy source
          (`DrawnLandmarks`).
        - strategy: `progressive` (keyframes, then recursive infilling) or `overlap` (windows averaged at every step, as
          the released code does; memory grows with the length). `window`: frames denoised together, at most what the
          motion modules have positions for. `overlap`: frames shared by neighbouring windows of that strategy.
        - guidance_scale: 1 or less runs without the unconditional half.
        - latents: initial noise (1, 4, f, height / 8, width / 8) instead of drawing it from `generator`.
        - step_cache: settings for skipping work between steps, as `StepCacheConfig` or a dict; approximate.
        - output_type: `pil`, `np`, `pt` (on the CPU) or `latent`; see `FollowYourEmojiOutput`.
        - callback_on_step_end(pipe, step, timestep, {"latents": ...}): called after each step of each window (steps are
          counted through), with the latents of that window; may return changed ones.
        - shared_noise: share of the noise's variance that frames have in common; decode_chunk_size: decoded together.

        Returns `FollowYourEmojiOutput`, or `(frames,)` with `return_dict=False`. Raises `ValueError` that says what was
        expected. All frames are held in memory; `stream` hands them out as they are finished.
        """
        what: tuple[Any, ...] = reference_image, landmarks, height, width
        how: tuple[Any, ...] = num_inference_steps, guidance_scale, generator, latents
        where: tuple[Any, ...] = strategy, window, overlap, step_cache, output_type
        watched: tuple[Any, ...] = callback_on_step_end, callback_on_step_end_tensor_inputs, decode_chunk_size
        settings: tuple[Any, ...] = (*what, *how, *where, *watched, None, shared_noise)
        frames = joined(list(self.stream(*settings)), output_type)
        return FollowYourEmojiOutput(frames=frames) if return_dict else (frames,)

    def stream(
        self,
        reference_image: Picture,
        landmarks: Landmarks,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 30,
        guidance_scale: float = 3.5,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        strategy: str = "progressive",
        window: int = 16,
        overlap: int = 4,
        step_cache: StepCacheConfig | Mapping[str, object] | None = None,
        output_type: str = "pil",
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        decode_chunk_size: int = 8,
        store: WindowStore | None = None,
        shared_noise: float = 0.0,
    ) -> Iterator[Any]:
        """Hand out finished frames in playing order, a few at a time: lists of PIL, arrays or tensors.

        The arguments and errors are those of calling the pipeline, and are checked at once. With the progressive
        strategy memory does not grow with the length when `landmarks` is a lazy source, and `store` keeps finished
        windows for a later call with the same arguments, which then computes the others.
        """
        source = landmark_source(landmarks)
        request = Request(
            source=source,
            height=height or source.height,
            width=width or source.width,
            steps=num_inference_steps,
            guidance_scale=guidance_scale,
            generator=generator,
            latents=latents,
            strategy=strategy,
            window=window,
            overlap=overlap,
            step_cache=StepCacheConfig.model_validate(step_cache) if isinstance(step_cache, Mapping) else step_cache,
            output_type=output_type,
            decode_chunk_size=decode_chunk_size,
            shared_noise=shared_noise,
        )
        request.check(self.denoiser, self.vae_scale_factor, self.scheduler.config.num_train_timesteps)
        check_callback_inputs(callback_on_step_end_tensor_inputs, self._callback_tensor_inputs)
        return self._generate(request, reference_image, callback_on_step_end, store)

    def enable_fast_path(self, compile: bool = False) -> FastReport:
        """Rearrange denoiser and VAE for speed; the same function within the precision of their dtype (see `fast`).

        On a GPU the denoiser's work for the most frequent size of a video's windows is recorded and repeated, and so
        is the encoding of portraits from the second one on (`fast.replay`).

        compile: hand the denoiser's blocks to `torch.compile`, for that size. That takes about a minute once per size
        and makes a frame a tenth faster, which pays from about two thousand frames on, or when one process makes many
        videos. Call it again after changing weights. Move the pipeline to its device first: that is what is reported.

        Returns what is in use and what is not, with the reasons; as text it is one line, which is logged too. Raises
        `ValueError` for an offloaded pipeline.
        """
        self.disable_fast_path()
        encoders = self.vae, self.image_encoder, self.image_prompt, self.appearance_net, self.denoiser
        self._fast = FastPath(self.denoiser, self.vae, self._encode, encoders, compile)
        return self._fast.report

    def disable_fast_path(self) -> None:
        """Have the plain modules back, the very same ones, and free what was recorded; nothing if they are there."""
        if self._fast is not None:
            self._fast.undo()
            self._fast = None

    def forget_recordings(self) -> None:
        """Free what the fast path recorded; it is recorded anew when it is needed."""
        if self._fast is not None:
            self._fast.forget()

    def enable_vae_slicing(self) -> None:
        """Decode one frame at a time: less memory, somewhat slower."""
        self.vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        """Decode several frames together again."""
        self.vae.disable_slicing()

    # --- parts ------------------------------------------------------------------------------------------------------

    def _generate(
        self, request: Request, portrait: Picture, callback: Callback | None, store: WindowStore | None = None
    ) -> Iterator[Any]:
        """Finished frames of a request that was checked; the portrait is encoded at once."""
        length, window, source = len(request.source), request.window, request.source
        spans = overlap_windows(length, window, request.overlap) if request.strategy == "overlap" else []
        windows = progressive_windows(length, window) if request.strategy == "progressive" else []
        bar = self.progress_bar(total=max(len(windows), 1) * request.steps)
        on_step = CountedSteps(bar, request.steps, None if callback is None else partial(callback, self))
        sizes = [len(span) for span in spans] + [len(item.frames) for item in windows]
        careful = CarefulSampler(self, lambda: self._sampler(request, portrait, sizes))
        noise = self._noise(request)

        def denoise_window(item: Window, kept: Tensor | None) -> Tensor:
            earlier = None if store is None else store.get(item)
            if earlier is not None:
                return earlier.to(self._execution_device)
            here = torch.tensor(item.given) if kept is not None else None
            found = careful.run(
                lambda sampler: sampler.sample(
                    noise(item.frames), self._landmarks(source, item.frames), kept, here, on_step
                )
            )
            on_step.finish_window()
            if store is not None:
                store.put(item, found.cpu())
            return found

        def overlapping(sampler: WindowSampler) -> Tensor:
            features = {span: self._landmarks(source, span) for span in spans}
            return overlap_latents(spans, sampler, noise(range(length)), features.__getitem__, on_step)

        @torch.no_grad()
        def generate() -> Iterator[Any]:
            parts: Iterator[Tensor]
            if request.strategy == "progressive":
                parts = progressive_latents(windows, denoise_window)
            else:
                parts = iter([careful.run(overlapping)])
            with bar:
                for part in parts:
                    yield from self._decoded(part, request.output_type, request.decode_chunk_size)
            self.maybe_free_model_hooks()

        return generate()

    def _sampler(self, request: Request, portrait: Picture, sizes: list[int]) -> WindowSampler:
        """The sampler of a video under its portrait; `sizes` are the frames of its windows."""
        picture = portrait_image(portrait, request.width, request.height)
        skipping = request.step_cache if request.step_cache is not None and request.step_cache.skips else None
        cache = None if skipping is None else StepCache(skipping, request.steps)
        return WindowSampler(
            self.denoiser if self._fast is None else self._fast.denoise_for(sizes),
            self.scheduler,
            self.encode_portrait(picture, request.guidance_scale),
            request.steps,
            self._execution_device,
            self.denoiser.dtype,
            takes_given=self.denoiser.conv_given is not None,
            cache=cache,
            apart=self.saving >= Saving.HALVES,
        )

    def _noise(self, request: Request) -> FrameNoise:
        """The initial noise of each frame."""
        grid = request.height // self.vae_scale_factor, request.width // self.vae_scale_factor
        shape = (self.denoiser.config["in_channels"], *grid)
        return FrameNoise(shape, self._execution_device, request.generator, request.latents, request.shared_noise)

    @torch.no_grad()
    def encode_portrait(self, portrait: Image.Image, guidance_scale: float) -> Conditions:
        """Everything the denoiser needs to know about the portrait, computed once per video."""
        device = self._execution_device
        pixels = torch.from_numpy(np.asarray(portrait).copy()).to(device, self.vae.dtype).permute(2, 0, 1)[None]
        clip = self.feature_extractor(images=portrait, return_tensors="pt").pixel_values
        encode = self._encode if self._fast is None or self.saving else self._fast.encode
        context, features = encode(pixels / 127.5 - 1, clip.to(device, self.image_encoder.dtype), guidance_scale > 1)
        return Conditions(context, features, guidance_scale)

    def _encode(self, pixels: Tensor, clip: Tensor, guided: bool) -> tuple[Any, Any]:
        """Context and reference of `Conditions` for pixels (1, 3, h, w) in [-1, 1] and what the image encoder takes."""
        dtype = self.denoiser.dtype
        latent = self.vae.encode(pixels).latent_dist.mean * self.vae.config["scaling_factor"]
        with on_card(self, self.image_encoder):
            tokens = self.image_encoder(clip).last_hidden_state.to(dtype)
        with on_card(self, self.appearance_net):
            features = self.appearance_net(latent.to(dtype), self.image_prompt(tokens, "appearance"))
        unconditional = None
        if guided:
            unconditional = torch.arange(2, device=tokens.device) == 0
            tokens = tokens.expand(2, -1, -1)
        context = self.image_prompt(tokens, "denoiser", unconditional)
        if hasattr(self.denoiser, "_hf_hook"):  # offloaded: its weights are there only while its forward runs
            return context, features
        return self.denoiser.project_context(context), self.denoiser.project_reference(features)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Latents (1, 4, f, h, w) -> pictures (f, 3, H, W) in [0, 1], float32, on the same device."""
        return decode_carefully(self, latents[0].transpose(0, 1) / self.vae.config["scaling_factor"])

    def _landmarks(self, source: LandmarkSource, frames: Sequence[int]) -> Tensor:
        """Landmark features (1, c, f, h, w), laid out channels-last as the image layers that they are added to."""
        encoder = self.landmark_encoder
        features = encoder(landmark_tensor(source, frames, self._execution_device, encoder.dtype))
        return features.permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)

    def _decoded(self, latents: Tensor, output_type: str, chunk: int) -> Iterator[Any]:
        if output_type == "latent":
            yield latents.cpu()
            return
        for part in latents.split(chunk, dim=2):
            yield as_output(self.decode_latents(part), output_type)
