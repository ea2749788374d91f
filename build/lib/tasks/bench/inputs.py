"""The files of a bench, and methods' videos of it, as stages read them: by where they lie and what they hold."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.bench.manifest import Bench
from tasks.bench.methods import Method
from tasks.engine.store import FileRef, HashMemory, Store

Videos = Mapping[str, FileRef]  # pair's name -> its result


def bench_file(bench: Bench, file: str) -> FileRef:
    """A file of a bench, whose digest its manifest vouches for."""
    entry = bench.header.files[file]
    return FileRef(str(bench.path(file).resolve()), entry.sha256, entry.size)


def method_videos(store: Store, method: Method) -> Videos:
    """A method's videos; their digests are remembered in the store."""
    hashes = HashMemory(store)
    refs = {pair: FileRef(str(path), *hashes.digest(path)) for pair, path in method.videos.items()}
    hashes.save()
    return refs
