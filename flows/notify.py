"""Automations of a Prefect server that call a webhook: when a run fails, and when a trained model is not promoted."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit
from uuid import UUID

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.settings import get_current_settings
from prefect.types import SecretDict
from pydantic import SecretStr

from flows.promoting import EVENTS
from flows.server import check_answer

# whose failures are told: all that are deployed
FLOWS = (
    "retrain",
    "retrain-weekly",
    "refresh",
    "capture",
    "pack",
    "evaluate",
    "evaluate-bench",
    "score",
    "ablate",
    "animate",
)
FAILED = "fye: a run failed"
QUALITY = "fye: a trained model"
_BLOCK = "fye-notify"
# Templates of Prefect; JSON, with the words twice, because chat programs read `text`.
_OF_RUN = (
    '{"text": {{ ("fye: the run " ~ event.resource["prefect.resource.name"] ~ " ended as "'
    ' ~ event.payload.validated_state.name ~ ": " ~ event.payload.validated_state.message) | tojson }},'
    ' "event": {{ event.event | tojson }}, "run": {{ event.resource["prefect.resource.id"] | tojson }}}'
)
_OF_MODEL = (
    '{"text": {{ ("fye: " ~ event.event ~ " in " ~ event.payload.work ~ ", model " ~ event.payload.model ~ ": "'
    ' ~ event.payload.why) | tojson }}, "event": {{ event.event | tojson }}, "model": {{ event.payload | tojson }}}'
)


def make_automations(webhook: str) -> list[str]:
    """Have the server that Prefect is told of call a webhook; returns the automations' names.

    Automations and webhook of an earlier call are replaced. Raises ValueError for what is no web address, and where
    Prefect is told of no server: one that ends with the command tells nobody.
    """
    address = get_current_settings().api.url
    if not address:
        raise ValueError("notifications are a server's that stays: give its address in PREFECT_API_URL")
    check_answer(address)
    parts = urlsplit(webhook)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"--webhook {webhook!r} is no web address; expected https://HOST/PATH")
    block = Webhook(method="POST", url=SecretStr(webhook), headers=SecretDict({"Content-Type": "application/json"}))
    document = UUID(str(block.save(_BLOCK, overwrite=True)))
    remove_automations()
    ours = [f"prefect.flow.{number}" for number in _flow_ids(FLOWS)]
    made = [
        Automation(
            name=FAILED,
            description="A run of these flows failed, crashed or timed out.",
            trigger=EventTrigger(
                expect={f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")},
                match_related={"prefect.resource.role": "flow", "prefect.resource.id": ours},
                for_each={"prefect.resource.id"},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[CallWebhook(block_document_id=document, payload=_OF_RUN)],
        ),
        Automation(
            name=QUALITY,
            description="A trained model was refused by the rule, waits for a person, or was put to use.",
            trigger=EventTrigger(expect={f"{EVENTS}.*"}, posture=Posture.Reactive, threshold=1),
            actions=[CallWebhook(block_document_id=document, payload=_OF_MODEL)],
        ),
    ]
    for automation in made:
        automation.create()
    return [automation.name for automation in made]


def remove_automations() -> list[str]:
    """Take away what `make_automations` made; returns the names of those that were there."""
    with get_client(sync_client=True) as client:
        found = [one for name in (FAILED, QUALITY) for one in client.read_automations_by_name(name)]
        for automation in found:
            client.delete_automation(automation.id)
    return [automation.name for automation in found]


def _flow_ids(names: Sequence[str]) -> list[str]:
    """The server's ids of flows, which it is told of where it does not know them yet."""
    with get_client(sync_client=True) as client:
        return [str(client.create_flow_from_name(name)) for name in names]
