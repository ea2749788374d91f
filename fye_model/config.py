"""Every setting that changes a result, typed, frozen, with the paper's numbers as defaults.

`Recipe` is the whole configuration of a run. Its defaults are the paper's ([paper]), the released inference code's
([release]) or ours ([ours]), as marked; named recipes and users' YAML files override them
(`tasks/workspace/recipes.py`).
Settings that change speed but not results (workers, devices, logging) live in `Runtime` (`runtime.py`), and stay out of
cache keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fye_model.lip_sync.settings import LipSyncConfig
from fye_model.recipes import SCREENING_PRESETS
from fye_model.runtime import Runtime as Runtime
from fye_model.sampling import SamplingConfig as SamplingConfig
from fye_model.sampling import StepCacheConfig as StepCacheConfig
from fye_model.settings import Config as Config
from fye_model.settings import Fraction, Positive

# --- data -----------------------------------------------------------------------------------------------------------


class FootageConfig(Config):
    """How a source video is taken: what every stage may rely on."""

    fps: Annotated[float, Field(gt=0)] = 25.0  # [ours] constant rate, frames picked by timestamp
    max_side: Positive = 1920  # longer side of what is taken; never enlarged
    max_seconds: Annotated[float, Field(gt=0)] | None = None  # take only the start of each source
    max_corrupt_fraction: Fraction = 0.05  # more damaged frames than this: quarantine
    max_hold_s: Annotated[float, Field(gt=0)] = 2.0  # a frame shown longer than this is a hole in the video: quarantine


class IngestConfig(FootageConfig):
    """The same, and how a normalised copy is written. A run cuts its clips from the source and makes no such copy."""

    crf: Annotated[int, Field(ge=0, le=51)] = 14  # x264 quality of the normalised copy
    gop: Positive = 12  # short groups of pictures: cheap random access


class ClipConfig(Config):
    """Face tracks cut and cropped to square clips."""

    size: Positive = 512  # [paper] 512x512
    margin: Annotated[float, Field(ge=0)] = 0.5  # [ours] each side, as a fraction of the face track's union box
    faces: Literal["largest", "longest", "all"] = "largest"
    detect_stride: Positive = 5  # detect on every n-th frame when tracking; landmarks later see every frame
    max_gap_frames: Annotated[int, Field(ge=0)] = (
        5  # longer gaps split the clip; shorter ones are interpolated, flagged
    )
    min_frames: Positive = 24
    max_frames: Positive = 500
    scene_threshold: Annotated[float, Field(gt=0)] = 27.0  # PySceneDetect content threshold
    crf: Annotated[int, Field(ge=0, le=51)] = 12

    @model_validator(mode="after")
    def _check(self) -> ClipConfig:
        if self.size % 8:
            raise ValueError(f"clips.size must be divisible by 8 (the latent grid), got {self.size}")
        if self.max_frames < self.min_frames:
            raise ValueError(f"clips.max_frames ({self.max_frames}) is below clips.min_frames ({self.min_frames})")
        return self


class LandmarkConfig(Config):
    """Per-frame landmarks and the two masks."""

    expression_radius: Annotated[float, Field(gt=0, lt=1)] = 0.02  # [ours] of the face box's longer side
    max_gap_frames: Annotated[int, Field(ge=0)] = 5  # missed detections up to this long are interpolated and flagged


class ScreeningConfig(Config):
    """Thresholds applied to scores that the landmark stage stored; changing one recomputes nothing but the table.

    No threshold has an upper bound for what a face expresses: exaggerated expressions are what the data are for.
    """

    preset: Literal["default", "talkvid"] = "default"  # fills in what is not set here
    min_detection_rate: Fraction = 0.9
    min_face_fraction: Fraction = 0.15  # face height over clip height
    min_sharpness: Annotated[float, Field(ge=0)] = 5.0  # variance of the Laplacian of the face crop, 8-bit grey levels
    brightness: tuple[float, float] = (20.0, 240.0)  # mean grey level
    max_looks_apart: Annotated[float, Field(gt=0)] | None = 0.013  # of a doubtful face (tasks/faces/plausible.py)
    max_yaw_deg: Annotated[float, Field(gt=0)] = 75.0
    min_valid_frames: Positive = 24
    min_motion: Annotated[float, Field(ge=0)] = 0.0  # landmark path per second, in interocular distances; 0: off
    min_expression_range_mm: Annotated[float, Field(ge=0)] = 0.0  # spread of the pose-free face; 0: off
    # The head once a second (tasks/faces/scores.py says how); None and 0: off
    min_completeness: Fraction = 0.0  # frames with a face, short gaps filled in, over all
    max_mean_movement: Annotated[float, Field(ge=0)] | None = None  # from second to second, of the shorter side
    max_movement: Annotated[float, Field(ge=0)] | None = None
    max_mean_turn_deg: Annotated[float, Field(ge=0)] | None = None  # from second to second
    max_turn_deg: Annotated[float, Field(ge=0)] | None = None
    max_mean_off_axis_deg: Annotated[float, Field(ge=0)] | None = None  # away from the camera
    max_off_axis_deg: Annotated[float, Field(ge=0)] | None = None
    min_inside: Fraction = 0.0  # of eyes, nose and mouth within the picture, at the worst second
    min_mean_face_area: Fraction = 0.0  # of the picture
    min_face_area: Fraction = 0.0
    max_not_alone: Annotated[int, Field(ge=0)] | None = None  # seconds without exactly one face
    # cheap signs of what lies over the face or on the picture (tasks/faces/overlays.py says what they miss); None: off
    max_covered: Fraction | None = None  # of the face, by hands and things that come and go
    max_lettering: Fraction | None = None  # longest line of subtitles or marks, of the picture's width
    max_sync_offset_s: Annotated[float, Field(ge=0)] | None = None  # of sound from lips; needs lip_sync.weights
    min_sync_confidence: Annotated[float, Field(ge=0)] | None = None  # likewise; a clip without sound is not judged
    # clips that change alike from here on are copies, of which one is kept (tasks/footage/duplicates.py); 1: off
    copy_correlation: Fraction = 0.6

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: object) -> object:
        """The preset's thresholds under those that are given."""
        if isinstance(values, dict) and values.get("preset") in SCREENING_PRESETS:
            return {**SCREENING_PRESETS[values["preset"]], **values}
        return values


