"""Where a run writes: room, a store that keeps its promises, and a clock that agrees with it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from fye_model.files import place_folder, replace_link, write_atomic
from tasks.doctor.check import Check, State
from tasks.engine.store import Store, is_address, is_missing
from tasks.workspace.kept_runs import kept_runs
from tasks.workspace.units import size_text

LEAST, ENOUGH = 1 << 30, 10 << 30  # bytes free: below, a run fails; below, it may
SHARED, SHARED_LEAST = Path("/dev/shm"), 1 << 30  # where loader workers hand over batches
MOST_OFF_S = 2.0  # between the clock here and the one of the disk


def disk_checks(places: Mapping[str, Path]) -> Iterator[Check]:
    """Room at each place, the same disk once; and the memory that processes share."""
    seen: dict[int, list[str]] = {}
    for what, place in places.items():
        seen.setdefault(os.stat(there := _existing(place)).st_dev, [str(there)]).append(what)
    for folder, *names in seen.values():
        free = shutil.disk_usage(folder).free
        state: State = "ok" if free >= ENOUGH else "warn" if free >= LEAST else "bad"
        fix = "" if state == "ok" else "free some (`fye gc` says what a work folder need not hold)"
        yield Check(name="disk", state=state, found=f"{size_text(free)} free for {', '.join(names)}", fix=fix)
    if SHARED.is_dir() and (size := shutil.disk_usage(SHARED).total) < SHARED_LEAST:
        fix = "give the container more (--shm-size=8g), or --set runtime.loader_workers=0"
        yield Check(name="shared memory", state="warn", found=f"{size_text(size)} in {SHARED}", fix=fix)


def store_checks(work: str) -> Iterator[Check]:
    """Whether the work folder, or where it would be, keeps what a run relies on; then its clock."""
    if is_address(work):
        yield _address_check(work)
        return
    folder = _existing(Path(work))
    probe = folder / f".fye-doctor-{uuid.uuid4().hex[:12]}"
    try:
        probe.mkdir()
        broken = list(_broken(probe))
        off_s = _off_s(probe)
    except OSError as error:
        fix = "give another with --work DIR, or become its owner"
        yield Check(name="store", state="bad", found=f"{folder} cannot be written: {error.strerror}", fix=fix)
        return
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    if broken:
        fix = "use a disk of this machine, or a network file system with locks (NFS 4, with its lock service)"
        yield Check(name="store", state="bad", found=f"{folder}: {'; '.join(broken)}", fix=fix)
    else:
        yield Check(name="store", state="ok", found=f"{folder}: files are replaced whole, locks hold, links work")
    yield _clock_check(work, off_s)


def _address_check(work: str) -> Check:
    name = f".fye-doctor/{uuid.uuid4().hex}"
    try:
        store = Store(work)
        store.write_bytes(name, b"first")
        store.write_bytes(name, b"second")
        seen = store.read_bytes(name), store.names(".fye-doctor")
        store.delete(name)
        gone = not store.exists(name)
    except Exception as error:  # every kind of store has errors of its own
        told = f"{work}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no words'}"
        return Check(name="store", state="bad", found=told, fix="check the address, the credentials and the network")
    if seen[0] != b"second" or Path(name).name not in seen[1] or not gone:
        told = f"{work} does not show at once what was written or removed"
        return Check(name="store", state="bad", found=told, fix="use a store that reads what was written before")
    return Check(name="store", state="ok", found=f"{work}: writes, lists, reads and removes")


def _broken(folder: Path) -> Iterator[str]:
    """What does not work in an empty folder."""
    file, other = folder / "file", folder / "other"
    write_atomic(file, b"first")
    write_atomic(file, b"second")
    if file.read_bytes() != b"second":
        yield "a file is not replaced"
    other.mkdir()
    (other / "new").touch()
    place_folder(other, folder / "placed")
    if not (folder / "placed" / "new").is_file():
        yield "a folder cannot be renamed"
    try:
        replace_link(folder / "link", "placed")
    except OSError:
        yield "no symbolic links"
    try:
        with FileLock(folder / "lock"), suppress(Timeout), FileLock(folder / "lock", timeout=0):
            yield "a lock does not keep others out"
    except OSError as error:
        yield f"no locks ({error.strerror})"


def _off_s(folder: Path) -> float:
    """How far the disk's clock is ahead of ours."""
    before = time.time()
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"x")
        file.flush()
        written = os.fstat(file.fileno()).st_mtime
    after = time.time()
    return written - after if written > after else min(0.0, written - before)


def _clock_check(work: str, off_s: float) -> Check:
    now = datetime.now(UTC)
    if abs(off_s) > MOST_OFF_S:
        told = f"the disk's is {abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} this machine's"
        fix = "set both by NTP: what was changed since it was made is told by time"
        return Check(name="clock", state="warn", found=told, fix=fix)
    runs = [] if is_missing(work) else kept_runs(Store(work))
    if runs and (ahead := (datetime.fromisoformat(runs[-1].started) - now).total_seconds()) > MOST_OFF_S:
        told = f"the last run of {work} began {ahead / 60:.0f} minutes in the future"
        return Check(name="clock", state="warn", found=told, fix="set the clock (timedatectl), here or where it ran")
    return Check(name="clock", state="ok", found=f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _existing(place: Path) -> Path:
    """The folder itself, or the nearest one above that is there, as far as this user may look."""
    place = place.expanduser().absolute()
    return next(folder for folder in (place, *place.parents) if os.path.isdir(folder))
