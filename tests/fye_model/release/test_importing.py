"""What the import accepts, what it says about each key, and what it refuses."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fye_model.config import NetworkConfig
from fye_model.networks import Networks, build_networks, component_arguments
from fye_model.networks.weights import check_names
from fye_model.release import RELEASED, import_release
from fye_model.release.names import FILES, convert

TINY = NetworkConfig(
    block_out_channels=(8, 16, 16, 16),
    attention_heads=2,
    cross_attention_dim=12,
    norm_num_groups=4,
    motion_heads=2,
    motion_norm_num_groups=4,
    landmark_channels=(4, 4, 4, 8),
    image_prompt="linear",
    qformer_heads=2,
)


def as_released(networks: Networks) -> dict[str, dict[str, Tensor]]:
    """Our networks under the released names: the rules, written the other way round."""
    prompt = networks.image_prompt
    referencenet = dict(networks.appearance_net.unet.state_dict())
    width = networks.appearance_net.config["block_out_channels"][0]
    for kind, shape in (("weight", (width, width, 1, 1)), ("bias", (width,))):
        referencenet[f"up_blocks.3.attentions.2.proj_out.{kind}"] = torch.randn(shape)
        referencenet[f"clip_fc.{kind}"] = getattr(prompt.appearance, kind).data
    unet = {}
    for key, value in networks.denoiser.unet.state_dict().items():
        if ".motion_modules." not in key:
            unet[key] = value
            continue
        head, number, tail = key.partition(".motion_modules.")[0], *key.partition(".motion_modules.")[2].split(".", 1)
        tail = tail.replace("norm3.", "ff_norm.").replace("pos_embed.pe", "attention_blocks.0.pos_encoder.pe")
        for i in (1, 2):
            tail = tail.replace(f".attn{i}.", f".attention_blocks.{i - 1}.").replace(f".norm{i}.", f".norms.{i - 1}.")
        name = f"{head}.motion_modules.{number}.temporal_transformer.{tail}"
        unet[name] = value
        if tail.endswith("pe"):
            unet[name.replace("attention_blocks.0", "attention_blocks.1")] = value.clone()
    for kind in ("weight", "bias"):
        unet[f"clip_fc.{kind}"] = getattr(prompt.denoiser, kind).data
    return {
        "referencenet": referencenet,
        "unet": unet,
        "lmk_guider": dict(networks.landmark_encoder.embedding.state_dict()),
    }


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    torch.manual_seed(0)
    return as_released(build_networks(TINY, 24))


@pytest.fixture
def source(states: dict[str, dict[str, Tensor]], tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    folder.mkdir()
    for name, state in states.items():
        torch.save(state, folder / f"{name}.pth")
    return folder


def test_released_files_become_the_networks_they_were_made_of(source: Path, tmp_path: Path) -> None:
    report = import_release(source, tmp_path / "out", TINY)
    torch.manual_seed(0)
    original = build_networks(TINY, 24)
    loaded = Networks.load(tmp_path / "out", component_arguments(TINY, 24))
    state = loaded.state_dict()
    for key, value in original.state_dict().items():
        assert torch.equal(state[key], value), key
    stored = json.loads((tmp_path / "out" / "import_report.json").read_text())
    assert [x["file"] for x in stored["files"]] == ["referencenet.pth", "unet.pth", "lmk_guider.pth"]
    assert sum(len(x["left_out"]) for x in stored["files"]) == 2 + 21
    assert stored["added"] == {"denoiser": ["conv_given.weight"]}
    assert "21" in str(report) and "new in denoiser" in str(report)
    import_release(source, tmp_path / "out", TINY)  # over an earlier import


def test_half_precision_files_are_stored_in_float32(
    source: Path, states: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    torch.save({k: v.half() for k, v in states["unet"].items()}, source / "unet.pth")
    import_release(source, tmp_path / "out", TINY)
    loaded = Networks.load(tmp_path / "out")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_every_official_key_at_the_real_size_has_its_place(shared: Path) -> None:
    path = shared / "parity" / "official_state_dict.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the sample data")
    official = json.loads(path.read_text())
    with torch.device("meta"):
        networks = build_networks(RELEASED, 1024)
        states = {file: {key: torch.empty(shape) for key, shape in shapes.items()} for file, shapes in official.items()}
    counts = {file: (len(state), sum(v.numel() for v in state.values())) for file, state in states.items()}
    # positional tables are no parameters
    tables = sum(v.numel() for key, v in states["unet"].items() if key.endswith(".pe"))
    assert counts["referencenet"] == (666, 857_956_480)
    assert counts["unet"] == (1276, 1_313_517_444 + tables)
    assert counts["lmk_guider"] == (16, 1_086_480)
    prompt: dict[str, Tensor] = {}
    for file, state in states.items():
        converted = convert(file, state)
        assert len(state) == len(converted.network) + len(converted.prompt) + len(converted.dropped)
        network = getattr(networks, FILES[file])
        expected = {k: v for k, v in network.state_dict().items() if k != "conv_given.weight"}
        check_names(converted.network, expected, file)
        prompt |= converted.prompt
    check_names(prompt, networks.image_prompt.state_dict(), "image prompt")


class Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("writer", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_code_in_a_weight_file_is_refused_and_never_runs(source: Path, tmp_path: Path, writer: Any) -> None:
    marker = tmp_path / "ran"
    writer({"conv_in.weight": torch.zeros(1) if writer is torch.save else 0, "x": Planted(marker)}, source / "unet.pth")
    with pytest.raises(ValueError, match=r"unet\.pth is damaged, or holds more than tensors"):
        import_release(source, tmp_path / "out", TINY)
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_bad_files_are_named(source: Path, states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = (source / "unet.pth").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        (source / "unet.pth").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"unet\.pth is damaged"):
            import_release(source, out, TINY)
    torch.save([1, 2], source / "unet.pth")
    with pytest.raises(ValueError, match="does not hold a dict of tensors"):
        import_release(source, out, TINY)
    torch.save(states["referencenet"], source / "unet.pth")
    with pytest.raises(ValueError, match=r"unet\.pth does not fit: .* missing"):
        import_release(source, out, TINY)
    torch.save(states["lmk_guider"], source / "unet.pth")
    with pytest.raises(ValueError, match="not the released unet"):
        import_release(source, out, TINY)
    torch.save(states["unet"] | {"surprise.weight": torch.zeros(1)}, source / "unet.pth")
    with pytest.raises(ValueError, match=r"1 unexpected: unet\.surprise\.weight"):
        import_release(source, out, TINY)
    key = next(k for k in states["unet"] if k.endswith("attention_blocks.1.pos_encoder.pe"))
    torch.save(states["unet"] | {key: states["unet"][key] + 1}, source / "unet.pth")
    with pytest.raises(ValueError, match="differs from the first attention's table"):
        import_release(source, out, TINY)
    (source / "unet.pth").unlink()
    with pytest.raises(ValueError, match=r"has no unet\.pth.*found: lmk_guider\.pth, referencenet\.pth"):
        import_release(source, out, TINY)
    with pytest.raises(ValueError, match="no such folder"):
        import_release(tmp_path / "nowhere", out, TINY)
    assert not out.exists()


def test_wrong_settings_are_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"of another shape: .*expected"):
        import_release(source, tmp_path / "out", TINY.model_copy(update={"cross_attention_dim": 16}))
    with pytest.raises(ValueError, match="choose linear, or linear_qformer"):
        import_release(source, tmp_path / "out", TINY.model_copy(update={"image_prompt": "qformer"}))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "holiday.jpg").touch()
    with pytest.raises(ValueError, match="not an earlier import"):
        import_release(source, tmp_path / "out", TINY)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["holiday.jpg"]
