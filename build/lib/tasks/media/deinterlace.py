"""Interlaced frames, two half pictures of different instants in alternate rows, become one picture of one instant."""

from __future__ import annotations

import av
import av.error

_FILTER = ("bwdif", "mode=send_frame:parity=auto:deint=interlaced")  # one frame for each, at its first half's time


class Deinterlacer:
    """Frames in, as many frames out in the same order, later by one: the filter looks at a frame's neighbours.

    Only frames that their decoder marks as interlaced are changed. Until the first of them nothing is held back.
    """

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._kind: tuple[int, int, str] | None = None

    def push(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        """The frames that are ready once this one is known."""
        kind = (frame.width, frame.height, frame.format.name)
        if self._graph is None and not frame.interlaced_frame:
            return [frame]
        before = self.finish() if kind != self._kind else []
        if self._graph is None:
            self._graph, self._kind = _graph(frame), kind
        self._graph.vpush(frame)
        return before + self._ready()

    def finish(self) -> list[av.VideoFrame]:
        """The frames that were still held back."""
        if self._graph is None:
            return []
        self._graph.vpush(None)
        rest = self._ready()
        self._graph = self._kind = None
        return rest

    def _ready(self) -> list[av.VideoFrame]:
        assert self._graph is not None
        frames = []
        while True:
            try:
                frames.append(self._graph.vpull())
            except (av.error.BlockingIOError, av.error.EOFError):
                return frames


def _graph(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1
    begin = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(begin, graph.add(*_FILTER), graph.add("buffersink")).configure()
    return graph
