"""The page of `fye studio` in gradio: its layout, and what happens when something on it is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.components import Component

from tasks.media.opening import printable
from tasks.studio.choices import FACES, KINDS_SHOWN, STRENGTHS, Choices, bounds, strengths_of
from tasks.studio.desk import Desk, Made
from tasks.studio.running import Running
from tasks.studio.visit import Visit, Visits
from tasks.studio.words import INTRODUCTION, NO_DRIVER, NO_PORTRAIT, PASTE_BACK, bar, hint, lines, of_the_page, problem

TITLE = "Follow-Your-Emoji studio"
_LOOK_EVERY_S = 0.25
_FONTS = {"font": ["ui-sans-serif", "system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}


def uploaded_file(label: str, elem_id: str) -> Any:
    """A place for a file of the visitor's, and for nothing that the server would have to fetch from an address."""
    place = gr.File(label=label, height=150, elem_id=elem_id)
    usual = place.async_move_resource_to_block_cache

    async def without_addresses(path: str | Path | None) -> str | None:
        if "://" in str(path):
            raise gr.Error("give a file of yours, not an address")
        return await usual(path)  # type: ignore[no-any-return]

    place.async_move_resource_to_block_cache = without_addresses  # a subclass would have gradio write beside this file
    return place


def look() -> tuple[gr.themes.Default, str]:
    """Theme and style sheet; the fonts are the visitor's own."""
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return gr.themes.Default(primary_hue="orange", **_FONTS), css


def on(
    event: Callable[..., object],
    act: Callable[..., object] | None,
    given: Sequence[Component] | Component | None,
    changed: Sequence[Component] | None,
    progress: Literal["minimal", "hidden"] = "minimal",
    at_once: int | Literal["default"] | None = "default",
) -> None:
    """Have an event of the page act, for the page alone. at_once: how many visitors' may, None for any number."""
    event(act, given, changed, api_visibility="private", show_progress=progress, concurrency_limit=at_once)


