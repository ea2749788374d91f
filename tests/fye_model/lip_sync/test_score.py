"""SyncNet's measure finds by how many frames a sound was moved, by a network of its layers that learned drawn lips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fye_model.lip_sync.crop import cut_faces, face_windows
from fye_model.lip_sync.network import FRAMES, NUMBERS, SIDE_PX, STEPS, SyncNet, read_syncnet
from fye_model.lip_sync.score import LEAST_FRAMES, SHIFTS, measure, sync_score
from tests.fye_model.lip_sync.talking import faces_of, late, talk, taught

# every layer with weights of the published network: name, shape of its weight
PUBLISHED = {
    **{"netcnnaud.0": (64, 1, 3, 3), "netcnnaud.4": (192, 64, 3, 3), "netcnnaud.8": (384, 192, 3, 3)},
    **{"netcnnaud.11": (256, 384, 3, 3), "netcnnaud.14": (256, 256, 3, 3), "netcnnaud.18": (512, 256, 5, 4)},
    **{"netcnnlip.0": (96, 3, 5, 7, 7), "netcnnlip.4": (256, 96, 1, 5, 5), "netcnnlip.8": (256, 256, 1, 3, 3)},
    **{"netcnnlip.11": (256, 256, 1, 3, 3), "netcnnlip.14": (256, 256, 1, 3, 3)},
    **{"netcnnlip.18": (512, 256, 1, 6, 6)},
    **{
        f"netfc{side}.{place}": shape for side in ("aud", "lip") for place, shape in ((0, (512, 512)), (3, (1024, 512)))
    },
}


def test_the_network_has_the_published_layers_and_sizes() -> None:
    state = SyncNet().state_dict()
    for name, shape in PUBLISHED.items():
        assert tuple(state[f"{name}.weight"].shape) == shape and tuple(state[f"{name}.bias"].shape) == shape[:1]
    normalised = {name.rpartition(".")[0] for name in state if name.endswith("running_mean")}
    assert normalised == {
        f"{part}.{int(place) + 1}" for part, _, place in (name.partition(".") for name in PUBLISHED) if place != "3"
    }
    assert len(state) == 2 * len(PUBLISHED) + 5 * len(normalised), "nothing else has weights"


def test_windows_of_real_size_become_vectors() -> None:
    network = SyncNet().eval()
    with torch.inference_mode():
        assert network.sound(torch.zeros(3, 1, 13, STEPS)).shape == (3, NUMBERS)
        together = network.lips(torch.rand(3, FRAMES + 1, SIDE_PX, SIDE_PX) * 255)
    assert together.shape == (2, NUMBERS)


def test_a_window_is_seen_alike_alone_and_among_others() -> None:
    network, (pictures, _) = taught(), talk(seed=5, frames=12)
    faces = faces_of(pictures).float()
    with torch.inference_mode():
        alone = torch.cat([network.lips(faces[:, at : at + FRAMES]) for at in range(8)])
        torch.testing.assert_close(network.lips(faces), alone)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_a_moved_sound_is_found_to_the_frame_and_another_sound_fits_nowhere(seed: int) -> None:
    pictures, samples = talk(seed, frames=90)
    faces = faces_of(pictures)
    other = sync_score(taught(), faces, talk(seed + 50, frames=90)[1]).confidence
    for moved in (-8, 0, 3, 11):
        found = sync_score(taught(), faces, late(samples, moved))
        assert found.offset_frames == -moved, "above 0 the sound is early"
        assert found.confidence > 2.5 * other


def test_the_offset_is_where_vectors_agree_and_the_confidence_what_the_median_lies_above() -> None:
    lips = torch.eye(60)
    for moved in (-SHIFTS, -4, 0, SHIFTS):
        found = measure(lips, torch.roll(lips, moved, dims=0))
        assert found.offset_frames == -moved
        assert found.confidence == pytest.approx(2**0.5), "of unlike ones the distance is the square root of 2"


def test_too_short_a_clip_is_told() -> None:
    pictures, samples = talk(seed=1, frames=LEAST_FRAMES)
    network = SyncNet(1 / 16).eval()
    sync_score(network, faces_of(pictures), samples)
    with pytest.raises(ValueError, match=f"{LEAST_FRAMES - 1} frames with sound are too few; {LEAST_FRAMES} are"):
        sync_score(network, faces_of(pictures[1:]), samples)
    with pytest.raises(ValueError, match="10 frames with sound"):
        sync_score(network, faces_of(pictures), samples[:6400])


def test_weights_of_another_network_and_files_with_code_are_refused(tmp_path: Path) -> None:
    state = SyncNet().state_dict()
    del state["netcnnlip.18.weight"]
    torch.save(state, tmp_path / "lacks.model")
    with pytest.raises(ValueError, match=r"1 missing: netcnnlip\.18\.weight"):
        read_syncnet(tmp_path / "lacks.model")
    torch.save(SyncNet(1 / 16), tmp_path / "whole.model")
    with pytest.raises(ValueError, match="holds more than tensors"):
        read_syncnet(tmp_path / "whole.model")


def test_the_face_is_cut_with_room_below_the_chin_and_grey_around_the_picture() -> None:
    points = np.zeros((20, 478, 2))
    points[:, 0], points[:, 1] = (30, 20), (70, 60)  # corners of a box with its middle at (50, 40)
    points[:, 2:] = (50, 40)
    valid = np.ones(20, bool)
    points[7], valid[8] = points[7] + 400, False  # one look that went wrong, one frame without a face
    windows = face_windows(points, valid)
    np.testing.assert_allclose(windows, np.tile((50, 40, 20), (20, 1)))

    picture = np.zeros((70, 200, 3), np.uint8)
    picture[:, :, 0], picture[:, 22:, 1] = 200, 250  # red all over; green from where the cut begins
    (face,) = cut_faces([picture], windows[:1]).unbind(1)
    assert face.shape == (3, SIDE_PX, SIDE_PX) and face.dtype == torch.uint8
    # 22 .. 78 from left to right, 20 .. 76 from top to bottom, of which the picture has 70 rows: blue, green, red
    assert face[0, :190].max() == 0 and face[1, :190].min() == 250 and (face[2, :190] == 200).all()
    assert (face[:, 210:] == 110).all()
    (moved,) = cut_faces([picture], windows[:1] - (10, 0, 0)).unbind(1)
    assert (moved[1, :190, :36] == 0).all() and (moved[1, :190, 44:] == 250).all()
    with pytest.raises(ValueError, match="no frame has a face"):
        face_windows(points, np.zeros(20, bool))
