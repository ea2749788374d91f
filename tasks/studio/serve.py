"""The page on the air: to this machine alone unless it is said otherwise, and without a word to the outside."""

from __future__ import annotations

import ipaddress
import os
import re
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from tasks.studio.extra import need_gradio

LOOPBACK = "127.0.0.1"
_HERE = ("127.0.0.1", "localhost", "[::1]")
# gradio's page makes functions of its own templates; apart from that, nothing may come from or go anywhere else
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; frame-ancestors 'none'; "
    "form-action 'self'"
)
_ELSEWHERE = re.compile(r"/(file=|proxy=)https?[:%]", re.IGNORECASE)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Guard:
    """In front of every request. hosts: names under which the page may be asked for, None for any.

    A page of another site whose name suddenly means this machine is turned away by that name, and one that has a
    browser send something here by where that comes from. Requests that would have the server fetch an address are
    refused, and browsers are told to load nothing from elsewhere.
    """

    def __init__(self, app: Any, hosts: tuple[str, ...] | None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        name = re.sub(r":\d+$", "", host)
        origin = headers.get(b"origin", b"").decode("latin-1")  # browsers name it with everything but plain reading
        if self.hosts is not None and name not in self.hosts:
            await _refuse(send, f"this page is served to {', '.join(self.hosts)}, not to {name!r}")
        elif origin and origin.partition("://")[2] != host:
            await _refuse(
                send, f"this page takes nothing from another one ({origin!r}); a proxy keeps the name {host!r}"
            )
        elif _ELSEWHERE.search(scope["path"]):
            await _refuse(send, "files of this page alone are served")
        else:
            await self.app(scope, receive, _with_policy(send))


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches what is bound to an address."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def keep_quiet(home: Path) -> None:
    """Have gradio send nothing anywhere, and put everything temporary below `home`. Call it before it is imported."""
    for name, value in {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "GRADIO_TEMP_DIR": str(home),
    }.items():
        os.environ[name] = value
    for name in ("GRADIO_SHARE", "GRADIO_ALLOWED_PATHS", "GRADIO_ROOT_PATH", "GRADIO_LOCAL_DEV_MODE"):
        os.environ.pop(name, None)
    tempfile.tempdir = str(home)


def launch(page: Any, address: str, port: int | None, upload_mb: float, theme: Any, css: str) -> str:
    """Serve a page in threads of its own; its address. port: None takes the first free one from 7860 on.

    theme: gradio's. Raises ValueError for an address or a port that cannot be had.
    """
    need_gradio()
    from starlette.middleware import Middleware

    hosts = (*_HERE, address) if is_loopback(address) else None
    try:
        _, url, _ = page.queue(api_open=False).launch(
            server_name=address,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            inbrowser=False,
            show_error=True,
            max_file_size=round(upload_mb * 1e6),
            allowed_paths=[],
            enable_monitoring=False,
            run_history=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            footer_links=[],
            app_kwargs={"middleware": [Middleware(Guard, hosts=hosts)]},
            theme=theme,
            css=css,
        )
    except OSError as error:
        where = address if port is None else f"{address}, port {port}"
        raise ValueError(f"the page cannot be served at {where}: {error}; give another --host or --port") from error
    return str(url)


async def _refuse(send: Send, why: str) -> None:
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": why.encode()})


def _with_policy(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            policy = (b"content-security-policy", _POLICY.encode())
            message["headers"] = [*message.get("headers", []), policy, (b"referrer-policy", b"same-origin")]
        await send(message)

    return sending