class SplitConfig(Config):
    """What training never sees. `subject` keeps whole subjects apart, `tail` the end of every clip."""

    by: Literal["subject", "clip", "tail", "all"] = "subject"  # "all": nothing trains, everything is evaluated
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.05
    seed: int = 0
    subjects: Positive | None = None  # with by: subject, train on so many alone; fewer are among more. None: all

    @model_validator(mode="after")
    def _check(self) -> SplitConfig:
        if self.subjects is not None and self.by not in ("subject", "all"):
            raise ValueError(f"split.subjects needs split.by subject, which is {self.by}: set that, or leave it out")
        return self


# --- networks -------------------------------------------------------------------------------------------------------


class AutoencoderConfig(Config):
    """The latent space: a given AutoencoderKL folder, or a small one fitted on the clips when none is at hand."""

    path: Path | None = None  # [paper] stabilityai/sd-vae-ft-mse, as a local folder
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: Positive = 2
    norm_num_groups: Positive = 32
    latent_channels: Positive = 4
    fit_steps: Annotated[int, Field(ge=0)] = 0  # 0: nothing is fitted, `path` is required
    fit_batch_size: Positive = 16
    fit_learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    fit_kl_weight: Annotated[float, Field(ge=0)] = 1e-6
    # added weight of the pixels around eyes, brows and lips: few, and what they show is what a face says [ours]
    fit_expression_weight: Annotated[float, Field(ge=0)] = 0.0
    fit_seed: int = 0

    @property
    def factor(self) -> int:
        """Pixels per latent cell along one side."""
        return 2 ** (len(self.block_out_channels) - 1)


class ImageEncoderConfig(Config):
    """CLIP vision tower for the image prompt: a given folder, or a small frozen random one."""

    path: Path | None = None  # [paper] CLIP ViT-L/14, as a local folder (the `image_encoder` of sd-image-variations)
    hidden_size: Positive = 1024
    intermediate_size: Positive = 4096
    layers: Positive = 24
    heads: Positive = 16
    image_size: Positive = 224
    patch_size: Positive = 14
    seed: int = 0  # of the random weights, when `path` is not given


