"""The fences of DiskCache: whatever happens to the folder, none from before a purge is given again after it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest

from imageproxy.caches import DiskCache
from imageproxy.caches._folder import Folder


def fence(cache: DiskCache, key: Any) -> Hashable:
    return cache.fence(key().did, key().cid)


def test_a_fence_stays_the_same_until_its_blob_or_owner_is_purged(root: Path, key: Any) -> None:
    cache, other = DiskCache(root), DiskCache(root)
    before = fence(cache, key)
    cache.set(key(), b"image")
    cache.delete(key())
    cache.cleanup()
    cache.purge(key().did, key(1).cid)
    cache.purge("did:plc:another")
    assert fence(cache, key) == fence(other, key) == before
    other.purge(key().did, key().cid)
    after_blob = fence(cache, key)
    other.purge(key().did)
    after_owner = fence(cache, key)
    assert len({before, after_blob, after_owner}) == 3


def remove_the_root(root: Path) -> None:
    shutil.rmtree(root)


def remove_the_ledger(root: Path) -> None:
    (root / "v1/ledger").unlink()


def cut_the_ledger(root: Path) -> None:
    os.truncate(root / "v1/ledger", 100)


def empty_the_ledger(root: Path) -> None:
    os.truncate(root / "v1/ledger", 0)


def put_a_pipe_there(root: Path) -> None:
    (root / "v1/ledger").unlink()
    os.mkfifo(root / "v1/ledger")


def leave_it(root: Path) -> None:
    pass


HARM = [remove_the_root, remove_the_ledger, cut_the_ledger, empty_the_ledger, put_a_pipe_there, leave_it]


@pytest.mark.parametrize("again", HARM)
@pytest.mark.parametrize("harm", HARM)
def test_whatever_was_removed_no_fence_comes_back_after_a_purge(
    root: Path, key: Any, harm: Callable[[Path], None], again: Callable[[Path], None]
) -> None:
    reader, purger = DiskCache(root), DiskCache(root)
    reader.set(key(), b"image")
    before = {fence(reader, key)}
    harm(root)
    before.add(fence(reader, key))
    harm(root)
    purger.purge(key().did, key().cid)
    assert fence(reader, key) not in before
    before.add(fence(reader, key))
    purger.purge(key().did)
    if root.exists():
        again(root)
    assert fence(reader, key) not in before
    assert reader.set_fenced(key(), b"image", fence(reader, key)) is True


def test_a_purge_outdates_what_was_read_while_it_was_under_way(
    root: Path, key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A faster cache takes the fence after the purge left its mark, and the image before the purge removes it."""
    cache = DiskCache(root)
    cache.set(key(), b"image")
    taken: list[tuple[Hashable, bytes | None]] = []

    unlink = Folder.unlink

    def interrupted(self: Folder, name: str) -> bool:
        reader = DiskCache(root)
        taken.append((fence(reader, key), reader.get(key())))
        return unlink(self, name)

    monkeypatch.setattr(Folder, "unlink", interrupted)
    assert cache.purge(key().did, key().cid) == 1
    ((meanwhile, data),) = taken
    assert data == b"image"
    assert fence(cache, key) != meanwhile


def test_while_the_folder_cannot_be_used_the_fence_is_the_same_and_stores_nothing(root: Path, key: Any) -> None:
    root.write_text("in the way")
    cache = DiskCache(root)
    broken = fence(cache, key)
    assert fence(cache, key) == broken
    root.unlink()
    assert cache.set_fenced(key(), b"image", broken) is False
    assert fence(cache, key) != broken


def test_the_next_time_that_the_folder_cannot_be_used_the_fence_is_another(root: Path, key: Any) -> None:
    cache = DiskCache(root)
    fences = []
    for _ in range(3):
        root.write_text("in the way")
        fences.append(fence(cache, key))
        root.unlink()
        fences.append(fence(cache, key))
        shutil.rmtree(root)
    assert len(set(fences)) == 6


def test_a_purge_of_a_folder_that_cannot_be_used_outdates_the_fence_all_the_same(root: Path, key: Any) -> None:
    root.write_text("in the way")
    cache = DiskCache(root)
    broken = fence(cache, key)
    assert cache.purge(key().did) == 0
    assert fence(cache, key) != broken


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO])
def test_where_others_may_purge_unseen_no_two_fences_are_the_same(
    root: Path, key: Any, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    cache = DiskCache(root)
    fences = [fence(cache, key)]

    def fail(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", fail)
    fences += [fence(cache, key) for _ in range(3)]
    monkeypatch.undo()
    assert len(set(fences)) == 4
    assert fence(cache, key) == fences[0]


def test_a_purge_of_a_forbidden_folder_does_not_seem_to_have_worked(
    root: Path, key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DiskCache(root)
    cache.set(key(), b"image")

    def fail(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "lstat", fail)
    with pytest.raises(PermissionError):
        cache.purge(key().did)


def test_a_child_of_a_fork_and_its_parent_see_the_purges_of_each_other(root: Path, key: Any, python: Any) -> None:
    process = python(
        """
import os
cache = DiskCache(root)
fence = lambda: cache.fence(key().did, key().cid)
before = fence()
pid = os.fork()
if pid == 0:
    assert fence() == before
    cache.purge(key().did)
    os._exit(fence() != before)
tell(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
tell(fence() != before)
"""
    )
    assert process.communicate()[0].split() == ["1", "True"]


def test_a_system_without_pread_will_do(python: Any) -> None:
    process = python(
        """
import os
del os.pread, os.pwrite
for name in [name for name in sys.modules if name.startswith("imageproxy")]:
    del sys.modules[name]
from imageproxy.caches import DiskCache
cache = DiskCache(root)
fence = cache.fence(key().did, key().cid)
tell(cache.set_fenced(key(), b"image", fence))
tell(cache.fence(key().did, key().cid) == fence)
cache.purge(key().did)
tell(cache.fence(key().did, key().cid) == fence)
"""
    )
    assert process.communicate()[0].split() == ["True", "True", "False"]
