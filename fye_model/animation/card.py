"""The model card of a model folder: README.md, made from what the folder says about itself."""

from __future__ import annotations

from pathlib import Path

from fye_model.animation.description import DESCRIPTION, ModelDescription
from fye_model.files import write_atomic

CARD = "README.md"
_TEXT = """---
library_name: diffusers
pipeline_tag: image-to-video
tags: [follow-your-emoji, portrait-animation]
---

# A Follow-Your-Emoji model

A portrait and a driving video in; the portrait performs the video's expressions. Written by {software}.

| | |
|---|---|
| networks | {checkpoint} |
| size | {size} x {size} pixels, {fps} |
| landmarks | {landmark_variant}, of {landmark_model} |
| crop | {crop} |
| head poses of the training clips | {poses} |
| people in the training clips | {people} |
| sampled with | {steps} steps, guidance {guidance}, windows of {window} frames, {strategy} |
{assumed}
Everything that animation shares with training is in `{description}`; keep it beside the weights.

```sh
fye animate portrait.jpg driving.mp4 --model THIS_FOLDER --output out.mp4
```

```python
from fye_model import FollowYourEmojiPipeline
from tasks.faces.reader import open_faces

pipeline = FollowYourEmojiPipeline.from_pretrained("THIS_FOLDER")
with open_faces() as faces:
    frames = pipeline.animate("portrait.jpg", "driving.mp4", faces).frames
```

`DiffusionPipeline.from_pretrained("THIS_FOLDER")` loads it too, once `fye_model` has been imported: the class is that
project's, and no code lies in this folder.

## Use it with consent

It puts expressions on a face. Animate people who agreed to it, say that a video was generated, and do not pass it off
as a recording. Licences of the weights it was made from apply to it.
"""


def write_card(folder: Path, model: ModelDescription) -> None:
    """Write the card; a card that somebody else wrote there is replaced, as the rest of the folder is."""
    poses = "not recorded"
    if model.poses is not None:
        names = zip(("pitch", "yaw", "roll"), model.poses.ranges, strict=True)
        poses = ", ".join(f"{name} {low:.0f}° to {high:.0f}°" for name, (low, high) in names)
    text = _TEXT.format(
        software=model.software,
        checkpoint=model.checkpoint,
        size=model.size,
        fps="frame rate not known" if model.fps is None else f"{model.fps:g} frames/s",
        landmark_variant=model.landmark_variant,
        landmark_model=model.landmark_model or "a landmark model that is not known",
        crop=f"{model.crop.rule}, margin {model.crop.margin:g}",
        poses=poses,
        people="not recorded" if model.people is None else model.people,
        steps=model.sampling.steps,
        guidance=f"{model.sampling.guidance_scale:g}",
        window=model.sampling.window,
        strategy=model.sampling.strategy,
        assumed="" if model.warning is None else f"\n{model.warning}.\n",
        description=DESCRIPTION,
    )
    write_atomic(folder / CARD, text.encode())
