"""What a receipt is: the proof that an item, or a whole stage, is done, and how it is checked.

An item's receipt.json lies in its output folder and is written last. It is believed only when it is of this schema,
stage, key and item, when its row is the record that the stage declares, and when the files that it names are there. A
stage's receipt is Prefect's record of the finished stage; it names a manifest, and is believed when every outcome in
it is.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from pydantic import Field, ValidationError

from fye_model.config import Config
from fye_model.files import json_list_digest
from tasks.engine.contract import problems_with
from tasks.engine.items import Item, Outcome, Row, as_json, file_list, read_manifest, write_manifest
from tasks.engine.many import many_records
from tasks.engine.pool import WORKER_DIED
from tasks.engine.store import Store, digest, folder_files

if TYPE_CHECKING:
    from tasks.engine.stage import AnyStage, Stage

# 2: items' facts and stages' settings are typed records. What was made under 1 is not found, and made again.
RECEIPT_SCHEMA = 2
UNEXPECTED = "unexpected_error"
NOT_KEPT = frozenset({UNEXPECTED, WORKER_DIED})  # reasons that may be the machine's: tried again in the next run
logger = logging.getLogger(__name__)


class ItemReceipt(Config):
    """receipt.json of an item."""

    schema_version: int = Field(RECEIPT_SCHEMA, alias="schema")
    stage: str
    version: str
    key: str
    item: str
    files: dict[str, tuple[int, str]]
    row: object
    reason: str | None
    message: str | None
    seconds: float


class StageReceipt(Config):
    """What Prefect keeps of a finished stage."""

    schema_version: int = Field(RECEIPT_SCHEMA, alias="schema")
    stage: str
    key: str
    manifest: str  # path in the store
    manifest_size: int
    digest: str
    done: int
    quarantined: int
    fresh: int
    settled: bool  # no item is to be tried again


def item_folder(stage: AnyStage, key: str) -> str:
    """Where in the store an item's outputs lie."""
    return f"items/{stage.name}/{key[:32]}"


def stage_key(stage: AnyStage, items: Iterable[tuple[str, str]]) -> str:
    """The key of a stage over items, each with its name and key."""
    return digest([stage.name, [list(item) for item in items]])


def _manifest(stage: AnyStage, key: str) -> str:
    return f"stages/{stage.name}/{key[:32]}.parquet"


