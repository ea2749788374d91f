"""A source's card: what it reads from names, and what it refuses."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
import yaml

from tasks.footage.card import CARDS, load_card, merged, read_name
from tasks.footage.splits import held_out


@pytest.mark.parametrize(
    ("card", "path", "subject"),
    [
        ("hdtf", "RD/Radio11_0.mp4", "Radio"),
        ("hdtf", "WDA_BernieSanders_000.mp4", "BernieSanders"),
        ("hdtf", "anything/TerriSewell0_1.mp4", "TerriSewell"),
        ("hdtf", "LucilleRoybal-Allard.mp4", "LucilleRoybal-Allard"),
        ("hdtf", "WhipJimClyburn.mp4", "JamesClyburn"),
        ("vfhq", "Clip+_-91nXXjrVo+P0+C0+F1537-1825", "_-91nXXjrVo"),
        ("vfhq", "a/Clip+G0DGRma_p48+P1+C2+F11208-11383.mp4", "G0DGRma_p48"),
        ("captured", "s01/outdoor/pout-02.mp4", "s01"),
        ("captured", "indoor/s02/talking-01.mp4", "s02"),
        ("folder", "anna/one/two.mp4", "anna"),
        ("folder", "alone.mp4", "alone"),
        ("samples", "eileen-collins/clip3.mp4", "eileen-collins"),
    ],
)
def test_a_subject_is_read_from_a_name_as_the_source_has_it(card: str, path: str, subject: str) -> None:
    naming = read_name(load_card(card), PurePosixPath(path))
    assert (naming.subject, naming.by_layout) == (subject, True)


@pytest.mark.parametrize(
    ("name", "take", "place"),
    [
        ("s/crossed_eyes.mp4", "crossed_eyes", None),
        ("s/Crossed-Eyes 3.mp4", "crossed_eyes", None),
        ("outdoor/s/wink_left.mp4", "wink_left", "outdoor"),
        ("s/talking_2_indoor.mp4", "talking", "indoor"),
        ("s/grinning.mp4", None, None),
    ],
)
def test_a_recordings_expression_and_place_are_read_from_its_name(
    name: str, take: str | None, place: str | None
) -> None:
    naming = read_name(load_card("captured"), PurePosixPath(name))
    assert (naming.take, naming.place, naming.subject) == (take, place, "s")
    assert naming.by_layout == (take is not None)


def _own(folder: Path, **changed: object) -> Path:
    values = yaml.safe_load((CARDS / "folder" / "source.yaml").read_text()) | changed
    (folder / "source.yaml").write_text(yaml.safe_dump(values))
    return folder / "source.yaml"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"licens": {}}, "licens: unknown key.*did you mean 'licence'"),
        ({"names": ["(?P<subject>[^/]+"]}, "no regular expression"),
        ({"names": ["(" * 5000]}, r"\({77}…' is no regular expression: maximum recursion"),
        ({"names": ["(?P<subject>x{99999999999})"]}, "no regular expression: the repetition number is too large"),
        ({"names": ["[^/]+"]}, r"no group \(\?P<subject>"),
        ({"aliases": {"a": "b", "b": "a"}}, "circle: a -> b -> a"),
        ({"held_out": {"by": "moon", "fraction": 0.1, "seed": 0}}, "held_out.by"),
    ],
)
def test_what_a_card_says_wrongly_is_named(tmp_path: Path, changed: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_card(_own(tmp_path, **changed))


def test_a_source_that_is_not_there_is_told_which_are() -> None:
    with pytest.raises(ValueError, match="no source 'hdft'; there is captured, folder, hdtf"):
        load_card("hdft")


def test_a_published_list_says_who_is_held_out(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("anna\n\nben\n")
    rule = {"by": "subject", "fraction": 0.05, "seed": 0, "published_list": "val.txt"}
    assert load_card(_own(tmp_path, held_out=rule)).held_out_subjects == {"anna", "ben"}


def test_names_of_one_person_lead_to_the_one_that_is_kept() -> None:
    assert merged("a", {"a": "b", "b": "c"}) == "c"


def test_a_side_that_is_said_goes_before_the_hash_and_the_others_keep_theirs() -> None:
    names = {f"s{i}" for i in range(40)}
    drawn = held_out(names, 0.2, 0)
    assert 3 < len(drawn) < 15
    inside, outside = sorted(drawn)[0], sorted(names - drawn)[0]
    assert held_out(names, 0.2, 0, {inside: "train", outside: "val"}) == drawn - {inside} | {outside}
    assert held_out({"a", "b"}, 0.05, 0, {"a": "train"}) == {"b"}, "somebody is held out, and it is not who may not be"
    assert held_out({"a"}, 0.05, 0) == set()
