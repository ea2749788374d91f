"""Drivers whose faces were followed once, and need not be followed again: known by what is in the file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fye_model.files import file_digest, json_digest
from tasks.engine.items import Quarantine
from tasks.faces.choice import is_person
from tasks.faces.detector import FaceLandmarker
from tasks.faces.driver import Driver, read_driver
from tasks.faces.landmarker import LandmarkerAsset
from tasks.media.moving import look_at, refuse

ReadDriver = Callable[[Path, FaceLandmarker, LandmarkerAsset, int, float, float, str], Driver]
_MOST = 4  # drivers, or ways to read one, that are remembered


class KnownDrivers:
    """`read_driver` with a memory, in this process alone; the drivers that were read last are remembered."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Driver] = OrderedDict()

    def read(
        self,
        path: Path,
        landmarker: FaceLandmarker,
        asset: LandmarkerAsset,
        max_gap_frames: int,
        frames_fps: float,
        still_s: float,
        face: str,
    ) -> Driver:
        """As `read_driver`, and raises as it does. A folder, and a face named by a picture, are looked at each time."""
        how = (asset, max_gap_frames, frames_fps, still_s, face)
        if not path.is_file() or is_person(face):
            return read_driver(path, landmarker, *how)
        key = json_digest([file_digest(path), asset.model, landmarker.max_faces, *how[1:]])
        known = self._known.pop(key, None)
        if known is None:
            known = read_driver(path, landmarker, *how)
        elif known.moving is not None and known.moving.path != path:  # the same content, brought again
            try:
                known = replace(known, moving=look_at(path, frames_fps, still_s))
            except Quarantine as error:
                raise refuse(path, error) from error
        self._known[key] = known
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return known

    def forget(self) -> None:
        """Remember nothing of what was read."""
        self._known.clear()
