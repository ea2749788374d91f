"""The shell completes what the parser knows, today's commands and options."""

from __future__ import annotations

import contextlib
import io
import subprocess

import pytest

from flows.cli import app


def script(shell: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert app(["completion", shell], result_action="return_value") == 0
    return printed.getvalue()


def completed(*words: str) -> set[str]:
    """What bash offers for the last of these words."""
    line = f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}"
    told = 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash"], input=f"{script('bash')}\n{line}\n_fye\n{told}", capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return set(done.stdout.split())


def test_bash_completes_commands_their_options_and_their_choices() -> None:
    assert {"retrain", "refresh", "retry"} <= completed("fye", "re")
    assert completed("fye", "retrain", "--work") == {"--work", "--workers"}
    assert completed("fye", "plan", "re") == {"retrain", "refresh"}
    assert completed("fye", "completion", "b") == {"bash"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_have_scripts_of_their_own(shell: str) -> None:
    text = script(shell)
    assert all(name in text for name in ("retrain", "import-release", "completion"))
    assert text.startswith("#compdef fye") == (shell == "zsh")
    assert ("complete -c fye" in text) == (shell == "fish")