class JitterConfig(Config):
    """Other crops of each clip to train on: a face that always sits in one place is drawn there, always. [ours]"""

    crops: Annotated[int, Field(ge=0)] = 0  # besides the clip itself; each costs its encoding once, and its disk space
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.25  # a crop's side is between 1 - zoom and 1 of the clip's
    mirror: bool = True  # every other crop is mirrored
    seed: int = 0


class LatentConfig(Config):
    """What is encoded once per clip so that training need not: latents of all frames, image tokens of a few."""

    references: Positive = 16  # [ours] candidate reference frames of a clip, spread over its valid frames
    precision: Literal["fp16", "fp32"] = "fp16"  # as stored
    jitter: JitterConfig = JitterConfig()


class NetworkConfig(Config):
    """Appearance net, denoiser, landmark encoder and image prompt (Stable Diffusion 1.5 sizes)."""

    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: Positive = 2
    attention_heads: Positive = 8
    cross_attention_dim: Positive = 768
    norm_num_groups: Positive = 32
    motion_heads: Positive = 8
    motion_max_frames: Positive = 32
    motion_norm_num_groups: Positive | None = None  # None: as norm_num_groups; the released code always has 32
    landmark_channels: tuple[int, ...] = (16, 32, 96, 256)  # [release]
    # [paper] / [release] / [ours] a Q-Former behind the released linear one, starting as the identity
    image_prompt: Literal["qformer", "linear", "linear_qformer"] = "qformer"
    qformer_layers: Positive = 4  # [paper]
    qformer_tokens: Positive = 16  # [ours]
    qformer_heads: Positive = 12  # [ours]
    covered_latents: bool = True  # [paper] 4 covered-video + 1 flag channels, starting at zero
    unet: Path | None = None  # [paper] lambdalabs/sd-image-variations-diffusers `unet` folder
    motion_modules: Path | None = None  # [paper] mm_sd_v15_v2 checkpoint (AnimateDiff)


class NoiseConfig(Config):
    """Forward process. [release, paper]"""

    train_timesteps: Positive = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: Literal["scaled_linear", "linear"] = "scaled_linear"
    zero_terminal_snr: bool = True
    prediction: Literal["v_prediction", "epsilon"] = "v_prediction"


# --- training -------------------------------------------------------------------------------------------------------


class LossConfig(Config):
    """L = L_diffusion + lambda_expression D(M_e) + lambda_face D(M_f). [paper]; the settings are ours."""

    lambda_expression: Annotated[float, Field(ge=0)] = 1.0
    lambda_face: Annotated[float, Field(ge=0)] = 1.0
    norm_p: Annotated[float, Field(ge=1)] = 2.0  # below 1 the gradient has no bound at zero error
    timestep_weight: Literal["none", "linear", "min_snr"] = "none"
    min_snr_gamma: Annotated[float, Field(gt=0)] = 5.0
    min_alpha_bar: Annotated[float, Field(gt=0, lt=1)] = 1e-3  # floor for the epsilon-prediction estimate


class CoveringConfig(Config):
    """Progressive covering of stage 2. [paper]"""

    all_but_ends: Fraction = 0.5  # probability of covering all frames but the first and last
    everything: Fraction = 0.0  # [ours] probability of covering every frame, as the first inference pass does
    per_frame: Fraction = 0.5  # otherwise, each frame's own probability

    @model_validator(mode="after")
    def _check(self) -> CoveringConfig:
        if self.all_but_ends + self.everything > 1:
            raise ValueError(
                f"train.covering: all_but_ends ({self.all_but_ends}) + everything ({self.everything}) exceed 1; "
                "they are probabilities of exclusive choices"
            )
        return self


class LandmarkImageConfig(Config):
    """How landmarks are drawn for the landmark encoder."""

    variant: Literal["expression_aware", "plain_2d", "with_contour", "without_pupils"] = "expression_aware"


