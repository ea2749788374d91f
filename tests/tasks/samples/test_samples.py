"""Sample clips show what they claim: a landmark model finds the known motion again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fye_model.landmarks.geometry import FaceGeometry, euler_deg
from tasks.faces.detector import FaceLandmarker
from tasks.faces.landmarker import LandmarkerAsset
from tasks.media.read import probe, read_frames
from tasks.samples.clips import known_motion, make_samples, motion_curve, sample_name
from tasks.samples.puppet import Pose, Puppet

STEP = 3  # every third frame of two clips is enough to follow the motion


@pytest.fixture(scope="module")
def puppet() -> Puppet:
    return Puppet()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_samples(tmp_path_factory.mktemp("samples"), clips=2, seconds=4.0, size=256)


def test_the_detected_face_follows_the_known_motion(clips: list[Path], landmarker_task: Path) -> None:
    poses, faces = [], []
    with FaceLandmarker(landmarker_task, "face_landmarker_v2:64184e22") as landmarker:
        for index, path in enumerate(clips):
            poses += known_motion(index, seconds=4.0)[::STEP]
            faces += [landmarker.detect(frame) for frame in read_frames(path, slice(0, None, STEP))]
    assert all(faces), f"{sum(not found for found in faces)} of {len(faces)} frames show no face to the landmark model"
    points = np.stack([found[0].points for found in faces])
    shapes = np.stack([found[0].blendshapes for found in faces])  # type: ignore[arg-type]
    pitch, yaw, roll = euler_deg(FaceGeometry.from_task(landmarker_task).estimate(points, 256, 256)[1]).T
    opening = (points[:, 14, 1] - points[:, 13, 1]) / (points[:, 152, 1] - points[:, 10, 1])
    iris = points[:, [468, 473], 0] - (points[:, [33, 362], 0] + points[:, [133, 263], 0]) / 2
    measured = {"mouth": opening, "blink": shapes[:, 9], "gaze": iris.sum(axis=1), "yaw": yaw, "pitch": pitch}
    measured["roll"] = roll
    for channel, curve in measured.items():
        correlation = np.corrcoef(motion_curve(poses, channel), curve)[0, 1]
        assert correlation > 0.8, f"{channel}: {correlation:.2f}"
    assert shapes[:, 9].max() > 0.4  # lids really close
    assert np.ptp(yaw) > 12


@pytest.mark.parametrize(
    ("pose", "channel", "sign"),
    [
        (Pose(gaze=1), "gaze", 1),
        (Pose(gaze=-1), "gaze", -1),
        (Pose(brows=1), "brows", 1),
        (Pose(pucker=1), "width", -1),
    ],
)
def test_each_expression_moves_its_own_part(
    puppet: Puppet, landmarker_asset: LandmarkerAsset, pose: Pose, channel: str, sign: int
) -> None:
    def measure(rgb: np.ndarray) -> float:
        points = landmarker.detect(rgb)[0].points
        eyes = np.linalg.norm(points[33, :2] - points[263, :2])
        if channel == "gaze":
            centres = (points[[33, 362], 0] + points[[133, 263], 0]) / 2
            return float((points[[468, 473], 0] - centres).mean() / eyes)
        if channel == "brows":
            return float((points[[159, 386], 1] - points[[105, 334], 1]).mean() / eyes)
        return float((points[308, 0] - points[78, 0]) / eyes)

    with FaceLandmarker(landmarker_asset.path, landmarker_asset.model) as landmarker:
        change = measure(puppet.frame(pose, 256)) - measure(puppet.frame(Pose(), 256))
    assert sign * change > 0.01


def test_the_head_moves_and_the_backdrop_stays(puppet: Puppet) -> None:
    still, turned = puppet.frame(Pose(), 192).astype(int), puppet.frame(Pose(yaw=25), 192).astype(int)
    change = np.abs(still - turned).mean(axis=-1)
    assert change[60:140, 50:120].mean() > 10
    assert change[:40, 165:].max() == 0 and change[150:, :20].max() == 0


def test_the_neutral_pose_is_the_photograph(puppet: Puppet) -> None:
    from skimage import data

    size = 424  # two pixels of the frame are one of the photograph
    frame = puppet.frame(Pose(), size).astype(float)
    small = frame.reshape(size // 2, 2, size // 2, 2, 3).mean(axis=(1, 3))
    photograph = data.astronaut()[: size // 2, 121 : 121 + size // 2].astype(float)
    face = slice(60, 170), slice(60, 150)
    assert np.abs(small[face] - photograph[face]).mean() < 4


def test_samples_are_repeatable_and_of_the_wanted_shape(clips: list[Path], tmp_path: Path) -> None:
    info = probe(clips[0])
    assert (info.width, info.height, info.fps) == (256, 256, 25.0)
    assert [path.name for path in clips] == ["astronaut-talk.mp4", "astronaut-turn.mp4"]
    assert len(read_frames(clips[0])) == 100
    (first,), (again,) = (make_samples(tmp_path / name, 1, 0.2, 64) for name in ("first", "again"))
    assert first.read_bytes() == again.read_bytes()
    (other,) = make_samples(tmp_path / "other", 1, 0.2, 64, seed=1)
    assert not np.array_equal(read_frames(other)[0], read_frames(first)[0])


@pytest.mark.parametrize("index", range(8))
def test_a_still_picture_predicts_a_clip_badly_to_its_end(puppet: Puppet, index: int) -> None:
    poses = known_motion(index)
    tail = poses[-30:]
    assert motion_curve(tail, "blink").max() > 0.9  # a blink in every held-out tail
    frames = np.stack([puppet.frame(pose, 64).astype(float) for pose in [poses[0], *tail[::4]]])
    assert np.abs(frames[1:] - frames[0]).mean() > 6
    assert np.abs(frames[2:] - frames[1:-1]).mean() > 1
    steps = np.abs(np.diff(motion_curve(poses, "yaw")))
    assert steps.max() < 4  # degrees a frame: no jumps


def test_names_go_on_after_the_last_kind() -> None:
    names = [sample_name(index) for index in range(14)]
    assert len(set(names)) == 14 and names[6] == "astronaut-talk-2"


def test_impossible_samples_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even size >= 64; got clips=1, seconds=1, fps=25, size=65"):
        make_samples(tmp_path, clips=1, seconds=1, fps=25, size=65)
    with pytest.raises(ValueError, match="unknown channel 'nose'; choose from yaw, pitch"):
        motion_curve(known_motion(0), "nose")
