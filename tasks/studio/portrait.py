"""A visitor's portrait: where its face is, and the picture that shows it with the crop and five points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fye_model.animation.description import ModelDescription
from fye_model.landmarks.boxes import PixelBox, pixel_boxes, union
from fye_model.landmarks.few_points import five_points
from tasks.faces.detector import FaceLandmarker
from tasks.faces.follow import load_geometry
from tasks.faces.landmarker import LandmarkerAsset
from tasks.faces.subject import Actor, look_at_portrait
from tasks.media.pictures import read_picture
from tasks.studio.marks import Marks, Point, Tool

_MOST_FACES = 8
_SHOWN_PX, _DOT_PX = 760, 9  # longer side, and radius of a point on it
_ROOM = 0.5  # shown around the crops, of their side
_CROP, _POINTS, _BOX = "#f97316", ("#22d3ee", "#22d3ee", "#facc15", "#f472b6", "#f472b6"), "#22d3ee"
_EDGE = "#111827"


@dataclass(frozen=True)
class SeenPortrait:
    """picture: of the file, upright RGB; marks: five points, the visitor's or where the face was found; crops: corners
    (4, 2) of each square that is animated, in pixels of the picture; notes: what `fye animate` says of it."""

    picture: Image.Image
    marks: Marks
    crops: tuple[np.ndarray, ...]
    notes: tuple[str, ...]

    def view(self, tool: Tool) -> PixelBox:
        """The part of the picture that is shown: near the face, or all of it while the face is still being marked."""
        whole = PixelBox(0, 0, *self.picture.size)
        if tool == "box" or self.marks.next_point is not None or not self.crops:
            return whole
        left, top, right, bottom = union(pixel_boxes(np.stack(self.crops)))
        room = _ROOM * max(right - left, bottom - top)
        return PixelBox(
            max(0, round(left - room)),
            max(0, round(top - room)),
            min(whole.right, round(right + room)),
            min(whole.bottom, round(bottom + room)),
        )

    def place(self, shown: Point, tool: Tool) -> Point:
        """A place of the shown picture, in pixels of the whole one."""
        view = self.view(tool)
        scale = _scale(view)
        return view.left + shown[0] / scale, view.top + shown[1] / scale

    def shown(self, tool: Tool) -> Image.Image:
        """The view with its crop, points and box drawn on it."""
        view = self.view(tool)
        scale = _scale(view)
        size = tuple(max(1, round(side * scale)) for side in (view.right - view.left, view.bottom - view.top))
        image = self.picture.resize(size, Image.Resampling.LANCZOS, box=view)  # type: ignore[arg-type]  # two sides
        draw = ImageDraw.Draw(image)

        def there(point: Point) -> Point:
            return (point[0] - view.left) * scale, (point[1] - view.top) * scale

        for corners in self.crops:
            outline = [there(corner) for corner in (*corners, corners[0])]
            draw.line(outline, fill=_EDGE, width=5)
            draw.line(outline, fill=_CROP, width=3)
        box = [there(corner) for corner in self.marks.corners]
        if len(box) == 2:
            (x0, y0), (x1, y1) = box
            draw.line([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], fill=_BOX, width=3)
        dots = [(point, colour) for point, colour in zip(self.marks.points, _POINTS, strict=True) if point is not None]
        for point, colour in [*((corner, _BOX) for corner in self.marks.corners), *dots]:
            draw.circle(there(point), _DOT_PX, fill=colour, outline=_EDGE, width=2)
        return image


def see_portrait(
    path: Path, model: ModelDescription, asset: LandmarkerAsset, face: str, picture: Image.Image | None = None
) -> SeenPortrait:
    """Find the face of a portrait as `fye animate` does. picture: of that file, read before. Raises ValueError."""
    return _seen(path, model, asset, face, picture or read_picture(path), Marks())


def see_marked(path: Path, model: ModelDescription, asset: LandmarkerAsset, before: SeenPortrait) -> SeenPortrait:
    """The portrait with the face where `before.marks` say, as far as they say it. Raises ValueError."""
    if not before.marks.said:
        return before
    return _seen(path, model, asset, "largest", before.picture, before.marks)


def _seen(
    path: Path, model: ModelDescription, asset: LandmarkerAsset, face: str, picture: Image.Image, marks: Marks
) -> SeenPortrait:
    where = marks.said
    with FaceLandmarker(asset.path, asset.model, max_faces=_MOST_FACES) as landmarker:
        how = (landmarker, model, load_geometry(asset), face)
        portrait = look_at_portrait(picture, path, *how, **where)  # type: ignore[arg-type]  # points, box or neither
    larger = picture.width / portrait.picture.width
    crops = tuple(_corners(actor) * larger for actor in portrait.actors)
    first = portrait.actors[0]
    if not marks.ours and first.reference is not None:
        marks = Marks(points=tuple((float(x), float(y)) for x, y in _five_of(first) * larger))
    return SeenPortrait(picture, marks, crops, portrait.notes)


def _scale(view: PixelBox) -> float:
    """Pixels of the shown picture over those of the file's."""
    return _SHOWN_PX / view.longer


def _corners(actor: Actor) -> np.ndarray:
    square = actor.cut.square
    along, down = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
    corners = np.column_stack([square.left + along * square.side, square.top + down * square.side])
    return actor.cut.turn.back(corners.astype(float))


def _five_of(actor: Actor) -> np.ndarray:
    """The five points of a found face, (5, 2) in pixels of the picture."""
    assert actor.reference is not None
    square = actor.cut.square
    inside = five_points(actor.reference.points[0, :, :2].astype(float)) * square.side
    return actor.cut.turn.back(inside + np.array([square.left, square.top]))
