"""Mutants of what carries runs out and takes them up again."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["IN_ENGINE"]

_CALLS = "tests/flow/test_calls.py::"
_FORKS = "tests/flow/test_forks.py::"
_INBOX = "tests/flow/test_inbox.py::"
_JOURNAL = "tests/unit/engine/test_journal.py::"
_DELIVERY = "tests/unit/engine/test_delivery.py::"
_RECOVERY = "tests/flow/test_recovery.py::"
_RESUME = "tests/flow/test_resume.py::"
_RESUME_MORE = "tests/flow/test_resume_more.py::"

_SENDING = (
    Mutant(
        "unawaited-start",
        "A request is sent without waiting until its start is committed.",
        "engine/sending.py",
        (("await journal.durable(seq)", "pass"), ("journal.commit_now()", "pass")),
        (
            f"{_CALLS}test_the_start_of_a_call_is_committed_before_the_provider_is_asked",
            "tests/durability/test_random_kills.py::test_a_killed_run_ends_as_if_nothing_had_happened[chain]",
        ),
    ),
    Mutant(
        "start-after-sending",
        "The start of a call is appended when its answer is there.",
        "engine/sending.py",
        (
            ("seq = journal.append(started)", "seq = 0"),
            ("response = _sound(response, model.provider)", "journal.append(started)"),
            (
                "known = self._failed(error, model)",
                "journal.append(started)\n            known = self._failed(error, model)",
            ),
        ),
        (f"{_CALLS}test_the_start_of_a_call_is_committed_before_the_provider_is_asked",),
    ),
    Mutant(
        "attempts-in-memory",
        "The requests of a step are counted by the process, not in the log.",
        "engine/sending.py",
        (("number = self.state.call_count + 1", "number = self.state.call_count - self.state.since + 1"),),
        (f"{_RESUME}test_calls_that_were_made_stay_on_the_bill",),
    ),
    Mutant(
        "unawaited-function",
        "A function runs before its start is committed.",
        "engine/stepper.py",
        (("if self._must_wait(seq, is_pure=action.pure):", "if False:"),),
        ("tests/flow/test_events.py::test_the_start_of_a_function_is_committed_before_it_runs_unless_it_is_pure",),
    ),
    Mutant(
        "unawaited-tool",
        "A tool runs before its start is committed.",
        "engine/steps/tools.py",
        (("        await journal.flush()\n", ""),),
        ("tests/flow/test_tools.py::test_the_start_of_a_tool_is_committed_before_it_runs",),
    ),
    Mutant(
        "full-sends",
        "New requests are sent while the disk is full.",
        "engine/journal.py",
        (('return getattr(self._store, "trouble", None) == "store-full"', "return False"),),
        ("tests/durability/test_disk_full.py::test_no_new_calls_are_sent_while_the_disk_is_full",),
    ),
    Mutant(
        "truncated-accepted",
        "A streamed answer that ends before its end is taken for whole.",
        "providers/_chat_stream.py",
        (("if self._reason is None and not self._is_over:", "if False:"),),
        ("tests/wire/test_faults.py::test_a_stream_cut_at_any_byte_is_whole_or_truncated",),
    ),
    Mutant(
        "in-completion-order",
        "The results of a map are joined in the order in which its items ended.",
        "engine/state/arguments.py",
        (
            (
                "for item in state.map.items:",
                "for item in sorted(state.map.items, key=lambda item: item.finished_us if item else 0):",
            ),
        ),
        ("tests/flow/test_maps.py::test_values_stand_in_item_order_whatever_ends_first",),
    ),
)

_COMMITTING = (
    Mutant(
        "unit-halved",
        "A unit is committed in two transactions.",
        "engine/delivery.py",
        (
            (
                "return await _append(self._store, unit, claim)",
                "half = len(unit.events) // 2\n"
                "            reply = await self._store.append(claim, unit.events[:half])\n"
                "            claim.last_seq = reply.last_seq\n"
                "            return await self._store.append(claim, unit.events[half:], status=unit.status)",
            ),
        ),
        (f"{_JOURNAL}test_what_gathers_while_a_unit_is_written_is_the_next_unit",),
    ),
    Mutant(
        "later-unit-first",
        "What came after a unit that failed is committed before it.",
        "engine/journal.py",
        (
            (
                "        if self._unit is None:\n            self._unit = self._taken()\n",
                "        earlier, self._unit = self._unit, self._taken()\n"
                "        if earlier is not None:\n"
                "            if self._unit.events:\n"
                "                self._buffer = list(earlier.events)\n"
                "            else:\n"
                "                self._unit = earlier\n",
            ),
        ),
        (f"{_JOURNAL}test_a_writer_cancelled_between_two_tries_leaves_the_unit_to_the_next",),
    ),
    Mutant(
        "unit-grows",
        "A unit that failed is tried again with more events than before.",
        "engine/journal.py",
        (
            (
                "        if self._unit is None:\n            self._unit = self._taken()\n",
                "        earlier, self._unit = self._unit, self._taken()\n"
                "        if earlier is not None:\n"
                "            self._unit.events = [*earlier.events, *self._unit.events]\n",
            ),
        ),
        (f"{_JOURNAL}test_a_writer_cancelled_between_two_tries_leaves_the_unit_to_the_next",),
    ),
    Mutant(
        "unit-dropped",
        "A unit that fails for a moment is given up.",
        "engine/delivery.py",
        (("except (*_FOR_GOOD, *_MISTAKES):", "except Exception:"),),
        (
            f"{_JOURNAL}test_a_unit_that_fails_is_tried_again_as_it_is",
            "tests/durability/test_faults_append.py::"
            "test_any_error_of_append_is_tried_again_with_the_same_unit_after_growing_pauses",
        ),
    ),
    Mutant(
        "commit-cancelled",
        "A commit is cancelled together with the task that waits for it.",
        "engine/delivery.py",
        (
            (
                "shield=True) as self._scope:\n            return await _append(",
                "shield=False) as self._scope:\n            return await _append(",
            ),
        ),
        (f"{_JOURNAL}test_a_cancelled_writer_leaves_the_unit_whole",),
    ),
    Mutant(
        "hurry-unheard",
        "A run that is stopped waits for a store that does not answer, if it was waiting already.",
        "engine/delivery.py",
        (("            self._job.wake()  # it", "            pass  # it"),),
        (f"{_DELIVERY}test_a_run_that_is_stopped_does_not_wait_for_a_store_that_does_not_answer",),
    ),
    Mutant(
        "loop-held",
        "A run that is alone holds the event loop until it has ended.",
        "engine/runners.py",
        (("if places.turns == turn and journal.passes == passes:", "if False:"),),
        ("tests/unit/engine/test_executor.py::test_a_run_that_is_alone_leaves_others_their_turn_now_and_then",),
    ),
    Mutant(
        "loop-held-among-others",
        "The event loop stands still for a commit although others have something to do.",
        "engine/journal.py",
        (("if places is None or not places.is_one_held or", "if places is None or"),),
        (f"{_DELIVERY}test_a_run_among_others_leaves_them_their_turn",),
    ),
    Mutant(
        "loop-held-by-slow-disk",
        "The event loop stands still at each commit to a slow disk.",
        "engine/delivery.py",
        (("        self._slow = _COMMITS_AFTER\n", ""),),
        (f"{_DELIVERY}test_a_slow_store_gets_a_unit_once_and_is_not_waited_for_like_that_again_soon",),
    ),
    Mutant(
        "queued-again",
        "A unit that took long is given to the store a second time.",
        "engine/delivery.py",
        (
            (
                "                if self._job is None:\n                    self._job",
                "                if True:\n                    self._job",
            ),
        ),
        (f"{_DELIVERY}test_a_slow_store_gets_a_unit_once_and_is_not_waited_for_like_that_again_soon",),
    ),
    Mutant(
        "late-answer-unheard",
        "A task that went on waiting for a slow commit is not woken by it.",
        "stores/_lane.py",
        (("        finally:\n            self._gate = None\n", "        finally:\n            pass\n"),),
        ("tests/unit/stores/test_lane.py::test_a_job_that_takes_longer_wakes_the_task_that_waits_for_it_then",),
    ),
    Mutant(
        "left-without-end",
        "A run that is stopped waits for a store that does not answer.",
        "engine/delivery.py",
        (("while not job.is_done and self._deadline == _NEVER:", "while not job.is_done:"),),
        (f"{_DELIVERY}test_a_run_that_is_stopped_does_not_wait_for_a_store_that_does_not_answer",),
    ),
    Mutant(
        "end-unsaid",
        "A run that could not record its end keeps its claim in the process that wants to resume it.",
        "live.py",
        (
            (
                "(self.state.finished_us is not None and self.journal.failure is None)",
                "self.state.finished_us is not None",
            ),
        ),
        (
            "tests/unit/stores/test_sqlite_trouble.py::"
            "test_a_run_that_is_cancelled_does_not_wait_for_a_file_that_stays_locked",
        ),
    ),
    Mutant(
        "failure-forgotten",
        "Who waits for a commit is not told that the log cannot be written.",
        "engine/journal.py",
        (
            (
                "for good\n            self.failure = error",
                "for good",
            ),
        ),
        (f"{_JOURNAL}test_all_who_wait_learn_of_the_failure",),
    ),
    Mutant(
        "consumed-stays",
        "What was taken up from the inbox is not taken out of it.",
        "engine/journal.py",
        (("        self._consumed.append(item)\n", ""),),
        (f"{_INBOX}test_a_wake_is_taken_up_and_changes_nothing",),
    ),
)

_TAKING_UP = (
    Mutant(
        "definition-reread",
        "A run goes on with the workflow as it is now, not as it was when the run began.",
        "queries.py",
        (
            (
                "        if body is not None:\n            return self._rebuilt",
                "        if body is not None and row.workflow not in self.known:\n            return self._rebuilt",
            ),
        ),
        (f"{_RESUME_MORE}test_a_run_goes_on_with_the_prompts_it_began_with",),
    ),
    Mutant(
        "failures-repeated",
        "Recovery repeats steps that have failed.",
        "engine/state/resume.py",
        (
            (
                'step.status == "running" and not _is_container',
                'step.status in ("running", "failed") and not _is_container',
            ),
        ),
        (f"{_RECOVERY}test_recovery_repeats_no_failure_and_resume_does",),
    ),
    Mutant(
        "in-flight-forgotten",
        "Of a run that is taken up, steps that were in flight are not named as running again.",
        "recover.py",
        (("RunResumed(claim.epoch, reset, None", "RunResumed(claim.epoch, (), None"),),
        (f"{_RECOVERY}test_on_entering_only_what_was_in_flight_is_asked_again",),
    ),
    Mutant(
        "bill-forgotten",
        "What a step has paid for is forgotten when it runs again.",
        "engine/state/resume.py",
        (("if path in containers else _LEDGER", "if path in containers else ()"),),
        (f"{_RESUME}test_calls_that_were_made_stay_on_the_bill",),
    ),
    Mutant(
        "map-forgotten",
        "How many items a map has is forgotten when it is to end again.",
        "engine/state/resume.py",
        (("_OPENS = (StepStarted, MapExpanded, LoopTurned)", "_OPENS = (StepStarted, LoopTurned)"),),
        (f"{_RESUME}test_only_the_failed_items_of_a_map_run_again",),
    ),
    Mutant(
        "resting-repeated",
        "An absorbed failure on which a recorded result rests runs again.",
        "engine/state/resume.py",
        (('elif step.status == "failed" and step.on_error != "fail" and _is_used(step, run):', "elif False:"),),
        (f"{_RESUME}test_an_absorbed_failure_on_which_a_result_rests_stays",),
    ),
    Mutant(
        "unknown-repeated",
        "A call in flight is repeated although its step says that this is to fail.",
        "engine/state/resume.py",
        (("return step.is_asking", "return False"),),
        (f"{_RECOVERY}test_a_call_in_flight_is_not_repeated_where_that_is_to_fail",),
    ),
    Mutant(
        "old-tool-round",
        "Of a tool that ran twice the run that was cut off counts, so a round that is over is asked for again.",
        "engine/state/step.py",
        (("for record in reversed(self.tools or ()):", "for record in self.tools or ():"),),
        ("tests/flow/test_recovery_more.py::test_a_tool_that_was_cut_off_once_is_not_run_a_third_time",),
    ),
    Mutant(
        "budget-anew",
        "A budget that is given on resuming knows nothing of what was spent before.",
        "engine/state/calls.py",
        (("spent.calls, spent.usd = run.tally.requests, run.priced_cost", "pass"),),
        (f"{_RESUME_MORE}test_a_budget_that_is_given_on_resuming_counts_what_was_spent_before",),
    ),
    Mutant(
        "never-poisoned",
        "A run that ends every process which takes it up is taken up for ever.",
        "recover.py",
        (("> _MOST_RECOVERIES", "> 1_000_000"),),
        (f"{_RECOVERY}test_a_run_that_ended_six_processes_is_given_up",),
    ),
    Mutant(
        "stranded-claim",
        "A run that was claimed and cannot be carried out after all keeps its owner.",
        "claims.py",
        (("if await self._store.release(claim, status=row.status):", "if not row:"),),
        (f"{_RECOVERY}test_a_resume_that_breaks_leaves_the_run_as_it_was",),
    ),
    Mutant(
        "steals-running",
        "A run that another carries out is taken from it when it is resumed.",
        "recover.py",
        (
            (
                "definition = await self._runnable(row, budget)\n        claim = await self._claims.claim(row)",
                "definition = await self._runnable(row, budget)\n"
                "        claim = await self._claims.claim(row, takeover=True)",
            ),
        ),
        (f"{_RECOVERY}test_a_run_is_neither_resumed_nor_deleted_while_its_owner_lives",),
    ),
    Mutant(
        "deletes-running",
        "A run that another process carries out is deleted under it.",
        "run_reader.py",
        ((' or (row.status == "running" and row.owner is not None)', ""),),
        (f"{_RECOVERY}test_a_run_is_neither_resumed_nor_deleted_while_its_owner_lives",),
    ),
    Mutant(
        "left-waiting",
        "Who waits for a run that is lost while it is taken up waits for ever.",
        "queries.py",
        (("        live.dismiss()\n", ""),),
        (
            "tests/flow/test_recovery_more.py::"
            "test_who_waits_for_a_run_that_is_lost_while_it_is_taken_up_gets_it_from_where_it_goes_on",
        ),
    ),
    Mutant(
        "all-recovered",
        "Runs of workflows that this process does not know are taken up.",
        "recover.py",
        (('return self.mode == "all" or row.workflow in self._queries.known', "return True"),),
        (f"{_RECOVERY}test_the_mode_says_which_runs_are_taken_up",),
    ),
)

_FROM_OTHERS = (
    Mutant(
        "cancel-ignored",
        "A wish of another process to cancel the run is taken up and ignored.",
        "engine/inbox.py",
        (("                    self._executor.cancel()", "                    pass"),),
        (f"{_INBOX}test_every_run_is_stopped_alone",),
    ),
    Mutant(
        "old-cancel",
        "A wish to cancel that came when the run had ended stops it when it is resumed.",
        "engine/inbox.py",
        (("if not self.ended or item.call > self.ended:", "if True:"),),
        (f"{_INBOX}test_a_wish_that_came_when_the_run_had_ended_does_not_stop_it_later",),
    ),
    Mutant(
        "late-unbilled",
        "The bill of a late answer does not count.",
        "engine/inbox.py",
        (("            self._journal.append(event)", "            pass"),),
        (f"{_INBOX}test_an_answer_to_a_step_that_is_done_is_only_paid_for",),
    ),
    Mutant(
        "late-unasked",
        "A late answer is not offered to its step, which asks again.",
        "engine/inbox.py",
        (("return self._executor.offer(step, item, [success], mark=mark)", "return False"),),
        (f"{_INBOX}test_an_answer_that_was_left_before_the_run_is_taken_up_is_its_result",),
    ),
    Mutant(
        "late-to-another",
        "A late answer to another question is taken for the step's result.",
        "engine/known.py",
        (("        if None not in (mark, state.fingerprint) and mark != state.fingerprint:", "        if False:"),),
        (f"{_INBOX}test_an_answer_to_another_question_is_not_taken",),
    ),
    Mutant(
        "inbox-unread",
        "An idle run does not look whether others have left something for it.",
        "lookout.py",
        (("            elif await self._store.inbox(run_id):", "            elif False:"),),
        (f"{_INBOX}test_a_run_that_is_idle_in_a_long_call_stops_within_a_second",),
    ),
    Mutant(
        "result-early",
        "Who waits for the result of a run that another process carries out gets it unfinished.",
        "queries.py",
        (('return row.owner is not None or row.status == "waiting" or self.is_awaited(row)', "return False"),),
        ("tests/flow/test_watching.py::test_the_result_of_a_run_elsewhere_is_waited_for",),
    ),
    Mutant(
        "recovers-once",
        "Runs whose process dies later are not looked for.",
        "lookout.py",
        (("                    await self._recover()", "                    pass"),),
        (f"{_RECOVERY}test_a_run_that_loses_its_process_later_is_found_within_six_seconds",),
    ),
    Mutant(
        "inputs-unhashed",
        "An idempotency key is good for any inputs.",
        "launch.py",
        (('inputs_sha = "" if instant and key is None else sha256(started.inputs)', 'inputs_sha = ""'),),
        ("tests/flow/test_idempotency.py::test_what_counts_are_the_inputs_as_they_were_validated",),
    ),
)

_ADOPTING = (
    Mutant(
        "adopts-by-path",
        "A fork adopts the result of a step whatever the step asks now.",
        "engine/results.py",
        (
            ('(_INDEX.sub("[]", step.path), mark), {})', '(_INDEX.sub("[]", step.path), ""), {})'),
            ('(_INDEX.sub("[]", path), mark or "")', '(_INDEX.sub("[]", path), "")'),
        ),
        (f"{_FORKS}test_only_the_cone_of_what_changed_is_asked",),
    ),
    Mutant(
        "adopted-twice",
        "Two items adopt one result, and the result of the other is lost.",
        "engine/results.py",
        (("        self._used.add(source)\n", ""),),
        (f"{_FORKS}test_equal_items_each_take_a_result_of_their_own",),
    ),
    Mutant(
        "adopts-anew",
        "A fork that is recovered adopts results once more that it has taken already.",
        "recover.py",
        (
            (
                'results.pass_over(step for step in live.state.steps.values() if step.status == "succeeded")',
                "pass",
            ),
        ),
        ("tests/flow/test_forks_more.py::test_equal_items_each_take_a_result_of_their_own_across_a_crash",),
    ),
    Mutant(
        "adopts-nothing-later",
        "What the walk of a fork did not reach is asked again although it is known.",
        "fork.py",
        (("    live.executor.adopt_from(made.results)\n", ""),),
        (f"{_FORKS}test_an_upstream_that_gives_the_same_again_changes_nothing_below",),
    ),
    Mutant(
        "replaced-lost",
        "A value that was given for a step is asked for in a fork of the fork.",
        "engine/adoption.py",
        (('step.status == "succeeded" and step.started_us is None:', "False:"),),
        (f"{_FORKS}test_what_was_replaced_stays_replaced_in_a_fork_of_the_fork",),
    ),
)

IN_ENGINE = (*_SENDING, *_COMMITTING, *_TAKING_UP, *_FROM_OTHERS, *_ADOPTING)
