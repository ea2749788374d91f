"""While many records are made nothing looks for cycles among them, and afterwards it is as it was."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from tasks.engine.many import many_records


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if before else gc.disable)()


def test_within_it_is_off_and_after_an_error_on_again() -> None:
    with pytest.raises(KeyError), many_records():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_one_within_another_leaves_it_off() -> None:
    @many_records()
    def inner() -> bool:
        return gc.isenabled()

    with many_records():
        assert not inner() and not gc.isenabled()
    assert gc.isenabled()


def test_the_last_of_two_threads_turns_it_on_again() -> None:
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def second() -> None:
        first_is_in.wait(10)
        with many_records():
            second_is_in.set()
            first_is_out.wait(10)
            seen.append(gc.isenabled())

    thread = threading.Thread(target=second)
    thread.start()
    with many_records():
        first_is_in.set()
        assert second_is_in.wait(10)
    first_is_out.set()
    thread.join(10)
    assert seen == [False] and gc.isenabled()


def test_where_it_was_off_it_stays_off() -> None:
    gc.disable()
    with many_records():
        pass
    assert not gc.isenabled()
