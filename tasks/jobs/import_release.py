"""The authors' released weights as a model folder: the converted networks and the frozen parts that it leaves out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from fye_model.animation.description import Crop, ModelDescription
from fye_model.animation.folder import FrozenParts, assemble_pipeline, save_model
from fye_model.config import ClipConfig, ImageEncoderConfig, LandmarkConfig, NetworkConfig, NoiseConfig, SamplingConfig
from fye_model.files import write_atomic
from tasks.workspace.recipes import explain_problems

SIZE = 512  # [release]
ALONE = (
    "{output} holds the four networks alone. To animate with them, import again with --autoencoder (sd-vae-ft-mse) and "
    "--image-encoder (the image_encoder folder of sd-image-variations-diffusers)"
)


def import_model(
    source: Path,
    output: Path,
    autoencoder: Path | None = None,
    image_encoder: Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> str:
    """Convert the released files in `source`; return what was loaded into what, and what the folder is good for.

    With the folders of an autoencoder and an image encoder, `output` is a model folder that animates; without, it holds
    the four networks, and the answer says what is missing. settings: of the networks, on top of the released ones.
    `ValueError` for files that are missing, damaged or do not fit; nothing is left at `output` then.
    """
    from fye_model.networks.autoencoder import load_autoencoder
    from fye_model.networks.image_encoder import load_image_encoder
    from fye_model.release import RELEASED, check_output, import_release
    from fye_model.release.importing import REPORT

    try:
        config = NetworkConfig.model_validate({**RELEASED.model_dump(), **(settings or {})})
    except ValidationError as error:
        raise ValueError(f"network settings: {'; '.join(explain_problems(error, NetworkConfig))}") from error
    check_output(output)
    if autoencoder is None and image_encoder is None:
        return f"{import_release(source, output, config)}\n{ALONE.format(output=output)}"
    if autoencoder is None or image_encoder is None:
        raise ValueError("a model folder needs both, --autoencoder and --image-encoder; give both or none")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
        folder = Path(scratch)
        vae = load_autoencoder(autoencoder)
        vae.save_pretrained(folder / "vae")
        load_image_encoder(ImageEncoderConfig(path=image_encoder)).save(folder / "image_encoder")
        report = import_release(source, folder / "networks", config)
        parts = FrozenParts(folder / "vae", folder / "image_encoder", NoiseConfig())
        pipeline = assemble_pipeline(folder / "networks", parts, "cpu")
        save_model(pipeline, output, released_description())
    write_atomic(output / REPORT, report.as_json().encode())
    given = f"{autoencoder} -> vae\n{image_encoder} -> image_encoder"
    use = f"{output} is a model folder: fye animate PORTRAIT DRIVING --model {output} --output X.mp4"
    return f"{report}\n{given}\nnote: {released_description().warning}\n{use}"


def released_description() -> ModelDescription:
    """What is known of the released weights; how their training clips were cut was never published."""
    return ModelDescription(
        checkpoint="the authors' released weights",
        landmark_model=None,
        landmark_variant="expression_aware",
        size=SIZE,
        fps=None,
        crop=Crop(margin=ClipConfig().margin, faces=None),
        max_gap_frames=LandmarkConfig().max_gap_frames,
        # the covered-latent input of the progressive strategy is not trained in these weights
        sampling=SamplingConfig(strategy="overlap"),
        assumed=("landmark_model", "fps", "crop.margin", "crop.faces", "max_gap_frames"),
    )
