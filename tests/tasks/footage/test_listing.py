"""Every file below a folder is footage, cannot be, or is passed over, with its reason; nothing hangs or goes round."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from tasks.footage.listing import MOST_DEEP, Found, list_files, look_at_frames
from tests.tasks.videos import encode, numbered


def listed(root: Path, follow_links: bool = False, frame_folders: bool = False) -> dict[str, tuple[str, str]]:
    return {
        os.fsencode(entry.path.relative_to(root)).decode(errors="backslashreplace"): (entry.found.name, entry.reason)
        for entry in list_files(root, follow_links, frame_folders)
    }


@pytest.mark.parametrize(
    ("ending", "codec"),
    [("ts", "libx264"), ("mts", "libx264"), ("wmv", "wmv2"), ("flv", "flv"), ("3gp", "libx264"), ("nut", "libx264")],
)
def test_a_video_is_known_by_its_content_whatever_its_name(tmp_path: Path, ending: str, codec: str) -> None:
    made = encode(tmp_path / f"a.{ending}", numbered(6), codec=codec)
    (tmp_path / "no ending").write_bytes(made.read_bytes())
    assert listed(tmp_path) == {made.name: ("VIDEO", ""), "no ending": ("VIDEO", "")}


def test_what_holds_no_moving_pictures_is_passed_over_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "notes.ts").write_text("export const a = 1;\n" * 99)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\na.ts\n")
    (tmp_path / "empty").touch()
    (tmp_path / "._clip.mp4").write_bytes(b"\0\5\x16\7")
    (tmp_path / "half.wmv").write_bytes(bytes.fromhex("3026b2758e66cf11") + b"x" * 99)
    Image.new("RGB", (8, 8)).save(tmp_path / "face.png")
    images = [Image.fromarray(image) for image in numbered(4)]
    images[0].save(tmp_path / "moving.gif", save_all=True, append_images=images[1:], duration=40)
    images[0].save(tmp_path / "moving.webp", save_all=True, append_images=images[1:], duration=40)
    images[0].save(tmp_path / "still.webp")
    (tmp_path / "cut.webp").write_bytes((tmp_path / "moving.webp").read_bytes()[:20])  # it does not come to say so
    assert listed(tmp_path) == {
        ".": ("PASSED_OVER", "pictures"),
        "._clip.mp4": ("PASSED_OVER", "hidden"),
        "empty": ("PASSED_OVER", "no_video"),
        "half.wmv": ("PASSED_OVER", "no_video"),
        "list.m3u8": ("PASSED_OVER", "no_video"),
        "moving.gif": ("VIDEO", ""),
        "moving.webp": ("VIDEO", ""),
        "still.webp": ("PASSED_OVER", "no_video"),
        "cut.webp": ("PASSED_OVER", "no_video"),
        "notes.ts": ("PASSED_OVER", "no_video"),
    }


def test_pipes_dangling_links_and_names_of_bytes_cost_only_themselves(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    (tmp_path / "1.png").symlink_to("1.png")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/na\xffme.mp4")).write_bytes(b"v")
    assert listed(tmp_path) == {
        "1.png": ("PROBLEM", "link_loop"),
        "gone.mp4": ("PROBLEM", "dangling_link"),
        "na\\xffme.mp4": ("VIDEO", ""),
        "pipe": ("PROBLEM", "no_file"),
        "pipe.mp4": ("PROBLEM", "no_file"),
        "self.mp4": ("PROBLEM", "link_loop"),
    }
    for entry in list_files(tmp_path):
        entry.message.encode()  # every word can be written


def test_links_elsewhere_are_one_flag_away_and_say_so(tmp_path: Path) -> None:
    """As data hubs lay out their caches: names that are links to blobs."""
    blobs, root, more = tmp_path / "blobs", tmp_path / "set", tmp_path / "more"
    for folder in (blobs, root / "anna", more):
        folder.mkdir(parents=True)
    (blobs / "0a1b").write_bytes(b"v")
    (more / "c.mp4").write_bytes(b"w")
    (root / "anna" / "a.mp4").symlink_to(blobs / "0a1b")
    (root / "linked").symlink_to(more)
    (root / "inside.mp4").symlink_to("anna/own.mp4")
    (root / "anna" / "own.mp4").write_bytes(b"x")
    assert listed(root) == {
        "anna/a.mp4": ("PROBLEM", "outside"),
        "anna/own.mp4": ("VIDEO", ""),
        "inside.mp4": ("VIDEO", ""),
        "linked": ("PROBLEM", "linked_folder"),
    }
    assert all("--follow-links" in entry.message for entry in list_files(root) if entry.found == Found.PROBLEM)
    taken = {"anna/a.mp4", "anna/own.mp4", "inside.mp4", "linked/c.mp4"}
    assert listed(root, follow_links=True) == dict.fromkeys(taken, ("VIDEO", ""))


def test_pictures_that_are_links_elsewhere_are_no_clip_unless_that_is_asked(tmp_path: Path) -> None:
    root, blobs = tmp_path / "set", tmp_path / "blobs"
    for folder in (root / "linked", root / "inside", root / "own", blobs):
        folder.mkdir(parents=True)
    for number in (1, 2):
        for folder in (blobs, root / "own"):
            Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
        (root / "linked" / f"{number}.png").symlink_to(blobs / f"{number}.png")
        (root / "inside" / f"{number}.png").symlink_to(f"../own/{number}.png")
    taken = {"own": ("FRAMES", ""), "inside": ("FRAMES", "")}
    assert listed(root, frame_folders=True) == {"linked": ("PROBLEM", "outside"), **taken}
    (told,) = [entry.message for entry in list_files(root, frame_folders=True) if entry.found == Found.PROBLEM]
    assert "2 of its pictures are links out of" in told and "--follow-links" in told
    assert listed(root, True, frame_folders=True) == {"linked": ("FRAMES", ""), **taken}


def test_folders_in_each_other_without_end_cost_only_themselves(tmp_path: Path) -> None:
    deepest = tmp_path.joinpath(*["d"] * (MOST_DEEP + 3))
    deepest.mkdir(parents=True)
    (deepest / "a.mp4").touch()
    (tmp_path / "a.mp4").touch()
    at = "/".join(["d"] * MOST_DEEP)
    assert listed(tmp_path) == {"a.mp4": ("VIDEO", ""), at: ("PROBLEM", "too_deep")}


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "v.mp4").write_bytes(b"v")
    assert listed(tmp_path, follow_links=True) == {
        "a/b/up": ("PROBLEM", "link_loop"),
        "a/v.mp4": ("VIDEO", ""),
    }


def test_a_folder_of_numbered_pictures_is_one_clip_where_the_source_has_such(tmp_path: Path) -> None:
    for folder, numbers in (("whole", (9, 10, 11)), ("gap", (0, 1, 3))):
        (tmp_path / folder).mkdir()
        for number in numbers:
            Image.new("RGB", (8, 8)).save(tmp_path / folder / f"{number}.png")
    assert listed(tmp_path, frame_folders=True) == {
        "gap": ("PROBLEM", "missing_pictures"),
        "whole": ("FRAMES", ""),
    }
    assert look_at_frames(tmp_path / "whole").found == Found.FRAMES
    told = look_at_frames(tmp_path / "gap")
    assert told.found == Found.PROBLEM and "the frames after 1 are missing (next is 3)" in told.message
