"""How many jobs the SQLite store commits together."""

from __future__ import annotations

from llmorch.stores.sqlite.pace import Pace


def test_few_jobs_are_committed_together_and_of_many_a_half_goes_first() -> None:
    pace = Pace()
    assert [pace.share(waiting) for waiting in (1, 2, 31, 32, 256)] == [1, 2, 31, 16, 128]


def test_a_disk_that_is_slower_than_the_loop_gets_all_at_once() -> None:
    pace = Pace()
    pace.took(0.01)
    assert pace.share(32) == 32
    assert pace.share(256) == 128
    pace.took(0.1)
    assert pace.share(256) == 256
    pace.took(0.0005)
    assert pace.share(32) == 16
