"""gradio, which makes the page and comes with `pip install 'follow-your-emoji[studio]'`: whether it is there."""

from __future__ import annotations

from importlib.util import find_spec


def need_gradio() -> None:
    """Raise ValueError, in one line that says what to install, where gradio is not there."""
    if find_spec("gradio") is None:
        raise ValueError(
            "fye studio needs gradio, which is not installed: pip install 'follow-your-emoji[studio]', or in a "
            "checkout pip install -c constraints.txt -e '.[studio]'"
        )
