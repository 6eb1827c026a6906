"""Sending one by one, several at a time, and stopping: what all flows that write have in common."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from protocols.rows.dispatcher import ENTRIES_PER_TASK, Dispatcher, task_ranges
from protocols.rows.ledger import Entry
from schemas.outcomes import Outcome
from willsuite import Effect, WillSuiteClient, WriteResult, load_settings
from willsuite.errors import AuthenticationError

APPLIED: WriteResult[None] = WriteResult(Effect.APPLIED, "applied")
REFUSED: WriteResult[None] = WriteResult(Effect.REJECTED, "status_422")
FORBIDDEN: WriteResult[None] = WriteResult(Effect.REJECTED, "status_403")
LOST: WriteResult[None] = WriteResult(Effect.AMBIGUOUS, "answer_lost")
UNREACHABLE: WriteResult[None] = WriteResult(Effect.NOT_APPLIED, "unreachable")
Answer = WriteResult[None] | Exception


class Sender(Dispatcher[Entry]):
    """Sends entries to nobody: the n-th entry gets the n-th answer, and then the last one."""

    failures_in_a_row = 3
    tries_elsewhere = 2

    def __init__(
        self, client: WillSuiteClient, answers: Iterable[Answer], *, alone: bool = False
    ) -> None:
        super().__init__(client)
        self.answers = list(answers)
        self.alone = alone
        self.poison: set[str] = set()
        """Keys of entries that the server always fails at."""
        self.sent: list[str] = []
        self.under_way = 0
        self.most_under_way = 0
        self.on_answer: Callable[[Entry, WriteResult[None] | None], Any] = lambda *_: None

    def goes_alone(self, entry: Entry) -> bool:
        return self.alone and entry.action == "create"

    async def carry_out(self, entry: Entry) -> None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answer = LOST if entry.key in self.poison else answer
        result = await self.attempt(entry, self._sending(entry, answer))
        self.on_answer(entry, result)
        if result is not None:
            entry.end(Outcome.CREATED if result is APPLIED else Outcome.FAILED)

    def _sending(self, entry: Entry, answer: Answer) -> Callable[[], Awaitable[WriteResult[None]]]:
        async def send() -> WriteResult[None]:
            assert (entry.outcome, entry.code) == (Outcome.UNKNOWN, "interrupted")
            self.sent.append(entry.key)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            await asyncio.sleep(0)
            self.under_way -= 1
            if isinstance(answer, Exception):
                raise answer
            return answer

        return send


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None) -> WillSuiteClient:
    """One that is never opened; only its settings are looked at."""
    settings = {"client_id": "one", "client_secret": "secret", "max_concurrency": 4}
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "90")
    return WillSuiteClient(load_settings(**settings))


def entries_of(count: int, action: str = "create") -> list[Entry]:
    return [Entry(rows=(n + 2,), key=f"{n}", action=action) for n in range(count)]


def ends(entries: Iterable[Entry]) -> list[tuple[str, str | None, int]]:
    return [(entry.outcome, entry.code, entry.attempts) for entry in entries]


def send(sender: Sender, entries: list[Entry]) -> list[Entry]:
    sender.begin_round(entries)
    asyncio.run(sender.send(entries))
    return entries


UNTOUCHED = (Outcome.NOT_ATTEMPTED, "stopped", 0)


# -- the breaker -------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [LOST, UNREACHABLE, FORBIDDEN])
def test_so_many_failures_in_a_row_stop_the_run_and_leave_the_rest_alone(
    client: WillSuiteClient, failure: WriteResult[None]
) -> None:
    sender = Sender(client, [APPLIED, APPLIED, failure])
    sender.failures_in_a_row = 5
    entries = send(sender, entries_of(30))
    # as many may be under way at the last one, and two more are tried
    assert 2 + 5 + 2 <= len(sender.sent) <= 2 + 5 + 3 + 2
    assert [end for end in ends(entries) if end[2] == 0] == [UNTOUCHED] * (30 - len(sender.sent))
    assert sender.stopped_by == (
        "WillSuite failed 5 times in a row, so nothing more was sent; run the same file again "
        "later."
    )


@pytest.mark.parametrize("between", [APPLIED, REFUSED])
def test_an_answer_between_failures_begins_the_count_anew(
    client: WillSuiteClient, between: WriteResult[None]
) -> None:
    sender = Sender(client, [LOST, UNREACHABLE, between] * 5)
    send(sender, entries_of(15))
    assert (len(sender.sent), sender.stopped_by) == (15, None)


def test_refusals_are_no_failures(client: WillSuiteClient) -> None:
    sender = Sender(client, [REFUSED])
    send(sender, entries_of(20))
    assert (len(sender.sent), sender.stopped_by) == (20, None)


def test_a_new_round_begins_the_count_anew_but_does_not_undo_a_stop(
    client: WillSuiteClient,
) -> None:
    sender = Sender(client, [LOST])
    for _round in range(3):
        send(sender, entries_of(2))
        assert sender.stopped_by is None
    send(sender, entries_of(9))
    assert sender.stopped_by is not None
    before = list(sender.sent)
    assert ends(send(sender, entries_of(3))) == [UNTOUCHED] * 3
    assert sender.sent == before


def test_the_first_reason_to_stop_stays(client: WillSuiteClient) -> None:
    sender = Sender(client, [LOST])
    sender.stop("First.")
    sender.stop("Second.")
    send(sender, entries_of(9))
    assert (sender.stopped_by, sender.sent) == ("First.", [])


@pytest.mark.parametrize("alone", [True, False])
def test_rows_that_always_fail_do_not_hold_up_the_good_ones_behind_them(
    client: WillSuiteClient, alone: bool
) -> None:
    sender = Sender(client, [APPLIED], alone=alone)
    sender.poison = {f"{n}" for n in range(5)}
    entries = send(sender, entries_of(25))
    assert sorted(sender.sent, key=int) == [f"{n}" for n in range(25)]
    assert sender.stopped_by is None
    outcomes = [entry.outcome for entry in entries]
    assert outcomes == [Outcome.FAILED] * 5 + [Outcome.CREATED] * 20


@pytest.mark.parametrize("poisoned", [range(12, 24), [*range(9), *range(40, 60)], range(0, 60, 2)])
def test_wherever_rows_stand_that_always_fail_all_others_are_sent_in_one_run(
    client: WillSuiteClient, poisoned: Iterable[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # the worst luck is excluded, all else is left to chance: some good row is drawn
    monkeypatch.setattr(
        "protocols.rows.dispatcher.random.sample",
        lambda rest, _count: sorted(rest, key=lambda entry: entry.key in sender.poison)[:2],
    )
    sender = Sender(client, [APPLIED])
    sender.poison = {f"{n}" for n in poisoned}
    entries = send(sender, entries_of(60))
    good = [entry for entry in entries if entry.key not in sender.poison]
    assert {entry.outcome for entry in good} == {Outcome.CREATED}


def test_a_row_tried_early_is_not_sent_again_when_its_turn_comes(client: WillSuiteClient) -> None:
    sender = Sender(client, [APPLIED])
    sender.poison = {f"{n}" for n in range(5)}
    entries = entries_of(20)
    sender.begin_round(entries)
    for first in range(0, 20, 5):  # as the task runs of a round
        asyncio.run(sender.send(entries[first : first + 5]))
    assert sorted(sender.sent, key=int) == [f"{n}" for n in range(20)]


@pytest.mark.parametrize("count", [3, 4])
def test_where_nothing_is_left_to_be_kept_back_there_is_nothing_to_stop(
    client: WillSuiteClient, count: int
) -> None:
    sender = Sender(client, [LOST])
    entries = send(sender, entries_of(count))
    for entry in entries:
        entry.end(Outcome.CREATED, "found_later")
    assert sender.reason_to_tell(entries) is None


@pytest.mark.parametrize("outcome", [Outcome.CREATED, Outcome.PARTIAL, Outcome.REJECTED])
def test_why_it_stopped_is_told_unless_everything_was_done_all_the_same(
    client: WillSuiteClient, outcome: Outcome
) -> None:
    redirected: WriteResult[None] = WriteResult(Effect.AMBIGUOUS, "status_302", stops_run="Look.")
    sender = Sender(client, [redirected])
    entries = send(sender, entries_of(5))
    assert sender.reason_to_tell(entries) == "Look."
    for entry in entries:
        entry.end(outcome)
    assert sender.reason_to_tell(entries) is None
    faulty = Sender(client, [APPLIED])
    faulty.stop("Surnames are dropped.")
    assert faulty.reason_to_tell(entries) == "Surnames are dropped."


def test_a_redirect_stops_the_run_and_its_row_stays_unknown(client: WillSuiteClient) -> None:
    redirected: WriteResult[None] = WriteResult(Effect.AMBIGUOUS, "status_302", stops_run="Look.")
    sender = Sender(client, [redirected], alone=True)
    sender.on_answer = lambda entry, _result: seen.append((entry.outcome, entry.code))
    seen: list[tuple[str, str | None]] = []
    entries = send(sender, entries_of(5))
    assert seen == [(Outcome.UNKNOWN, "interrupted")]
    assert ends(entries)[1:] == [UNTOUCHED] * 4
    assert sender.rest_seconds > 0


# -- one request -------------------------------------------------------------------------------


def test_an_error_that_means_that_nothing_was_carried_out_leaves_the_row_as_it_was(
    client: WillSuiteClient,
) -> None:
    sender = Sender(client, [APPLIED, AuthenticationError("The keys are gone.")])
    again = Entry(rows=(9,), key="again", action="update")
    again.end(Outcome.UNKNOWN, "change_unsure", "Once more.")
    again.attempts = 2
    entries = [*entries_of(1), again, *entries_of(5)]
    send(sender, entries)
    assert sender.stopped_by == "The keys are gone."
    assert (again.outcome, again.code, again.message, again.attempts) == (
        Outcome.UNKNOWN, "change_unsure", "Once more.", 2,
    )  # fmt: skip
    assert set(ends(entries[2:])) == {UNTOUCHED}


def test_a_fault_of_ours_ends_the_run_and_what_was_under_way_stays_unknown(
    client: WillSuiteClient,
) -> None:
    sender = Sender(client, [APPLIED, KeyError("ours")])
    entries = entries_of(20)
    sender.begin_round(entries)
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - alone or in a group
        asyncio.run(sender.send(entries))
    assert "ours" in repr(raised.value)
    assert (Outcome.UNKNOWN, "interrupted", 1) in ends(entries)
    assert UNTOUCHED in ends(entries)


def test_the_time_to_settle_counts_from_the_last_uncertain_answer_of_the_round(
    client: WillSuiteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("protocols.rows.dispatcher.time.monotonic", lambda: now)
    sender = Sender(client, [APPLIED, REFUSED, UNREACHABLE])
    assert sender.rest_seconds == 0.0
    send(sender, entries_of(2))
    assert sender.rest_seconds == 0.0
    sender.answers = [LOST]
    send(sender, entries_of(1))
    now += 30
    assert sender.rest_seconds == 60.0
    sender.note_uncertainty()
    now += 100
    assert sender.rest_seconds <= 0
    sender.begin_round([])
    assert sender.rest_seconds == 0.0


# -- in which order ----------------------------------------------------------------------------


def test_what_has_to_go_alone_does_so_until_something_is_proven(client: WillSuiteClient) -> None:
    sender = Sender(client, [REFUSED, LOST, APPLIED], alone=True)

    def prove(_entry: Entry, result: WriteResult[None] | None) -> None:
        if result is APPLIED and not sender.is_proven:
            assert sender.most_under_way == 1
            sender.is_proven = True

    sender.on_answer = prove
    send(sender, entries_of(20))
    assert sender.sent[:3] == ["0", "1", "2"]
    assert sender.most_under_way == 4
    assert len(sender.sent) == 20


def test_what_may_go_with_others_waits_for_what_has_to_go_alone(client: WillSuiteClient) -> None:
    sender = Sender(client, [LOST], alone=True)
    entries = [*entries_of(4, "update"), *entries_of(10)]
    sender.tries_elsewhere = 0
    send(sender, entries)
    assert sender.most_under_way == 1
    assert set(ends(entries[:4])) == {UNTOUCHED}


def test_not_more_are_under_way_than_the_settings_allow(client: WillSuiteClient) -> None:
    sender = Sender(client, [APPLIED])
    send(sender, entries_of(40))
    assert sender.most_under_way == 4
    assert sorted(sender.sent, key=int) == [f"{n}" for n in range(40)]


@pytest.mark.parametrize("count", [0, 1, ENTRIES_PER_TASK, ENTRIES_PER_TASK + 1, 1234])
@pytest.mark.parametrize("first", [1, 77])
def test_task_runs_share_out_every_place_once(count: int, first: int) -> None:
    ranges = list(task_ranges(count, first))
    places = [place for start, end in ranges for place in range(start, end + 1)]
    assert places == list(range(first, first + count))
    assert all(end - start < ENTRIES_PER_TASK for start, end in ranges)
