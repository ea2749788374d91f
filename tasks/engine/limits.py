"""Prefect's limit on who computes on a GPU at a time, which its page shows, over all machines of a server.

Strict: a run of a deployment does not begin GPU work without it. Which card of a machine is free is not its business,
but that of the locks in `cards.py`, which hold without any server too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from fye_model.devices import Device
from tasks.engine.cards import InUse, cards_of, held_cards

LIMIT = "gpu"
_AT_ONCE_S = 5.0  # that the server may take to say whether a slot is free
_LEASES = "prefect.server.concurrency.lease_storage"
logger = logging.getLogger(__name__)


@contextmanager
def gpus_held(device: Device, most: int | None, what: str, share: bool = False, *, wait: bool = True) -> Iterator[None]:
    """No other run of this machine, or of this Prefect server, computes on the cards that the block is about to use.

    most: how many it takes; None: all that it sees. what: is told to those who wait. share: compute beside others.
    Raises `InUse` for who does not `wait`.
    """
    if not device.is_cuda or share:
        yield
        return
    cards = cards_of(device, most)
    with gpu_slots(len(cards), logger.info, wait=wait), held_cards(cards, what, wait=wait):
        yield


@contextmanager
def gpu_slots(count: int, log: Callable[[str], None], *, wait: bool = True) -> Iterator[None]:
    """Hold slots of the limit in a run of a deployment; a run that was started by hand has no part in it.

    Raises ValueError, with the command that makes it, where the server has no such limit, and `InUse` for who does not
    `wait`. A server that is lost meanwhile stops no work: the cards are locked.
    """
    from prefect.client.orchestration import get_client
    from prefect.concurrency.sync import concurrency
    from prefect.exceptions import ObjectNotFound
    from prefect.runtime import deployment

    if not count or deployment.id is None:
        yield
        return
    with get_client(sync_client=True) as client:
        try:
            limit = client.read_global_concurrency_limit_by_name(LIMIT)
        except ObjectNotFound as error:
            raise ValueError(
                f"Prefect's server has no limit {LIMIT!r}, which keeps two runs off one GPU; make it with as many "
                f"slots as there are cards: prefect gcl create {LIMIT} --limit 1 (prefect deploy --all does it)"
            ) from error
    if count > limit.limit:
        raise ValueError(
            f"this run wants {count} GPUs at once, and Prefect's limit {LIMIT!r} has {limit.limit}; give it as many "
            f"slots as there are cards: prefect gcl update {LIMIT} --limit {count}"
        )
    taken = f"{limit.active_slots} of {limit.limit} slots are taken"
    if limit.active_slots + count > limit.limit:
        if not wait:
            raise InUse(f"of Prefect's limit {LIMIT!r} {taken}")
        log(f"waiting for Prefect's limit {LIMIT!r}: {taken}")
    with ExitStack() as stack:
        limit_s = None if wait else _AT_ONCE_S
        slots = concurrency(
            LIMIT, occupy=count, timeout_seconds=limit_s, strict=True, raise_on_lease_renewal_failure=False
        )
        try:
            stack.enter_context(slots)
        except TimeoutError as error:  # somebody was faster
            raise InUse(f"Prefect's limit {LIMIT!r} has no slot left") from error
        yield


def make_limit(slots: int = 1) -> dict[str, int]:
    """Make the limit on the server that is deployed to, unless it is there: a step of `prefect deploy`.

    slots: cards in all. One that is there stays as it is, because whoever runs the machines may have changed it.
    Warns where the server would forget who holds what.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectAlreadyExists

    with get_client(sync_client=True) as client:
        try:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=LIMIT, limit=slots))
        except ObjectAlreadyExists:
            slots = client.read_global_concurrency_limit_by_name(LIMIT).limit
    if (problem := forgetful()) is not None:
        logger.warning("%s; %s", problem, KEEP_LEASES)
    return {"gpu_slots": slots}


KEEP_LEASES = (
    "start it in the folder of the sources, whose prefect.toml has it keep them on its disk, or with "
    f"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE={_LEASES}.filesystem"
)


def forgetful() -> str | None:
    """What is wrong with how the server in use keeps its leases, by which runs hold their places; None if nothing is.

    A server that does not tell, as those that others run for one, is taken to do well.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    with get_client(sync_client=True) as client:
        try:
            told = client.request("GET", "/admin/settings").json()
        except PrefectHTTPStatusError:
            return None
    kept = told.get("server", {}).get("concurrency", {}).get("lease_storage")
    if kept != f"{_LEASES}.memory":
        return None
    return "Prefect's server keeps leases in its memory: when it is started again, every run with a limit crashes"
