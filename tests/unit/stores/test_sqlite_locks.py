"""The lock that keeps checkpoints and writes apart."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from llmorch.stores.sqlite.locks import CheckpointLock, try_lock


def test_who_holds_it_alone_keeps_others_out(tmp_path: Path) -> None:
    path = tmp_path / "runs.db.ckpt"
    gate = CheckpointLock(path)
    gate.share()
    with path.open("rb") as mine:
        assert not try_lock(mine.fileno(), fcntl.LOCK_EX)
        gate.release()
        assert try_lock(mine.fileno(), fcntl.LOCK_EX)
        assert not gate.take_alone()
    assert gate.take_alone()
    gate.close()


def test_a_lock_that_cannot_be_had_at_all_is_an_error() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    os.close(reading)
    with pytest.raises(OSError) as caught:
        try_lock(reading, fcntl.LOCK_SH)
    assert caught.value.errno == errno.EBADF
    assert caught.value.strerror == os.strerror(errno.EBADF)
