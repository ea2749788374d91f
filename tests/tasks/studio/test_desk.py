"""What the studio's page does, without the page: it takes, refuses, marks and makes what `fye animate` does."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fye_model.animation.description import need_description
from fye_model.animation.transfer import Transfer, only
from fye_model.landmarks.few_points import NAMES
from tasks.animation.progress import Log, Watch
from tasks.animation.request import AnimateRequest, AnimateSettings, check_request
from tasks.faces.detector import DetectedFace
from tasks.faces.follow import FaceTracker
from tasks.faces.known_drivers import ReadDriver
from tasks.faces.landmarker import LandmarkerAsset
from tasks.jobs.animate import animate, preview
from tasks.media.read import probe, read_frames
from tasks.studio.choices import KINDS_SHOWN, STRENGTHS, Choices, bounds, strengths_of
from tasks.studio.desk import Desk, Made
from tasks.studio.marks import Marks
from tasks.studio.visit import Visit
from tasks.studio.words import lines, of_the_page, problem
from tests.tasks.performing import FRAMES, SIZE

NO_PLACE: tuple[float, float] = (0.0, 0.0)


def never(request: AnimateRequest, preview: bool, log: Log, watch: Watch, follow: ReadDriver) -> Made:
    raise AssertionError("nothing was to be made")


@pytest.fixture
def desk_of(model: Path, landmarker_asset: LandmarkerAsset) -> Callable[..., Desk]:
    return lambda make=never: Desk(model, need_description(model), landmarker_asset, "cpu", make)


@pytest.fixture
def visit(tmp_path: Path) -> Visit:
    return Visit(tmp_path / "visit")


def uploaded(source: Path, folder: Path) -> Path:
    """A copy, because a desk takes uploads away."""
    folder.mkdir(exist_ok=True)
    place = folder / source.name
    place.write_bytes(source.read_bytes())
    return place


def huge_png(path: Path, side: int = 30_000) -> Path:
    """900 megapixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


