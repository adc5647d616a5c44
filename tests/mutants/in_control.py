"""Mutants of loops, dispatch, questions, scripts and claims."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["IN_CONTROL"]

_AGAIN = "tests/flow/test_control_again.py::"
_DISPATCH = "tests/flow/test_dispatch.py::"
_KILLS = "tests/durability/test_random_kills.py::test_a_killed_run_ends_as_if_nothing_had_happened"
_LOOPS = "tests/flow/test_loops.py::"
_OPEN = "tests/flow/test_open_questions.py::"
_STRANDED = "tests/flow/test_stranded.py::"
_REFERENCE = "tests/flow/test_reference.py::test_any_workflow_gives_what_the_reference_interpreter_gives"
_ANYWHERE = "tests/flow/test_resume_anywhere.py::test_a_run_cut_anywhere_and_taken_up_gives_what_the_interpreter_gives"

_LOOP_MUTANTS = (
    Mutant(
        "turn-forgotten",
        "What a loop made of an iteration is decided again when a run is resumed.",
        "engine/state/resume.py",
        (("_OPENS = (StepStarted, MapExpanded, LoopTurned)", "_OPENS = (StepStarted, MapExpanded)"),),
        (f"{_AGAIN}test_what_was_decided_before_a_loop_failed_is_not_decided_again",),
    ),
    Mutant(
        "carry-forgotten",
        "Each iteration is run with what the loop was given, not with what was carried over.",
        "engine/state/arguments.py",
        (("owner.loop.carried[index - 1] if index else {}", "{}"),),
        (_REFERENCE, f"{_LOOPS}test_the_log_says_what_was_decided_after_each_iteration"),
    ),
    Mutant(
        "carry-of-the-first",
        "Every iteration is run with what was carried out of the first one.",
        "engine/state/arguments.py",
        (("owner.loop.carried[index - 1] if index", "owner.loop.carried[0] if index"),),
        (_REFERENCE,),
    ),
    Mutant(
        "once-more",
        "A loop runs once more than it may.",
        "engine/state/loops.py",
        (("loop.turned >= loop_rule(state).max_iterations", "loop.turned > loop_rule(state).max_iterations"),),
        (f"{_LOOPS}test_a_loop_that_does_not_come_to_its_end_keeps_its_last_output", _REFERENCE),
    ),
    Mutant(
        "exhausted-kept",
        "A loop that must come to its end succeeds when it does not.",
        "engine/containers.py",
        (('action.on_exhausted == "fail"', "False"),),
        (f"{_LOOPS}test_a_loop_that_must_come_to_its_end_fails_when_it_does_not", _REFERENCE),
    ),
)

_DISPATCH_MUTANTS = (
    Mutant(
        "first-branch",
        "A dispatch takes its first branch, whatever was chosen.",
        "engine/state/arguments.py",
        (("    if key in known:\n        return key\n", "    if key in known:\n        return known[0]\n"),),
        (f"{_DISPATCH}test_only_the_branch_that_is_taken_runs_and_stands_under_its_key", _REFERENCE),
    ),
    Mutant(
        "unknown-skipped",
        "A choice that is no key takes the first branch instead of failing.",
        "engine/state/arguments.py",
        (
            (
                "    if action.otherwise is None:\n        raise",
                "    if action.otherwise is None:\n        return known[0]\n        raise",
            ),
        ),
        (f"{_DISPATCH}test_a_choice_that_is_no_key_is_the_failure_of_the_step", _REFERENCE),
    ),
)  # fmt: skip

_QUESTION_MUTANTS = (
    Mutant(
        "second-answer",
        "The second answer to a question overwrites the first.",
        "stores/sqlite/rows.py",
        (("INSERT OR IGNORE INTO inbox", "INSERT OR REPLACE INTO inbox"),),
        (
            f"{_KILLS}[question]",
            "tests/contract/test_sqlite_contract.py::test_the_sqlite_store_passes_the_conformance_suite",
        ),
    ),
    Mutant(
        "second-answer-in-memory",
        "The second answer to a question overwrites the first, in the store that keeps nothing on disk.",
        "stores/memory.py",
        (("if key in self.inbox or (", "if ("),),
        ("tests/contract/test_store_contract.py::test_the_memory_store_keeps_every_rule",),
    ),
    Mutant(
        "unchecked-answer",
        "An answer need not fit the schema that was recorded with the question.",
        "answers.py",
        (("        validate(question.schema, data)\n", ""),),
        (f"{_OPEN}test_only_the_first_answer_that_fits_counts", f"{_KILLS}[question]"),
    ),
    Mutant(
        "given-up-with-mail",
        "A run that waits is given up although an answer waits in its inbox.",
        "stores/memory.py",
        (("        if log.inbox:\n            return False\n        log.owner = None", "        log.owner = None"),),
        (f"{_OPEN}test_a_run_is_not_given_up_while_an_answer_waits_for_it",),
    ),
    Mutant(
        "deadline-forgotten",
        "A process that takes a run up forgets until when its questions may be answered.",
        "engine/executor.py",
        (("            self._stepper.asking.watch(self.state.steps[path])", "            pass"),),
        (f"{_OPEN}test_a_question_whose_time_is_over_when_its_run_is_taken_up_fails_at_once",),
    ),
    Mutant(
        "ask-is-retry",
        'A step under on_unknown="ask" runs again without anybody having said so.',
        "recover.py",
        (('is_unknown(before.steps[path], policy="ask"))', "False)"),),
        (
            f"{_OPEN}test_what_was_in_flight_runs_again_only_when_a_person_says_so",
            f"{_KILLS}[unknown_ask]",
        ),
    ),
    Mutant(
        "asked-anew",
        "A question that is open is asked anew when its run is resumed, and the answer under way is lost.",
        "engine/state/resume.py",
        (("    if step.path in (run.questions or ()):\n        return  # its answer may be under way\n", ""),),
        (f"{_OPEN}test_a_question_that_is_open_stays_open_when_its_run_is_resumed", _ANYWHERE),
    ),
    Mutant(
        "dropped-alone",
        "A question that nobody needs is dropped, and the map that holds it ends with the rest of its values.",
        "engine/containers.py",
        (("            state = holder\n", "            break\n"),),
        (
            f"{_OPEN}test_what_holds_a_question_that_nobody_needs_ends_cancelled_and_not_with_half_a_value",
            f"{_OPEN}test_a_map_whose_question_was_dropped_is_whole_when_the_run_is_resumed",
        ),
    ),
    Mutant(
        "stop-forgotten",
        "What was being stopped when its process ended goes on in the next one, with half of its values.",
        "engine/state/run.py",
        (("            around.stopping = around.stopping or Stop(event.reason)\n", "            del around\n"),),
        (
            "tests/flow/test_stops_taken_up.py::test_what_was_being_dropped_is_dropped",
            "tests/flow/test_stops_taken_up.py::test_what_had_taken_too_long_has_taken_too_long",
        ),
    ),
)

_SCRIPT_MUTANTS = (
    Mutant(
        "unawaited-script",
        "A script runs before its start is committed.",
        "engine/stepper.py",
        (("if self._must_wait(seq, is_pure=script.pure):", "if False:"),),
        (f"{_KILLS}[script]",),
    ),
    Mutant(
        "script-lives-on",
        "What a script has started lives on when the process of its run is killed.",
        "engine/steps/script_supervisor.py",
        (
            ("    _signal_group(pid, signal.SIGKILL)\n    until", "    until"),
            ("                os.kill(descendant, signal.SIGKILL)", "                pass"),
        ),
        (f"{_KILLS}[script]",),
    ),
)

_TIME_MUTANTS = (
    Mutant(
        "time-up-in-between",
        "The time of a question is up while its run is being given up, and nobody goes on with it.",
        "engine/people.py",
        (("        asking.pause()\n", ""),),
        ("tests/flow/test_questions_time.py::test_a_time_that_is_up_while_the_run_is_being_given_up_is_up_afterwards",),
    ),
    Mutant(
        "question-unseen",
        "The question of a tool is committed only when another step ends.",
        "engine/people.py",
        (("            await self._runners.journal.flush()  # nobody can answer", "            #"),),
        ("tests/flow/test_approvals.py::test_a_question_is_there_to_be_answered_while_another_step_works",),
    ),
    Mutant(
        "leaf-timed-as-container",
        "A step that goes on after a person's answer in another process is stopped like a container.",
        "engine/executor.py",
        (("                if state.is_container:", "                if state:"),),
        ("tests/flow/test_approvals.py::test_a_step_taken_up_again_has_its_time_from_when_it_has_a_place",),
    ),
    Mutant(
        "quorum-by-order",
        "Whether a quorum is lost to a failure depends on what ends first.",
        "engine/state/frame.py",
        (("return UNDECIDED if any(content is UNDECIDED for content in contents) else SKIPPED", "return SKIPPED"),),
        (
            "tests/flow/test_selections.py::"
            "test_a_quorum_that_cannot_be_reached_is_lost_to_a_failure_whichever_ends_first",
        ),
    ),
)

_CLAIM_MUTANTS = (
    Mutant(
        "left-and-forgotten",
        "A run that cannot be given up, as something came for it, is forgotten by its owner.",
        "claims.py",
        (("                return\n        self.add(claim)\n", "                return\n"),),
        (f"{_STRANDED}test_an_answer_counts_although_its_caller_was_cancelled_meanwhile",),
    ),
    Mutant(
        "given-up-too-soon",
        "A run that is given up gets the status it had before what is being committed for it.",
        "claims.py",
        (("                await journal.settle()\n", "                pass\n"),),
        (f"{_STRANDED}test_a_resume_that_was_cancelled_while_it_was_committed_counts",),
    ),
    Mutant(
        "lost-claim-forgotten",
        "A claim whose reply was lost is taken for one that was not made.",
        "claims.py",
        (("if is_idle or not isinstance(error, _NOT_DONE):", "if is_idle:"),),
        (f"{_STRANDED}test_a_resume_that_was_not_answered_can_be_made_again",),
    ),
    Mutant(
        "lost-run-forgotten",
        "A run whose creation was not answered is taken for one that is carried out.",
        "launch.py",
        (("            self.queries.claims.doubt(error, Claim(row.id, row.epoch, row.last_seq))\n", ""),),
        (f"{_STRANDED}test_a_run_whose_creation_was_not_answered_is_found_by_its_key",),
    ),
    Mutant(
        "taken-from-another",
        "A run is taken from another owner, because this process had it before.",
        "claims.py",
        (("row.owner == self.owner and ", ""),),
        (f"{_STRANDED}test_what_another_took_from_us_is_not_taken_back",),
    ),
)

IN_CONTROL = (
    *_LOOP_MUTANTS, *_DISPATCH_MUTANTS, *_QUESTION_MUTANTS, *_SCRIPT_MUTANTS, *_TIME_MUTANTS, *_CLAIM_MUTANTS,
)  # fmt: skip
"""The mutants of this file."""
