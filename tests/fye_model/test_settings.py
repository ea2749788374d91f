"""Records that were given every field share one set of their names; what each was given stays true."""

from __future__ import annotations

from fye_model.settings import Config


class Point(Config):
    x: int
    y: int = 0


class Line(Config):
    start: Point
    end: Point


def test_records_share_the_names_of_their_fields() -> None:
    line = Line.model_validate({"start": {"x": 1, "y": 2}, "end": {"x": 3, "y": 4}})
    assert line.start.model_fields_set is line.end.model_fields_set is Point(x=5, y=6).model_fields_set
    assert line.start.model_fields_set == {"x", "y"} and line.model_fields_set == {"start", "end"}


def test_what_was_not_given_is_still_known() -> None:
    whole, part = Point(x=1, y=2), Point(x=1)
    assert part.model_fields_set == {"x"} and part.model_dump(exclude_unset=True) == {"x": 1}
    assert part.model_copy(update={"y": 3}).model_fields_set == {"x", "y"}
    assert part.model_fields_set == {"x"} and whole.model_fields_set == {"x", "y"}
