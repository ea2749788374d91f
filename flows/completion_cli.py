"""`fye completion`: commands and options completed by the shell, from what the parser knows."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

Shell = Annotated[Literal["bash", "zsh", "fish"], Parameter(help="The shell that reads it.")]


def register(app: App) -> None:
    """Add the command to the command line."""

    @app.command
    def completion(shell: Shell) -> int:
        """Print a script that has your shell complete commands and options.

        Save it where the shell looks: for bash as ~/.local/share/bash-completion/completions/fye, for fish as
        ~/.config/fish/completions/fye.fish, for zsh as _fye in a folder of $fpath. It is of this version: save it again
        after an update.
        """
        print(app.generate_completion(shell=shell), end="")
        return 0
