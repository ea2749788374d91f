"""Prefect's temporary server as the command line wants it: untouched by Ctrl-C, and gone when the command is gone.

Prefect starts it in the terminal's process group, so that Ctrl-C ends it before the run has told it how it ended: the
run then waits minutes for a server that is not there. And it outlives a command that was killed. Both are settled here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from fye_model.processes import die_with_parent


def start_server() -> None:
    """Start the temporary server, unless Prefect is told of another one. Prefect uses this one, and stops it at exit.

    Must be called in the main thread: the server ends with the thread that starts it.
    """
    import prefect
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url or not settings.server.ephemeral.enabled:
        return

    class Server(SubprocessASGIServer):
        def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
            """Prefect's own command and environment, in a session of its own."""
            words = ["--app-dir", str(prefect.__module_path__.parent)]
            words += ["--factory", "prefect.server.api.server:create_app"]
            words += ["--host", "127.0.0.1", "--port", str(self.port), "--log-level", "error", "--lifespan", "on"]
            own = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
            return subprocess.Popen(
                [sys.executable, "-m", "uvicorn", *words],
                env={**os.environ, **own, **settings.to_environment_variables(exclude_unset=True)},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    Server().start()  # Prefect keeps one for each port, whatever its class