class TrainStageConfig(Config):
    """One of the two training stages."""

    steps: Positive
    batch_size: Positive = 32  # [paper]
    frames: Positive = 1
    frame_stride: Positive = 1
    min_reference_distance: Annotated[int, Field(ge=0)] = 0  # frames between reference and nearest target
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5  # [paper]
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    decay: Literal["constant", "cosine"] = "constant"  # of the learning rate after warm-up; cosine ends at 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    grad_clip: Annotated[float, Field(gt=0)] = 1.0
    accumulate: Positive = 1  # micro-batches per step; batch_size counts the sum
    condition_dropout: Fraction = 0.1  # image condition, for guidance
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0  # 0: no EMA
    checkpoint_every: Positive = 1000
    keep_last: Positive = 3  # full (resumable) checkpoints; weights of all are kept for selection
    validate_every: Positive = 1000
    validation_batches: Positive = 4
    precision: Literal["fp32", "bf16"] = "bf16"
    # bf16: the step runs on a bf16 copy of single-precision weights, with kernels made for it, instead of under
    # autocast; needs precision bf16. On a GPU twice as fast; numbers differ within the rounding of bf16
    working_weights: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool = False
    seed: int = 0

    @model_validator(mode="after")
    def _check(self) -> TrainStageConfig:
        if self.working_weights == "bf16" and self.precision != "bf16":
            raise ValueError(
                f"train: working_weights bf16 needs precision bf16, and precision is {self.precision}: "
                "set precision to bf16, or working_weights to fp32"
            )
        return self


class TrainConfig(Config):
    """Both stages and what they share."""

    stage1: TrainStageConfig = TrainStageConfig(steps=30_000)  # [paper]
    stage2: TrainStageConfig = TrainStageConfig(steps=10_000, frames=16)  # [paper]
    loss: LossConfig = LossConfig()
    covering: CoveringConfig = CoveringConfig()
    landmark_image: LandmarkImageConfig = LandmarkImageConfig()


# --- inference and evaluation ---------------------------------------------------------------------------------------


class SelectionConfig(Config):
    """Ranking rule over checkpoints: lowest weighted rank of the two numbers wins."""

    loss_weight: Fraction = 0.5
    expression_weight: Fraction = 0.5
    clips: Positive = 2  # held-out clips reenacted per checkpoint
    frames: Positive = 8
    sampling_steps: Positive = 10


class EvaluationConfig(Config):
    """Self reenactment of held-out frames: one is the reference, the others drive and are ground truth.

    Beside it cross reenactment, where two or more people are held out: somebody else's frames drive the reference.
    """

    frames: Positive = 64  # [paper]
    size: Positive = 256  # [paper]
    clips: Positive | None = None  # None: all held-out segments
    # The reference: the first of the held-out frames taken [paper], or the clip's frame that is furthest from them in
    # pose and expression, so that repeating it is wrong [ours]
    protocol: Literal["first", "far"] = "first"
    # Which held-out frames are taken where there are more: those from the start on, or those in which most moves [ours]
    window: Literal["start", "moving"] = "start"
    # Cross reenactments; None: as many as clips are evaluated, each clip's reference performing once; 0: none [ours]
    cross_pairs: Annotated[int, Field(ge=0)] | None = None


class PromotionConfig(Config):
    """When a retrained model takes the place of the one in use: better in all of `better`, worse in nothing."""

    better: tuple[Literal["expression", "picture"], ...] = ("expression",)
    not_worse: tuple[Literal["expression", "picture", "identity"], ...] = ("picture", "identity")
    clips: Positive = 5  # held-out clips that both were measured on


class Recipe(Config):
    """A whole run. Defaults are the paper's."""

    name: str = "paper"
    ingest: IngestConfig = IngestConfig()
    clips: ClipConfig = ClipConfig()
    landmarks: LandmarkConfig = LandmarkConfig()
    lip_sync: LipSyncConfig = LipSyncConfig()
    screening: ScreeningConfig = ScreeningConfig()
    split: SplitConfig = SplitConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    image_encoder: ImageEncoderConfig = ImageEncoderConfig()
    latents: LatentConfig = LatentConfig()
    networks: NetworkConfig = NetworkConfig()
    noise: NoiseConfig = NoiseConfig()
    train: TrainConfig = TrainConfig()
    sampling: SamplingConfig = SamplingConfig()
    selection: SelectionConfig = SelectionConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    promotion: PromotionConfig = PromotionConfig()

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        self.lip_sync.check(self.screening.max_sync_offset_s, self.screening.min_sync_confidence)
        return self
