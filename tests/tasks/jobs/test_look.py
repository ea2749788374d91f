"""A look by further models: unwanted clips become decisions that the next run obeys; missing models are told of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from transformers import ViTConfig, ViTForImageClassification

from flows.cli import app
from fye_model.networks.classifier import PictureClassifier
from tasks.engine.store import Store
from tasks.faces.hands import over_face
from tasks.jobs.look import Wanted, look
from tasks.workspace.decisions import read_decisions
from tests.tasks.survey.made import SIDE, Take, make_work, sequence

TAKES = (Take("anna", "anna-one", colour=40), Take("ben", "ben-two", colour=220))


@pytest.fixture(autouse=True)
def no_assets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FYE_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("FYE_CACHE", str(tmp_path / "cache"))


def tiny_classifier(folder: Path) -> Path:
    """A ViT of a few hundred weights that calls bright pictures nsfw, and dark ones normal."""
    config = ViTConfig(
        **{"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4},
        **{"image_size": 16, "patch_size": 16, "id2label": {0: "normal", 1: "nsfw"}},
    )
    model = ViTForImageClassification(config)
    weights = dict(model.named_parameters())
    patch, layer = "vit.embeddings.patch_embeddings.projection.weight", "vit.layers.0.attention"
    with torch.no_grad():
        for name, values in weights.items():
            if "layernorm" not in name:
                values.zero_()
        weights[patch][0], weights[patch][1] = 1.0, -1.0
        for name in ("v_proj", "o_proj"):  # attention carries the patch to the token from which the label is read
            weights[f"{layer}.{name}.weight"].copy_(torch.eye(4))
        weights["classifier.weight"].copy_(torch.tensor([[-1.0, 1, 0, 0], [1, -1, 0, 0]]))
    model.save_pretrained(folder)
    given = {"size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(given))
    return folder


def test_bright_clips_that_a_classifier_does_not_want_become_decisions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = tiny_classifier(tmp_path / "classifier"), tmp_path / "look.json"
    dark, bright = (np.full((20, 30, 3), grey, np.uint8) for grey in (40, 220))
    shares = PictureClassifier(folder).shares([dark, bright])
    assert shares.sum(axis=1) == pytest.approx([1, 1]) and shares[0, 1] < 0.3 < 0.7 < shares[1, 1]
    make_work(tmp_path / "work", TAKES)
    words = [
        "look",
        "--work",
        str(tmp_path / "work"),
        "--unwanted",
        "--classifier",
        str(folder),
        "--output",
        str(output),
    ]
    assert app(words, result_action="return_value") == 0
    told = capsys.readouterr().out
    assert "ben-two-000: nsfw with" in told and "anna" not in told and "1 of 2 kept clips" in told
    assert app([*words, "--quiet"], result_action="return_value") == 0 and capsys.readouterr().out == ""
    assert app([*words, "--json"], result_action="return_value") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["looked_at"], found["output"]) == (2, str(output))
    assert [(one["name"], len(one["reasons"])) for one in found["against"]] == [("ben-two-000", 1)]
    assert app(["review", "--work", str(tmp_path / "work"), "--take", str(output)], result_action="return_value") == 0
    (decision,) = read_decisions(Store(tmp_path / "work")).values()
    assert (decision.keep, decision.name) == (False, "ben-two-000") and "nsfw" in decision.note


def test_what_is_missing_is_told_before_anything_is_read(tmp_path: Path) -> None:
    work, output = str(tmp_path / "none"), tmp_path / "look.json"
    with pytest.raises(ValueError, match=r"nothing to look for: give --hands"):
        look(work, Wanted(), output)
    with pytest.raises(ValueError, match=r"no hand_landmarker.task, .*get it from https://storage.*FYE_ASSETS"):
        look(work, Wanted(hands=True), output)
    with pytest.raises(ValueError, match=r"no classifier of content: get https://.*--classifier FOLDER"):
        look(work, Wanted(unwanted=True), output)
    with pytest.raises(ValueError, match=r"no config.json; expected a folder of an image classifier"):
        look(work, Wanted(unwanted=True, classifier=tmp_path), output)
    folder = tiny_classifier(tmp_path / "classifier")
    with pytest.raises(ValueError, match=r"knows no label gore; its labels are normal, nsfw"):
        look(work, Wanted(unwanted=True, classifier=folder, labels=("gore",)), output)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "hand_landmarker.task").write_bytes(b"no bundle")
    with pytest.raises(ValueError, match=r"hand_landmarker.task: not MediaPipe's hand landmarker"):
        look(work, Wanted(hands=True), output)
    assert not output.exists()


def test_a_classifier_with_damaged_weights_or_without_some_is_refused(tmp_path: Path) -> None:
    folder = tiny_classifier(tmp_path / "classifier")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-40])
    with pytest.raises(ValueError, match=r"classifier: not an image classifier that can be read \(Error while"):
        PictureClassifier(folder)
    headless = {name: values for name, values in load(whole).items() if not name.startswith("classifier.")}
    weights.write_bytes(save(headless, {"format": "pt"}))
    with pytest.raises(ValueError, match=r"classifier lacks 2 weights of a classifier of pictures"):
        PictureClassifier(folder)


def test_a_hand_is_over_the_face_where_a_point_of_it_is_within_its_outline() -> None:
    face = sequence(TAKES[0]).points[0, :, :2] * SIDE
    middle, edge = face[:468].mean(axis=0), face[:468].max(axis=0)
    beside = np.tile(edge + 3, (21, 1))
    assert not over_face(beside, face, SIDE, SIDE)
    assert not over_face(np.full((21, 2), -5.0), face, SIDE, SIDE), "a hand outside the picture is over nothing"
    beside[8] = middle
    assert over_face(beside, face, SIDE, SIDE)
