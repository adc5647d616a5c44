"""Mutants of the stores: in memory, SQLite, and PostgreSQL where a server can be started."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["IN_STORES"]

_FLOW_INBOX = "tests/flow/test_inbox.py::"
_RECOVERY = "tests/flow/test_recovery.py::"
_COMMITS = "tests/unit/stores/test_sqlite_commits.py::"
_TOGETHER = f"{_COMMITS}test_of_units_that_are_committed_together_each_is_for_its_own_log"
_OWNERS = "tests/unit/stores/test_sqlite_owners.py::"
_PROCESSES = "tests/unit/stores/test_sqlite_processes.py::"
_ROWS = "tests/unit/stores/test_sqlite_rows.py::"
_STORAGE = "tests/unit/stores/test_sqlite_storage.py::"
_TROUBLE = "tests/unit/stores/test_sqlite_trouble.py::"
_PG_COMMITS = "tests/unit/stores/test_postgres_commits.py::"
_PG_LEASES = "tests/unit/stores/test_postgres_leases.py::"
_PG_LEASES_MORE = "tests/unit/stores/test_postgres_leases_more.py::"
_PG_PROCESSES = "tests/unit/stores/test_postgres_processes.py::"

_MEMORY = (
    Mutant(
        "memory-epoch-unchecked",
        "A unit is recorded whoever owns the run (memory).",
        "stores/memory.py",
        (("if log.epoch != claim.epoch or log.last_seq != last:", "if log.last_seq != last:"),),
        ("tests/unit/engine/test_journal.py::test_who_lost_the_claim_writes_nothing",),
    ),
    Mutant(
        "memory-late-dropped",
        "An answer that was paid for is dropped when its unit is refused (memory).",
        "stores/memory.py",
        (("for item in late_items(events, at=now_us()):", "for item in ():"),),
        (f"{_FLOW_INBOX}test_what_depends_on_it_goes_on_with_the_late_answer",),
    ),
    Mutant(
        "memory-takeover-same-epoch",
        "Who takes a run over has the epoch of its former owner (memory).",
        "stores/memory.py",
        (("        log.epoch += 1\n", "        log.epoch += not takeover\n"),),
        ("tests/contract/test_store_contract.py::test_what_refuses_names_the_run_and_what_to_do",),
    ),
    Mutant(
        "memory-releases-anyway",
        "A run is given up although something waits in its inbox (memory).",
        "stores/memory.py",
        (("        if log.inbox:\n            return False\n", ""),),
        ("tests/contract/test_store_contract.py::test_the_memory_store_keeps_every_rule",),
    ),
)

_UNITS = (
    Mutant(
        "two-transactions",
        "The row of a run and its events are committed in two transactions.",
        "stores/sqlite/appends.py",
        (
            (
                "        insert_events(connection, values_of(unit, run=n))\n        if self._consumed:",
                '        connection.execute("COMMIT")\n'
                '        connection.execute("BEGIN IMMEDIATE")\n'
                "        insert_events(connection, values_of(unit, run=n))\n        if self._consumed:",
            ),
        ),
        (f"{_COMMITS}test_a_unit_that_cannot_be_written_stands_in_nobodys_way",),
    ),
    Mutant(
        "commit-in-finally",
        "A transaction is committed however it ended.",
        "stores/sqlite/writer.py",
        (
            (
                '                    connection.execute("ROLLBACK")\n            self._is_alone = False',
                '                    connection.execute("COMMIT")\n            self._is_alone = False',
            ),
        ),
        (f"{_COMMITS}test_a_unit_that_cannot_be_written_stands_in_nobodys_way",),
    ),
    Mutant(
        "epoch-unchecked",
        "A unit is recorded whoever owns the run.",
        "stores/sqlite/appends.py",
        (("WHERE id = ? AND epoch = ? AND last_seq = ?", "WHERE id = ? AND ? IS NOT NULL AND last_seq = ?"),),
        (f"{_PROCESSES}test_a_stopped_process_is_taken_over_by_hand_and_then_writes_nothing",),
    ),
    Mutant(
        "place-unchecked",
        "A unit is recorded although it does not follow the last one.",
        "stores/sqlite/appends.py",
        (("WHERE id = ? AND epoch = ? AND last_seq = ?", "WHERE id = ? AND epoch = ? AND ? IS NOT NULL"),),
        (f"{_ROWS}test_a_unit_that_is_tried_again_after_its_commit_is_answered_and_not_written_twice",),
    ),
    Mutant(
        "totals-unwritten",
        "The row of a run that ends does not say what it used.",
        "stores/sqlite/appends.py",
        (("totals = coalesce(?, totals)", "totals = coalesce(totals, ?)"),),
        ("tests/flow/test_reading.py::test_a_list_tells_what_each_run_used_and_cost_when_it_last_ended",),
    ),
    Mutant(
        "repeated-refused",
        "A unit that is tried again after its commit is taken for another owner's.",
        "stores/sqlite/appends.py",
        (("if unit and first == before + 1 and has_events(", "if False and has_events("),),
        (f"{_ROWS}test_a_unit_that_is_tried_again_after_its_commit_is_answered_and_not_written_twice",),
    ),
    Mutant(
        "late-dropped",
        "An answer that was paid for is dropped when its unit is refused.",
        "stores/sqlite/appends.py",
        (("for item in late_items(self._events, at=now_us()):", "for item in ():"),),
        (f"{_ROWS}test_a_paid_answer_of_a_lost_claim_is_kept_once_for_the_new_owner",),
    ),
    Mutant(
        "last-answer-counts",
        "Of two items of one kind in an inbox the second one counts.",
        "stores/sqlite/rows.py",
        (("INSERT OR IGNORE INTO inbox", "INSERT OR REPLACE INTO inbox"),),
        (f"{_ROWS}test_a_paid_answer_of_a_lost_claim_is_kept_once_for_the_new_owner",),
    ),
    Mutant(
        "taken-stays",
        "What was taken up from the inbox stays there.",
        "stores/sqlite/appends.py",
        (("UPDATE inbox SET taken = 1, data = NULL", "UPDATE inbox SET taken = 0"),),
        (f"{_ROWS}test_consumed_items_and_events_go_together_or_not_at_all",),
    ),
    Mutant(
        "key-for-any-inputs",
        "An idempotency key is good for any inputs.",
        "stores/sqlite/units.py",
        (("(known.workflow, known.inputs_sha) == (row.workflow, row.inputs_sha)", "known.workflow == row.workflow"),),
        ("tests/contract/test_sqlite_contract.py::test_the_sqlite_store_passes_the_conformance_suite[process]",),
    ),
    Mutant(
        "releases-anyway",
        "A run is given up although something waits in its inbox.",
        "stores/sqlite/units.py",
        (("            if is_waiting:\n                return False\n", ""),),
        ("tests/contract/test_sqlite_contract.py::test_the_sqlite_store_passes_the_conformance_suite[process]",),
    ),
    Mutant(
        "claims-living",
        "A claim does not ask whether the owner lives.",
        "stores/sqlite/units.py",
        (("if former is not None and not takeover and self._owners.is_alive(", "if False and self._owners.is_alive("),),
        (f"{_PROCESSES}test_a_run_of_a_living_process_is_refused_and_of_a_killed_one_is_taken",),
    ),
    Mutant(
        "takeover-same-epoch",
        "Who takes a run over has the epoch of its former owner.",
        "stores/sqlite/units.py",
        (
            (
                "epoch, last_seq = state_of(connection, run_id, where=self._where)\n            if former",
                "epoch, last_seq = state_of(connection, run_id, where=self._where)\n"
                "            epoch -= takeover\n"
                "            if former",
            ),
        ),
        (f"{_PROCESSES}test_a_stopped_process_is_taken_over_by_hand_and_then_writes_nothing",),
    ),
    Mutant(
        "deaths-uncounted",
        "It is not counted how many owners of a run have died.",
        "stores/sqlite/units.py",
        (("(owner, epoch + 1, former is not None, n)", "(owner, epoch + 1, False, n)"),),
        (f"{_RECOVERY}test_a_run_that_ended_six_processes_is_given_up",),
    ),
    Mutant(
        "deaths-unforgiven",
        "A recorded step does not say that a run is sound.",
        "stores/sqlite/appends.py",
        (("self.factor = 1 if", "self.factor = 1 if True or"),),
        (f"{_RECOVERY}test_a_recorded_step_says_that_a_run_is_sound",),
    ),
    Mutant(
        "epoch-unchecked-together",
        "Of units that are committed together, one is recorded whoever owns the run.",
        "stores/sqlite/together.py",
        (("id = NEW.id AND epoch = NEW.epoch AND", "id = NEW.id AND"),),
        (_TOGETHER,),
    ),
    Mutant(
        "place-unchecked-together",
        "Of units that are committed together, one is recorded although it does not follow the last one.",
        "stores/sqlite/together.py",
        ((" AND last_seq = NEW.seq - 1\n", "\n"),),
        (_TOGETHER,),
    ),
    Mutant(
        "inbox-unseen-together",
        "Of units that are committed together, none is told that something waits in the inbox of its run.",
        "stores/sqlite/together.py",
        (("            AND NOT EXISTS(SELECT 1 FROM inbox WHERE run = runs.n AND taken = 0);\n", "            ;\n"),),
        (_TOGETHER,),
    ),
    Mutant(
        "deaths-unforgiven-together",
        "Of units that are committed together, none says that its run is sound.",
        "stores/sqlite/together.py",
        (("append.last_seq, append.factor)", "append.last_seq, 1)"),),
        (_TOGETHER,),
    ),
    Mutant(
        "refusal-unseen-together",
        "Of units that are committed together, one that is not for its log is added without its run knowing.",
        "stores/sqlite/together.py",
        (("        SELECT RAISE(ABORT, 'refused') WHERE NEW.last > 0 AND changes() = 0;\n", ""),),
        (_TOGETHER,),
    ),
)

_FILES = (
    Mutant(
        "sum-unchecked",
        "An event that was damaged on the disk is read as if it were sound.",
        "stores/_rows.py",
        (("if _sum(run_id, seq, kind, step, call, at, own) != kept_sum:", "if False:"),),
        (f"{_STORAGE}test_a_flipped_byte_is_told_with_its_run_and_seq",),
    ),
    Mutant(
        "gap-unseen",
        "A log of which an event is missing is read as if it were whole.",
        "stores/_rows.py",
        (("        if columns[0] != seq:", "        if False:"), ("    if len(found) != due:", "    if False:")),
        (f"{_STORAGE}test_what_was_changed_behind_the_stores_back_is_found",),
    ),
    Mutant(
        "neighbours-refused",
        "A unit that cannot be written takes those along that are committed with it.",
        "stores/sqlite/writer.py",
        (("if trouble is Trouble.UNIT and len(jobs) > 1:", "if False:"),),
        (f"{_COMMITS}test_a_unit_that_cannot_be_written_stands_in_nobodys_way",),
    ),
    Mutant(
        "unit-impatient",
        "A unit is given up when the file stays locked.",
        "stores/sqlite/writer.py",
        (("has_time = job.due is None or", "has_time = job.due is not None and"),),
        (f"{_COMMITS}test_a_unit_goes_on_when_the_patience_of_others_is_long_over",),
    ),
    Mutant(
        "unsynced",
        "A commit does not wait for the disk although that was promised.",
        "stores/sqlite/database.py",
        (('"FULL" if durability == "power" else "NORMAL"', '"NORMAL"'),),
        (f"{_COMMITS}test_the_writer_is_set_up_as_promised",),
    ),
    Mutant(
        "checkpoint-beside-write",
        "A unit is written while another process moves the log into the database.",
        "stores/sqlite/writer.py",
        (("            self._gate.share()\n            outcomes", "            outcomes"),),
        (f"{_COMMITS}test_a_write_waits_while_another_connection_checkpoints",),
    ),
    Mutant(
        "checkpoint-beside-unit",
        "Units are committed while another process moves the log into the database.",
        "stores/sqlite/writer.py",
        (
            (
                "        self._gate.share()\n        try:\n            return at_once",
                "        try:\n            return at_once",
            ),
        ),
        (f"{_COMMITS}test_a_write_waits_while_another_connection_checkpoints",),
    ),
    Mutant(
        "log-without-end",
        "The write-ahead log is never moved into the database.",
        "stores/sqlite/writer.py",
        (("is_due = self._owed >= _CHECKPOINT_BYTES", "is_due = False"),),
        (f"{_COMMITS}test_a_checkpoint_is_made_between_the_writes_of_others",),
    ),
    Mutant(
        "file-unchecked",
        "A run goes on writing to a file that is no longer where it was.",
        "stores/sqlite/hold.py",
        (("        if now != self._first:", "        if False:"),),
        (f"{_TROUBLE}test_a_file_that_is_deleted_is_not_made_anew_behind_its_runs",),
    ),
    Mutant(
        "newer-schema-used",
        "A file of a newer schema is written to.",
        "stores/sqlite/schema.py",
        (("    if version > newest:", "    if False:"),),
        (f"{_STORAGE}test_a_newer_schema_is_refused_by_name",),
    ),
    Mutant(
        "revision-still",
        "What another process commits is not noticed until half a second is over.",
        "stores/sqlite/reader.py",
        (("(self._opened_times << 32) + int(version)", "self._opened_times << 32"),),
        ("tests/unit/stores/test_sqlite_revision.py::test_it_changes_with_what_others_commit",),
    ),
    Mutant(
        "dead-owner-shown",
        "A run whose owner died is shown as if somebody carried it out.",
        "stores/sqlite/queries.py",
        (("        return replace(row, owner=None)", "        return row"),),
        ("tests/durability/test_across_processes.py::test_a_killed_run_is_gone_on_with_on_entering",),
    ),
    Mutant(
        "living-recoverable",
        "Runs of living owners are found as runs without an owner.",
        "stores/sqlite/queries.py",
        (
            (
                "                if row.owner is None or not self._owners.is_alive(",
                "                if True or self._owners.is_alive(",
            ),
        ),
        (f"{_PROCESSES}test_a_run_of_a_living_process_is_refused_and_of_a_killed_one_is_taken",),
    ),
    Mutant(
        "dead-taken-for-living",
        "An owner whose process was killed is taken for one that lives.",
        "stores/sqlite/owners.py",
        (("        return not _is_free(path)", "        return True"),),
        (f"{_PROCESSES}test_a_run_of_a_living_process_is_refused_and_of_a_killed_one_is_taken",),
    ),
    Mutant(
        "name-is-enough",
        "A process that comes back under its old name takes its old runs for carried out.",
        "stores/sqlite/owners.py",
        (("                return held.runs.get(run_id) == epoch", "                return True"),),
        (f"{_OWNERS}test_a_process_that_comes_back_under_its_name_may_take_what_it_had",),
    ),
    Mutant(
        "lock-inherited",
        "A forked child keeps the locks of its killed parent.",
        "stores/sqlite/locks.py",
        (("        os.close(descriptor)\n    _open.clear()", "        pass\n    _open.clear()"),),
        (f"{_PROCESSES}test_a_forked_child_keeps_no_lock_of_its_killed_parent_and_may_not_use_its_store",),
    ),
)

_POSTGRES = (
    Mutant(
        "postgres-half-made",
        "Tables that another process is making are taken for another program's (PostgreSQL).",
        "stores/sqlalchemy/schema.py",
        (("        known = _found(session, schema)\n    if known is None:", "    if known is None:"),),
        ("tests/unit/stores/test_postgres_trouble.py::test_tables_that_somebody_is_making_are_waited_for",),
    ),
    Mutant(
        "postgres-epoch-unchecked",
        "A unit is recorded whoever owns the run (PostgreSQL).",
        "stores/sqlalchemy/units.py",
        (("AND epoch = %(epoch)s AND last_seq", "AND %(epoch)s IS NOT NULL AND last_seq"),),
        (f"{_PG_PROCESSES}test_a_process_stopped_past_its_lease_writes_nothing_and_its_answer_waits_in_the_inbox",),
    ),
    Mutant(
        "postgres-late-dropped",
        "An answer that was paid for is dropped when its unit is refused (PostgreSQL).",
        "stores/sqlalchemy/units.py",
        (("for item in late_items(events, at=now):", "for item in ():"),),
        (f"{_PG_PROCESSES}test_a_process_stopped_past_its_lease_writes_nothing_and_its_answer_waits_in_the_inbox",),
    ),
    Mutant(
        "postgres-done-twice",
        "What was committed without an answer is taken for not done (PostgreSQL).",
        "stores/sqlalchemy/units.py",
        (("if unit and first == claim.last_seq + 1 and self._has(", "if False and self._has("),),
        (f"{_PG_COMMITS}test_what_was_committed_without_an_answer_is_not_done_twice",),
    ),
    Mutant(
        "postgres-claims-living",
        "A claim does not ask whether the owner's lease is over (PostgreSQL).",
        "stores/sqlalchemy/claims.py",
        (("                if is_alive and not takeover:", "                if False:"),),
        (f"{_PG_LEASES}test_a_claim_is_renewed_for_as_long_as_its_store_lives",),
    ),
    Mutant(
        "postgres-waits-in-line",
        "A claim waits in line behind whoever writes the run (PostgreSQL).",
        "stores/sqlalchemy/claims.py",
        ((' FOR NO KEY UPDATE SKIP LOCKED", {"id"', ' FOR NO KEY UPDATE", {"id"'),),
        (f"{_PG_LEASES}test_a_claim_does_not_wait_in_line_behind_who_writes_the_run",),
    ),
    Mutant(
        "postgres-renews-for-another",
        "A lease is renewed although another has taken the run (PostgreSQL).",
        "stores/sqlalchemy/claims.py",
        (("AND epoch = %(epoch)s AND owner IS NOT NULL", "AND %(epoch)s IS NOT NULL AND owner IS NOT NULL"),),
        (f"{_PG_LEASES}test_a_claim_that_was_taken_is_renewed_no_more",),
    ),
    Mutant(
        "postgres-releases-anyway",
        "A run is given up although something waits in its inbox (PostgreSQL).",
        "stores/sqlalchemy/claims.py",
        (("if epoch == claim.epoch and is_waiting(session, n):", "if False:"),),
        ("tests/contract/test_postgres_contract.py::test_the_postgres_store_passes_the_conformance_suite[process]",),
    ),
    Mutant(
        "postgres-lease-by-own-clock",
        "A claim ends by the clock of the machine that made it (PostgreSQL).",
        "stores/sqlalchemy/claims.py",
        (
            (
                'f"lease_until = {NOW} + %(lease)s WHERE n = %(n)s"',
                '"lease_until = %(now)s + %(lease)s WHERE n = %(n)s"',
            ),
            (
                'session.run(_CLAIM, {"n": n,',
                'import time; session.run(_CLAIM, {"now": time.time_ns() // 1000, "n": n,',
            ),
        ),
        (f"{_PG_LEASES_MORE}test_a_wrong_clock_changes_nothing_about_who_owns_a_run",),
    ),
    Mutant(
        "postgres-over-by-own-clock",
        "A lease is over when the clock of the machine that asks says so (PostgreSQL).",
        "stores/sqlalchemy/queries.py",
        (
            (
                'session.rows(_OPEN, {"limit": limit})',
                'session.rows(_OPEN.replace(NOW, str(__import__("time").time_ns() // 1000)), {"limit": limit})',
            ),
        ),
        (f"{_PG_LEASES_MORE}test_a_wrong_clock_changes_nothing_about_who_owns_a_run",),
    ),
)

IN_STORES = (*_MEMORY, *_UNITS, *_FILES, *_POSTGRES)
"""Of the stores."""