class Page:
    """The page of one model. `blocks` is what is served."""

    def __init__(self, desk: Desk, visits: Visits) -> None:
        self.desk, self.visits = desk, visits
        with gr.Blocks(title=TITLE, analytics_enabled=False) as self.blocks:
            gr.HTML(INTRODUCTION)
            with gr.Row(elem_id="columns"):
                with gr.Column(scale=5, min_width=320):
                    self._portrait_part()
                    self._driver_part()
                with gr.Column(scale=6, min_width=320):
                    self._choices_part()
                    self._result_part()
            self._wire()

    def _portrait_part(self) -> None:
        gr.HTML("<h2><b>1</b> Whose face</h2>")
        self.portrait = uploaded_file("A picture with a face", "portrait")
        self.seen = gr.Image(
            show_label=False, interactive=False, visible=False, buttons=[], elem_id="seen", format="png"
        )
        self.hint = gr.HTML(hint(NO_PORTRAIT), elem_id="hint")
        with gr.Row(visible=False, elem_id="marking") as self.marking:
            tools = [("Five points", "points"), ("A box", "box")]
            self.tool = gr.Radio(tools, value="points", show_label=False, container=False, min_width=230)
            self.again = gr.Button("As found", size="sm", min_width=80, elem_id="again")
            self.anew = gr.Button("Set anew", size="sm", min_width=80, elem_id="anew")
        self.portrait_notes = gr.HTML(elem_id="portrait-notes")

    def _driver_part(self) -> None:
        gr.HTML("<h2><b>2</b> What it shall do</h2>")
        self.driver = uploaded_file("A video of a face (or a picture of an expression)", "driver")
        self.driver_seen = gr.Image(show_label=False, interactive=False, visible=False, buttons=[], elem_id="first")
        self.driver_notes = gr.HTML(hint(NO_DRIVER), elem_id="driver-notes")

    def _choices_part(self) -> None:
        usual = Choices()
        gr.HTML("<h2><b>3</b> What is taken over</h2>")
        self.kind = gr.Radio(list(KINDS_SHOWN), value="Everything", show_label=False, container=False)
        self.fields: dict[str, Component] = {}
        with gr.Row(elem_id="strengths"):
            for name, (label, info) in STRENGTHS.items():
                how = {"label": label, "info": info, "value": getattr(usual, name), "step": 0.05, "min_width": 220}
                self.fields[name] = gr.Slider(*bounds(name), elem_id=f"strength-{name}", buttons=[], **how)
        gr.HTML(hint("0 is the portrait's own, 1 as in the video, 2 twice as much."))
        with gr.Accordion("More", open=False, elem_id="more"):
            self._more(usual)

    def _more(self, usual: Choices) -> None:
        ways = ["relative", "absolute"]
        fields = self.fields
        with gr.Row():
            fields["face"] = gr.Dropdown([*FACES, "all"], value=usual.face, label="Which face of the picture")
            fields["driver_face"] = gr.Dropdown(list(FACES), value=usual.driver_face, label="Which face of the video")
            fields["rotation"] = gr.Dropdown(ways, value=usual.rotation, label="Turns from its own pose, or as there")
            fields["position"] = gr.Dropdown(ways, value=usual.position, label="Stays in its place, or goes there")
            fields["neutral"] = gr.Textbox(
                usual.neutral, label="Calm face of the video", info="auto, first, composite, mean, or a frame's number"
            )
            fields["ease_s"] = gr.Number(usual.ease_s, label="Seconds to set in and return", minimum=0, step=0.1)
            fields["still_s"] = gr.Number(usual.still_s, label="Seconds a still picture is held", minimum=0.1)
            self.steps = gr.Number(self.desk.description.sampling.steps, label="Steps", precision=0, minimum=1)
            self.seed = gr.Number(self.desk.description.sampling.seed, label="Seed", precision=0, minimum=0)
        with gr.Row():
            fields["proportions"] = gr.Checkbox(
                usual.proportions, label="Fit to this face's eyes and mouth", min_width=200
            )
            fields["limits"] = gr.Checkbox(usual.limits, label="Keep to what the model has seen", min_width=200)
            fields["paste_back"] = gr.Checkbox(usual.paste_back, label=PASTE_BACK, min_width=200)
            fields["side_by_side"] = gr.Checkbox(usual.side_by_side, label="Show beside the video", min_width=200)

    def _result_part(self) -> None:
        gr.HTML("<h2><b>4</b> The result</h2>")
        with gr.Row():
            self.preview = gr.Button("Preview", elem_id="preview", min_width=120)
            self.animate = gr.Button("Animate", variant="primary", elem_id="animate", min_width=120)
            self.stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop", min_width=80)
        gr.HTML(hint("The preview makes the two seconds in which most moves, in few steps, and shows what is drawn."))
        self.status = gr.HTML(elem_id="status")
        self.video = gr.Video(
            show_label=False, interactive=False, visible=False, autoplay=True, buttons=["download"], elem_id="video"
        )
        self.notes = gr.HTML(elem_id="notes")
        label = "The video, what is drawn on the portrait, the result"
        self.strip = gr.Image(label=label, interactive=False, visible=False, elem_id="strip", buttons=[])

    def _wire(self) -> None:
        face, still = self.fields["face"], self.fields["still_s"]
        marked = [self.seen, self.marking, self.hint, self.portrait_notes]
        on(self.portrait.upload, self._portrait_came, [self.portrait, face, self.tool], marked)
        on(self.portrait.clear, self._portrait_gone, None, marked)
        on(self.seen.select, self._clicked, [self.tool], marked)
        on(self.tool.input, self._tool_changed, [self.tool], marked)
        for again in (self.again.click, face.input):
            on(again, self._found_again, [face, self.tool], marked)
        on(self.anew.click, self._set_anew, [self.tool], marked)
        driven = [self.driver_seen, self.driver_notes]
        on(self.driver.upload, self._driver_came, [self.driver, still], driven)
        on(self.driver.clear, self._driver_gone, None, driven)
        on(self.kind.input, strengths_of, self.kind, [self.fields[name] for name in STRENGTHS])
        made = [self.status, self.stop, self.video, self.strip, self.notes]
        wanted = [self.steps, self.seed, *self.fields.values()]
        on(self.preview.click, self._previewed, wanted, made, progress="hidden", at_once=None)
        on(self.animate.click, self._animated, wanted, made, progress="hidden", at_once=None)
        on(self.stop.click, self._stopped, None, None)
        self.blocks.unload(self._left)

    @staticmethod
    def _words(visit: Visit, text: str) -> str:
        return of_the_page(visit.words(text))

    def _visit(self, request: gr.Request) -> Visit:
        return self.visits.of(str(request.session_hash))

    def _portrait_came(self, upload: str, face: str, tool: Any, request: gr.Request) -> list[Any]:
        visit = self._visit(request)
        return self._marked(visit, tool, lambda: self.desk.bring_portrait(visit, Path(upload), face))

    def _portrait_gone(self, request: gr.Request) -> list[Any]:
        visit = self._visit(request)
        visit.portrait = visit.seen = None
        return self._marked(visit, "points", lambda: None)

    def _clicked(self, tool: Any, event: gr.SelectData, request: gr.Request) -> list[Any]:
        visit = self._visit(request)
        place = (float(event.index[0]), float(event.index[1]))
        return self._marked(visit, tool, lambda: self.desk.click(visit, place, tool))

    def _found_again(self, face: str, tool: Any, request: gr.Request) -> list[Any]:
        visit = self._visit(request)
        return self._marked(visit, tool, lambda: self.desk.find_again(visit, face))

    def _set_anew(self, tool: Any, request: gr.Request) -> list[Any]:
        visit = self._visit(request)
        return self._marked(visit, tool, lambda: self.desk.clear(visit))

    def _tool_changed(self, tool: Any, request: gr.Request) -> list[Any]:
        return self._marked(self._visit(request), tool, lambda: None)

    def _marked(self, visit: Visit, tool: Any, change: Callable[[], None]) -> list[Any]:
        """Do it, and show portrait, hint and notes as they are then; what does not go is told in place of the notes."""
        told = ""
        try:
            change()
        except ValueError as error:
            told = problem(self._words(visit, str(error)))
        seen = visit.seen
        if seen is None:
            return [gr.update(value=None, visible=False), gr.update(visible=False), hint(NO_PORTRAIT), told]
        told = told or lines(self._words(visit, note) for note in seen.notes)
        shown = gr.update(value=visit.show(seen.shown(tool)), visible=True)
        return [shown, gr.update(visible=True), hint(seen.marks.told(tool)), told]

    def _driver_came(self, upload: str, still_s: float | None, request: gr.Request) -> list[Any]:
        visit = self._visit(request)
        try:
            self.desk.bring_driver(visit, Path(upload), Choices.given({"still_s": still_s}).still_s)
        except ValueError as error:
            return [gr.update(value=None, visible=False), problem(self._words(visit, str(error)))]
        seen = visit.seen_driver
        assert seen is not None and visit.driver is not None
        facts = f"{printable(visit.driver.name)}: {seen.facts}"
        told = hint(facts) + lines(self._words(visit, note) for note in seen.notes)
        shown = None if seen.picture is None else visit.show(seen.picture)
        return [gr.update(value=shown, visible=shown is not None), told]

    def _driver_gone(self, request: gr.Request) -> list[Any]:
        visit = self._visit(request)
        visit.driver = visit.seen_driver = None
        return [gr.update(value=None, visible=False), hint(NO_DRIVER)]

    def _previewed(self, request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        yield from self._run(True, values, self._visit(request))

    def _animated(self, request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        yield from self._run(False, values, self._visit(request))

    def _run(self, preview: bool, values: tuple[Any, ...], visit: Visit) -> Iterator[list[Any]]:
        steps, seed, *chosen = values
        same = gr.skip()
        try:
            choices = Choices.given(dict(zip(self.fields, chosen, strict=True)))
            running = self.desk.start(visit, choices, steps, seed, preview)
        except ValueError as error:
            words = self._words(visit, str(error))
            if visit.at_work:  # whose progress stands where the words would
                gr.Warning(escape(words))
                yield [same] * 5
            else:
                yield [problem(words), gr.update(visible=False), same, same, ""]
            return
        hidden = gr.update(value=None, visible=False)
        yield [bar(running), gr.update(visible=True), hidden, hidden, ""]
        while not running.wait(_LOOK_EVERY_S) and visit.running is running:
            yield [bar(running), same, same, same, lines(self._words(visit, line) for line in running.lines)]
        if visit.running is running:  # else the page is another run's now
            yield self._ended(running, visit)

    def _ended(self, running: Running[Made], visit: Visit) -> list[Any]:
        told = lines(self._words(visit, line) for line in running.lines)
        gone, same = gr.update(visible=False), gr.skip()
        if running.result is None:
            words = "" if running.stopped else problem(self._words(visit, running.why))
            return [words or hint("Stopped."), gone, same, same, told]
        strip = running.result.strip
        shown = gr.update(value=None if strip is None else str(strip), visible=strip is not None)
        return [bar(running), gone, gr.update(value=str(running.result.video), visible=True), shown, told]

    def _stopped(self, request: gr.Request) -> None:
        running = self._visit(request).running
        if running is not None:
            running.stop()

    def _left(self, request: gr.Request) -> None:
        self.visits.end(str(request.session_hash))