class Receipts(Generic[Row]):
    """The receipts of one stage in one store."""

    def __init__(self, store: Store, stage: Stage[Any, Any, Row]) -> None:
        self.store, self.stage = store, stage

    def look(self, folder: str) -> Outcome[Row] | None:
        """The outcome that a receipt in this folder tells of, whatever its settings; None where there is none."""
        try:
            receipt = ItemReceipt.model_validate_json(self.store.read_bytes(f"{folder}/receipt.json"))
            if (receipt.schema_version, receipt.stage) != (RECEIPT_SCHEMA, self.stage.name):
                return None
            files, rest = file_list(receipt.files), (receipt.reason, receipt.message, receipt.seconds)
            return Outcome(receipt.item, receipt.item, receipt.key, folder, files, None, *rest)
        except (OSError, ValueError):
            return None

    def find(self, item: Item[Any], key: str, tell: bool = True) -> Outcome[Row] | None:
        """An item's outcome when a believable receipt says so, else None; `tell`s why one that is there is not."""
        folder = item_folder(self.stage, key)
        path = f"{folder}/receipt.json"
        try:
            receipt = ItemReceipt.model_validate_json(self.store.read_bytes(path))
            expected = (RECEIPT_SCHEMA, self.stage.name, key, item.id)
            if (receipt.schema_version, receipt.stage, receipt.key, receipt.item) != expected:
                raise ValueError("it belongs to another item, stage or version")
            if receipt.reason in NOT_KEPT:  # as earlier versions kept them
                return None
            done = receipt.reason is None
            if problems := problems_with(receipt.files, self.stage.writes if done else {}):
                raise ValueError(f"its files are not those of this stage: {'; '.join(problems)}")
            result = self.stage.row.model_validate(receipt.row) if done or receipt.row is not None else None
            rest = (receipt.reason, receipt.message, receipt.seconds)
            outcome = Outcome(item.id, item.name, key, folder, file_list(receipt.files), result, *rest)
            return outcome if self.store.holds(folder, outcome.files) else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            said = "it is not a receipt" if isinstance(error, ValidationError | UnicodeDecodeError) else error
            if tell:
                logger.warning("%s is not believed (%s); %s is done again", path, said, item.name)
            return None

    @many_records()
    def find_all(self, items: Sequence[Item[Any]], keys: Sequence[str], tell: bool = True) -> list[Outcome[Row] | None]:
        """What `find` says of each item, in order."""
        return [self.find(item, key, tell) for item, key in zip(items, keys, strict=True)]

    def settle(self, item: Item[Any], key: str, scratch: Path, row: Row, seconds: float) -> Outcome[Row]:
        """Publish what a worker made in `scratch`, receipt last; where another machine was faster, its outcome."""
        files = folder_files(scratch)
        if problems := problems_with(files, self.stage.writes):
            raise RuntimeError(f"{self.stage.name} wrote other files than it declares: {'; '.join(problems)}")
        folder = item_folder(self.stage, key)
        outcome = Outcome(item.id, item.name, key, folder, file_list(files), row, seconds=round(seconds, 3))
        with self.store.publishing(folder):
            faster = self.find(item, key, tell=False) if self.store.local_root is None else None
            if faster is None:
                self.store.publish(scratch, folder, self._receipt(outcome))
                return outcome
        shutil.rmtree(scratch)
        return faster

    def set_aside(
        self,
        item: Item[Any],
        key: str,
        reason: str,
        message: str,
        seconds: float = 0.0,
        scratch: Path | None = None,
        found: Row | None = None,
    ) -> Outcome[Row]:
        """Quarantine an item for good: until its inputs, settings or the stage's version change. found: see
        `Quarantine`."""
        if scratch is not None:
            shutil.rmtree(scratch)
        outcome = replace(self.failed(item, key, reason, message, seconds), result=found)
        self.store.write_bytes(f"{outcome.folder}/receipt.json", self._receipt(outcome))
        return outcome

    def failed(self, item: Item[Any], key: str, reason: str, message: str, seconds: float = 0.0) -> Outcome[Row]:
        """The outcome of an item that came to nothing. No receipt tells of it: the next run tries it again."""
        folder = item_folder(self.stage, key)
        return Outcome(item.id, item.name, key, folder, {}, None, reason, message, seconds=round(seconds, 3))

    @many_records()
    def write_stage(self, key: str, outcomes: Sequence[Outcome[Row]], fresh: int) -> StageReceipt:
        """Write the manifest of a finished stage; returns its receipt."""
        manifest = _manifest(self.stage, key)
        return StageReceipt(
            schema=RECEIPT_SCHEMA,
            stage=self.stage.name,
            key=key,
            manifest=manifest,
            manifest_size=write_manifest(self.store, manifest, outcomes),
            digest=json_list_digest(outcome.identity() for outcome in outcomes),
            done=sum(outcome.done for outcome in outcomes),
            quarantined=sum(not outcome.done for outcome in outcomes),
            fresh=fresh,
            settled=all(outcome.reason not in NOT_KEPT for outcome in outcomes),
        )

    @many_records()
    def verify(self, receipt: StageReceipt, key: str) -> list[Outcome[Row]]:
        """The outcomes of a stage; ValueError unless everything that its receipt names is there as recorded."""
        expected = (RECEIPT_SCHEMA, self.stage.name, key, _manifest(self.stage, key), True)
        said = (receipt.schema_version, receipt.stage, receipt.key, receipt.manifest, receipt.settled)
        if said != expected:
            raise ValueError("the receipt is of another version, stage or key, or of a run with failures to try again")
        if self.store.size(receipt.manifest) != receipt.manifest_size:
            raise ValueError(f"{receipt.manifest} is missing or damaged")
        outcomes = self.outcomes(receipt)
        if stage_key(self.stage, ((outcome.name, outcome.key) for outcome in outcomes)) != key:
            raise ValueError(f"{receipt.manifest} tells of other items")
        for outcome in outcomes:
            known = outcome.folder == item_folder(self.stage, outcome.key)
            if not known or not self.store.holds(outcome.folder, outcome.files):
                raise ValueError(f"an output of {outcome.name} is missing or damaged")
        return outcomes

    @many_records()
    def outcomes(self, receipt: StageReceipt) -> list[Outcome[Row]]:
        """The outcomes that a stage's receipt names, in the order of its items."""
        return read_manifest(self.store, receipt.manifest, self.stage.row)

    def _receipt(self, outcome: Outcome[Row]) -> bytes:
        receipt = ItemReceipt(
            schema=RECEIPT_SCHEMA,
            stage=self.stage.name,
            version=self.stage.version,
            key=outcome.key,
            item=outcome.id,
            files=outcome.files,
            row=as_json(outcome.result),
            reason=outcome.reason,
            message=outcome.message,
            seconds=outcome.seconds,
        )
        return (json.dumps(receipt.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True) + "\n").encode()