def hostile(kind: str, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{kind}.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        huge_png(path)
    elif kind == "playlist":
        path = folder / "list.m3u8"
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n/etc/hostname\n#EXT-X-ENDLIST\n")
    else:
        path.write_text("no picture")
    return path


@pytest.mark.parametrize("kind", ["pipe", "huge", "playlist", "text"])
@pytest.mark.parametrize("role", ["portrait", "driving"])
def test_what_the_command_refuses_is_refused_in_the_same_line_and_does_not_stay(
    kind: str, role: str, desk_of: Callable[..., Desk], visit: Visit, portrait: Path, driver: Path, tmp_path: Path
) -> None:
    desk = desk_of()
    files = {"portrait": portrait, "driving": driver, role: hostile(kind, tmp_path / "command")}
    with pytest.raises(ValueError) as refused:
        check_request(AnimateRequest(model=desk.model, output=tmp_path / "x.mp4", **files))
    upload = hostile(kind, tmp_path / "page")
    with pytest.raises(ValueError) as here:
        desk.bring_portrait(visit, upload, "largest") if role == "portrait" else desk.bring_driver(visit, upload, 2.0)
    said = visit.words(str(here.value))
    assert said == str(refused.value).replace(f"{tmp_path / 'command'}/", "")
    assert "\n" not in said and str(tmp_path) not in said
    assert visit.portrait is None and visit.driver is None
    with pytest.raises(ValueError, match="step 1"):
        desk.request(visit, Choices(), 1, 0)


def test_a_found_face_is_shown_with_five_points_and_a_click_moves_the_nearest(
    desk_of: Callable[..., Desk], visit: Visit, portrait: Path, tmp_path: Path
) -> None:
    desk = desk_of()
    desk.bring_portrait(visit, uploaded(portrait, tmp_path / "uploads"), "largest")
    assert visit.seen is not None and visit.seen.marks.said == {}, "nothing has to be said of a face that was found"
    left_eye, right_eye, nose, *corners = np.array(visit.seen.marks.points, float)
    assert left_eye[0] < nose[0] < right_eye[0] < 512 and all(corner[1] > nose[1] > left_eye[1] for corner in corners)
    # the picture as it is shown has a point where the eye is
    shown, view = visit.seen.shown("points"), visit.seen.view("points")
    scale = shown.width / (view.right - view.left)
    at = (left_eye - (view.left, view.top)) * scale
    assert shown.getpixel(tuple(map(round, at))) == (0x22, 0xD3, 0xEE)
    crop = visit.seen.crops[0]
    desk.click(visit, (at[0] - 12 * scale, at[1] + 8 * scale), "points")
    assert visit.seen.marks.points[0] == pytest.approx(left_eye + np.array([-12, 8]))
    assert np.array(visit.seen.marks.points[1:]) == pytest.approx(np.array([right_eye, nose, *corners]))
    assert "where it was pointed at" in visit.seen.notes[0]
    assert not np.array_equal(visit.seen.crops[0], crop), "the crop follows"
    desk.find_again(visit, "largest")
    assert visit.seen.marks.said == {} and visit.seen.marks.points[0] == pytest.approx(left_eye)


def test_clicks_say_what_the_options_points_and_box_say(
    desk_of: Callable[..., Desk], visit: Visit, portrait: Path, driver: Path, tmp_path: Path
) -> None:
    desk = desk_of()
    desk.bring_portrait(visit, uploaded(portrait, tmp_path / "uploads"), "largest")
    desk.bring_driver(visit, uploaded(driver, tmp_path / "uploads"), 2.0)
    desk.clear(visit)
    places = [(190.0, 110.0), (250.0, 112.0), (222.0, 140.0), (200.0, 165.0), (245.0, 166.0)]
    for index, (x, y) in enumerate(places):
        assert visit.seen is not None
        assert NAMES[index] in visit.seen.marks.told("points")
        with pytest.raises(ValueError, match="in part only"):
            desk.request(visit, Choices(), 1, 0)
        view, shown = visit.seen.view("points"), visit.seen.shown("points")
        desk.click(visit, (x * shown.width / view.right, y * shown.height / view.bottom), "points")
    line = ";".join(f"{x:g},{y:g}" for x, y in places)
    asked = desk.request(visit, Choices(), 1, 0)
    assert np.array(asked.points) == pytest.approx(np.array(AnimateSettings(points=line).points))
    for corner in ((280.0, 60.0), (160.0, 220.0)):
        scale = visit.seen.shown("box").width / 512
        desk.click(visit, (corner[0] * scale, corner[1] * scale), "box")
    asked = desk.request(visit, Choices(), 1, 0)
    assert asked.points is None and asked.box == pytest.approx(AnimateSettings(box="160,60,280,220").box)


def test_points_that_make_no_face_are_told_and_stay_to_be_put_right(
    desk_of: Callable[..., Desk], visit: Visit, portrait: Path, tmp_path: Path
) -> None:
    desk = desk_of()
    desk.bring_portrait(visit, uploaded(portrait, tmp_path / "uploads"), "largest")
    desk.clear(visit)
    for x, y in [(250, 110), (190, 110), (220, 140), (200, 165)]:
        desk.click(visit, (x, y), "points")
    with pytest.raises(ValueError, match="in this order"):
        desk.click(visit, (245, 166), "points")
    assert visit.seen is not None and visit.seen.marks.next_point is None


def test_the_sliders_are_the_options_of_the_command() -> None:
    assert Choices().settings({}) == AnimateSettings()
    assert set(STRENGTHS) == {"mouth", "eyes", "brows", "pose", "gaze"} < set(Transfer.model_fields)
    for name in STRENGTHS:
        least, most = bounds(name)
        assert (least, most) == (0, 2)
        assert Choices(**{name: most}).settings({}).transfer == Transfer(**{name: most})
        with pytest.raises(ValueError, match=f"transfer.{name}"):
            Choices(**{name: most + 0.1}).settings({})
    for label, kinds in KINDS_SHOWN.items():
        assert strengths_of(label) == [only(kinds)[name] for name in STRENGTHS]


def test_a_page_names_no_file_for_the_machine_to_open(portrait: Path) -> None:
    """The command takes a picture of the person there; on the page that would be a look at anybody's files."""
    for name in (str(portrait), "/etc/passwd"):
        for field in ("face", "driver_face"):
            with pytest.raises(ValueError, match="expected one of largest"):
                Choices(**{field: name}).settings({})


@pytest.fixture
def brought(desk_of: Callable[..., Desk], visit: Visit, portrait: Path, driver: Path, tmp_path: Path) -> Visit:
    desk = desk_of()
    desk.bring_portrait(visit, uploaded(portrait, tmp_path / "uploads"), "largest")
    desk.bring_driver(visit, uploaded(driver, tmp_path / "uploads"), 2.0)
    return visit


def test_the_result_is_the_commands_and_one_is_kept_at_a_time(
    desk_of: Callable[..., Desk], brought: Visit, landmarker_asset: LandmarkerAsset, portrait: Path, driver: Path
) -> None:
    def make(request: AnimateRequest, preview: bool, log: Log, watch: Watch, follow: ReadDriver) -> Made:
        return Made(animate(request, landmarker_asset, log, watch=watch).output)

    assert brought.seen_driver is not None
    assert brought.seen_driver.facts == "0.4 s at 25 frames a second, with sound"
    desk = desk_of(make)
    asked = desk.request(brought, Choices(mouth=1.5, gaze=0.0), 1, 3)
    running = desk.start(brought, Choices(mouth=1.5, gaze=0.0), 1, 3, preview=False)
    assert running.wait(60) and running.error is None and running.result is not None
    assert running.standing is not None and (running.standing.part, running.standing.frames) == (1.0, FRAMES)
    made = running.result.video
    assert probe(made).has_audio
    command = asked.model_copy(update={"portrait": portrait, "driving": driver, "output": made.parent / "other.mp4"})
    assert command.transfer == Transfer(mouth=1.5, gaze=0.0)
    animate(command, landmarker_asset, lambda line: None)
    np.testing.assert_array_equal(read_frames(made), read_frames(command.output))
    assert read_frames(made).shape == (FRAMES, SIZE, SIZE, 3)
    assert any("neutral" in line for line in running.lines)
    assert brought.new_output() != made and not made.exists()


def test_a_drivers_faces_are_found_once_in_a_visit_whatever_is_chosen_and_forgotten_with_it(
    desk_of: Callable[..., Desk],
    brought: Visit,
    landmarker_asset: LandmarkerAsset,
    driver: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[object] = []
    follow_face = FaceTracker.next

    def counted(self: FaceTracker, rgb: np.ndarray) -> DetectedFace | None:
        looked.append(self)
        return follow_face(self, rgb)

    def make(request: AnimateRequest, only_preview: bool, log: Log, watch: Watch, follow: ReadDriver) -> Made:
        if only_preview:
            return Made(*preview(request, landmarker_asset, log, watch=watch, follow=follow))
        return Made(animate(request, landmarker_asset, log, watch=watch, follow=follow).output)

    def made(choices: Choices, only_preview: bool) -> tuple[int, np.ndarray]:
        """How often a face was looked for in a frame of the driver, and the result."""
        looked.clear()
        running = desk_of(make).start(brought, choices, 1, 3, only_preview)
        assert running.wait(60) and running.error is None and running.result is not None
        return len(looked), read_frames(running.result.video)

    monkeypatch.setattr(FaceTracker, "next", counted)
    first, pictures = made(Choices(), only_preview=False)
    assert first == FRAMES
    again, same = made(Choices(), only_preview=False)
    assert again == 0 and np.array_equal(pictures, same)
    assert made(Choices(mouth=1.5), only_preview=True)[0] == 0
    desk_of().bring_driver(brought, uploaded(driver, tmp_path / "uploads"), 2.0)  # once more: the first file is gone
    again, same = made(Choices(), only_preview=False)
    assert again == 0 and np.array_equal(pictures, same) and brought.running.result.video.is_file()
    other = uploaded(driver, tmp_path / "uploads")
    other.write_bytes(other.read_bytes() + b"\0" * 8)
    desk_of().bring_driver(brought, other, 2.0)
    assert made(Choices(), only_preview=False)[0] == first, "another content is looked at"
    assert made(Choices(driver_face="left"), only_preview=False)[0] == FRAMES, "another face, too"
    brought.drivers.forget()
    assert made(Choices(), only_preview=False)[0] == first


def test_a_stopped_run_ends_at_its_next_step_and_leaves_nothing(
    desk_of: Callable[..., Desk], brought: Visit, landmarker_asset: LandmarkerAsset
) -> None:
    def make(request: AnimateRequest, preview: bool, log: Log, watch: Watch, follow: ReadDriver) -> Made:
        def once(standing: object) -> None:
            brought.running.stop()
            watch(standing)

        return Made(animate(request, landmarker_asset, log, watch=once).output)

    running = desk_of(make).start(brought, Choices(), 5, 0, preview=False)
    assert running.wait(60) and running.stopped and running.result is None
    assert not list(brought.folder.glob("result-*/animation.mp4"))
    brought.end()
    assert not brought.folder.exists()


def test_a_run_keeps_its_files_and_its_life_whatever_is_clicked_meanwhile(
    desk_of: Callable[..., Desk], brought: Visit, portrait: Path, driver: Path, tmp_path: Path
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def make(request: AnimateRequest, preview: bool, log: Log, watch: Watch, follow: ReadDriver) -> Made:
        begun.set()
        assert go_on.wait(60)
        log("a step")
        assert request.portrait.read_bytes() == portrait.read_bytes()
        assert request.driving.read_bytes() == driver.read_bytes()
        return Made(request.output)

    desk = desk_of(make)
    running = desk.start(brought, Choices(), 1, 0, preview=False)
    assert begun.wait(20)
    desk.bring_driver(brought, uploaded(portrait, tmp_path / "uploads"), 2.0)
    with Image.open(portrait) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / portrait.name)  # of the same name
    desk.bring_portrait(brought, tmp_path / portrait.name, "largest")
    desk.clear(brought)
    with pytest.raises(ValueError, match="in part only"):
        desk.start(brought, Choices(), 1, 0, preview=True)
    go_on.set()
    assert running.wait(60) and running.error is None and running.result is not None
    desk.find_again(brought, "largest")
    with pytest.raises(ValueError, match="steps"):
        desk.start(brought, Choices(), 0, 0, preview=False)
    assert running.result.video.parent.exists(), "the result stays as long as nothing takes its place"
    desk.bring_driver(brought, uploaded(driver, tmp_path / "uploads"), 2.0)
    assert len(list(brought.folder.glob("driver-*"))) == 1, "none of those before"


def test_an_emptied_field_is_as_usual_and_a_wrong_one_is_told_in_a_line(
    desk_of: Callable[..., Desk], brought: Visit
) -> None:
    assert Choices.given({"ease_s": None, "still_s": None, "mouth": 0.5}) == Choices(mouth=0.5)
    with pytest.raises(ValueError, match="ease_s") as error:
        Choices.given({"ease_s": "soon"})
    assert "\n" not in str(error.value)
    desk = desk_of()
    assert desk.request(brought, Choices(), None, None).sampling == desk.description.sampling


def test_every_word_on_the_page_is_text() -> None:
    name = '<img src=x onerror="alert(1)">${alert(2)} {{x}}.png'
    for html in (problem(name), lines([name])):
        assert "<img" not in html and "${" not in html and "{{" not in html


def test_options_that_a_message_advises_have_the_pages_names(
    desk_of: Callable[..., Desk], visit: Visit, tmp_path: Path
) -> None:
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "wall.png")
    desk_of().bring_portrait(visit, tmp_path / "wall.png", "largest")
    assert visit.seen is not None and visit.seen.marks.next_point == 0
    (note,) = visit.seen.notes
    assert "--points or --box" in note and of_the_page(note).endswith("Say where the face is: the five points or a box")


def test_marks_without_a_face_are_asked_for_one_after_another() -> None:
    marks = Marks()
    for name in NAMES:
        assert name in marks.told("points") and marks.said == {}
        marks = marks.clicked(NO_PLACE, "points")
    assert marks.said == {"points": (NO_PLACE,) * 5}
    assert marks.clicked((5, 5), "box").clicked((1, 9), "box").said == {"box": (1, 5, 5, 9)}
    assert marks.clicked((5, 5), "box").said == {}, "one corner says nothing yet"


def test_a_still_picture_is_a_driver_and_said_to_be_one(
    desk_of: Callable[..., Desk], visit: Visit, portrait: Path, tmp_path: Path
) -> None:
    desk_of().bring_driver(visit, uploaded(portrait, tmp_path / "uploads"), 3.0)
    assert visit.seen_driver is not None and visit.seen_driver.facts == "a still picture, held for 3 s"
    assert visit.driver is not None
    with Image.open(visit.driver) as image:
        assert image.size == (512, 512)
