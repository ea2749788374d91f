"""Every file from elsewhere that this software can use: what for, its licence, where it comes from, how it is known.

Nothing here is downloaded unasked but the landmark model, without which nothing runs. Places are those of the release's
own folder of pretrained models, so that such a folder can be given as it is.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Asset:
    """One file or folder.

    use: what it is for. reads: what of this software reads it. source: an address; of the file itself where `fetched`.
    place: its path in a folder of assets. sha256: whole, or its beginning where only that is published, None where
    nobody whom we can check says it. setting: the recipe's setting that names it. metrics: the missing metrics that it
    would fill in. fetched: `fye assets fetch` may download it.
    """

    name: str
    use: str
    reads: str
    licence: str
    source: str
    place: str
    sha256: str | None = None
    setting: str | None = None
    metrics: tuple[str, ...] = ()
    fetched: bool = False


_NOT_YET = "nothing in this version: the metric is reported as missing"
_RELEASE = "https://huggingface.co/YueMafighting/FollowYourEmoji/tree/main/ckpts"
_RELEASE_LICENCE = "not known to us: ask the authors"
_VARIATIONS = "https://huggingface.co/lambdalabs/sd-image-variations-diffusers"

FACE_LANDMARKER = Asset(
    name="face_landmarker",
    use="finds faces, their 478 points, pose and blendshapes (MediaPipe, float16/1)",
    reads="everything that looks at a face",
    licence="Apache-2.0",
    source="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
    "face_landmarker.task",
    place="face_landmarker.task",
    sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    fetched=True,
)

ASSETS: tuple[Asset, ...] = (
    FACE_LANDMARKER,
    Asset(
        name="attention_mesh",
        use="the landmark model where the usual one cannot be had; no pose, no blendshapes",
        reads="everything that looks at a face; made by itself where it is needed",
        licence="Apache-2.0",
        source="the mediapipe 0.10.21 wheel of a package registry",
        place="attention_mesh.task",
    ),
    Asset(
        name="sd-vae-ft-mse",
        use="the paper's autoencoder: pixels to latents and back",
        reads="training; fye import-release --autoencoder",
        licence="MIT",
        source="https://huggingface.co/stabilityai/sd-vae-ft-mse",
        place="sd-vae-ft-mse",
        setting="autoencoder.path",
    ),
    Asset(
        name="image_encoder",
        use="the paper's image encoder, CLIP ViT-L/14 of sd-image-variations",
        reads="training; fye import-release --image-encoder",
        licence="CreativeML OpenRAIL-M",
        source=f"{_VARIATIONS}/tree/main/image_encoder",
        place="sd-image-variations-diffusers/image_encoder",
        setting="image_encoder.path",
    ),
    Asset(
        name="unet",
        use="what the paper's networks start from",
        reads="training",
        licence="CreativeML OpenRAIL-M",
        source=f"{_VARIATIONS}/tree/main/unet",
        place="sd-image-variations-diffusers/unet",
        setting="networks.unet",
    ),
    Asset(
        name="mm_sd_v15_v2",
        use="AnimateDiff's motion modules, what the temporal layers start from",
        reads="training",
        licence="Apache-2.0",
        source="https://huggingface.co/guoyww/animatediff",
        place="AnimateDiff/mm_sd_v15_v2.ckpt",
        setting="networks.motion_modules",
    ),
    *(
        Asset(
            name=f"release_{file}",
            use=f"the authors' released weights: {what}",
            reads="fye import-release",
            licence=_RELEASE_LICENCE,
            source=_RELEASE,
            place=f"follow-your-emoji/{file}.pth",
        )
        for file, what in (
            ("referencenet", "the appearance net"),
            ("unet", "the denoiser"),
            ("lmk_guider", "the landmark encoder"),
        )
    ),
    Asset(
        name="lpips_backbone",
        use="LPIPS and tLP: AlexNet of torchvision",
        reads=_NOT_YET,
        licence="BSD-3-Clause; trained on ImageNet, which has terms of its own",
        source="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        place="lpips/alexnet-owt-7be5be79.pth",
        sha256="7be5be79",  # its name says so
        metrics=("lpips", "tlp"),
    ),
    Asset(
        name="lpips_linear",
        use="LPIPS and tLP: the linear layers, version 0.1, for AlexNet",
        reads=_NOT_YET,
        licence="BSD-2-Clause",
        source="https://github.com/richzhang/PerceptualSimilarity/tree/master/lpips/weights/v0.1",
        place="lpips/alex.pth",
        metrics=("lpips", "tlp"),
    ),
    Asset(
        name="i3d",
        use="FVD: I3D trained on Kinetics-400",
        reads=_NOT_YET,
        licence="Apache-2.0 (DeepMind's); conversions to PyTorch say nothing of their own",
        source="https://github.com/google-deepmind/kinetics-i3d",
        place="i3d/i3d_torchscript.pt",
        metrics=("fvd",),
    ),
    Asset(
        name="arcface",
        use="identity in cross reenactment: ResNet50@WebFace600K of InsightFace's pack buffalo_l",
        reads=_NOT_YET,
        licence="non-commercial research only",
        source="https://github.com/deepinsight/insightface/tree/master/model_zoo",
        place="buffalo_l/w600k_r50.onnx",
        metrics=("arcface",),
    ),
    Asset(
        name="hyperiqa",
        use="picture quality in cross reenactment: HyperIQA trained on KonIQ-10k",
        reads=_NOT_YET,
        licence="MIT (the code's; the weights have none of their own)",
        source="https://github.com/SSL92/hyperIQA",
        place="hyperiqa/koniq_pretrained.pkl",
        metrics=("hyperiqa",),
    ),
)
