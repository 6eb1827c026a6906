"""The table that says what became of each row of a file."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.outcomes import (
    CHANGE_OUTCOMES,
    FAILING,
    FOR_A_PERSON,
    OUTCOMES,
    ChangeOutcome,
    Outcome,
    RowOutcome,
    code_counts,
    counts,
    outcome_table,
)


def created(row: int, **others: object) -> RowOutcome:
    return RowOutcome(row, f"ref {row}", "create", Outcome.CREATED, **others)


def test_a_row_of_the_table_is_an_outcome_field_by_field():
    [row] = outcome_table(
        [RowOutcome(2, "R", "create", Outcome.REJECTED, "id", "email", "A sentence.", 3)], [2]
    ).to_pylist()
    assert row == {
        "row": 2, "key": "R", "action": "create", "outcome": "rejected", "case_id": "id",
        "code": "email", "message": "A sentence.", "attempts": 3,
    }  # fmt: skip


def test_the_schema_is_what_readers_of_the_file_know():
    assert [(field.name, str(field.type), field.nullable) for field in OUTCOMES] == [
        ("row", "int64", False),
        ("key", "string", True),
        ("action", "string", False),
        ("outcome", "string", False),
        ("case_id", "string", True),
        ("code", "string", True),
        ("message", "string", True),
        ("attempts", "int32", False),
    ]


@pytest.mark.parametrize("outcomes", [[], [created(2)], [RowOutcome(2, None, "x", Outcome.FAILED)]])
def test_the_schema_is_the_same_whatever_is_in_it(outcomes):
    table = outcome_table(iter(outcomes), [outcome.row for outcome in outcomes])
    table.validate(full=True)
    assert table.schema.equals(OUTCOMES, check_metadata=True)
    assert table.num_rows == len(outcomes)


def test_an_outcome_that_says_nothing_else_has_written_nothing():
    [row] = outcome_table([created(2)], [2]).to_pylist()
    assert row["attempts"] == 0
    assert [row[name] for name in ("case_id", "code", "message")] == [None] * 3


@given(st.lists(st.integers(2, 500_000), unique=True, max_size=20), st.randoms())
def test_rows_stand_in_the_order_of_the_file_in_whichever_they_ended(rows, random):
    outcomes = [created(row) for row in rows]
    random.shuffle(outcomes)
    table = outcome_table(outcomes, sorted(rows))
    assert table["row"].to_pylist() == sorted(rows)
    assert table["key"].to_pylist() == [f"ref {row}" for row in sorted(rows)]


@pytest.mark.parametrize(
    ("ended", "read"),
    [
        pytest.param([2, 3], [2, 3, 4], id="a row without an outcome"),
        pytest.param([2, 3, 3], [2, 3], id="a row with two"),
        pytest.param([2, 2], [2, 3], id="both"),
        pytest.param([2, 9], [2], id="a row that was never read"),
        pytest.param([], [2], id="none at all"),
        pytest.param([2], [], id="of no rows"),
    ],
)
def test_each_row_has_exactly_one_outcome(ended, read):
    with pytest.raises(AssertionError, match="one outcome for each row"):
        outcome_table([created(row) for row in ended], read)


def test_outcomes_are_counted_in_the_order_of_the_words_and_only_what_there_is():
    outcomes = [
        RowOutcome(row, None, "create", outcome)
        for row, outcome in enumerate(
            [Outcome.FAILED, Outcome.CREATED, Outcome.EXISTING, Outcome.CREATED]
        )
    ]
    assert list(counts(outcomes).items()) == [("created", 2), ("existing", 1), ("failed", 1)]
    assert all(type(word) is str for word in counts(outcomes))
    assert counts([]) == {}


@given(st.lists(st.sampled_from(Outcome), max_size=30))
def test_counts_add_up_to_the_rows(words):
    outcomes = [RowOutcome(row, None, "create", word) for row, word in enumerate(words)]
    assert sum(counts(outcomes).values()) == len(words)


def test_codes_are_counted_most_frequent_first_and_rows_without_one_are_not():
    codes = ["email", None, "date_mixed", "date_mixed", ""]
    outcomes = [created(row, code=code) for row, code in enumerate(codes)]
    assert list(code_counts(iter(outcomes)).items()) == [("date_mixed", 2), ("email", 1)]
    assert code_counts([]) == {}


def test_an_outcome_is_the_tools_to_repair_or_a_persons_and_never_both():
    assert {word.value for word in FAILING} == {"failed", "unknown", "not_attempted"}
    assert {word.value for word in FOR_A_PERSON} == {"rejected", "conflict", "partial"}


def test_outcomes_are_plain_texts_in_the_table():
    rows = range(len(Outcome))
    table = outcome_table(
        [RowOutcome(row, None, "x", word) for row, word in zip(rows, Outcome, strict=True)], rows
    )
    assert table["outcome"].type == pa.string()
    assert table["outcome"].to_pylist() == [word.value for word in Outcome]


# -- rows that change a case -----------------------------------------------------------------

CHANGED = ChangeOutcome(
    3,
    "R",
    "update",
    Outcome.UPDATED,
    "id",
    "code",
    "A sentence.",
    2,
    '{"notes": ""}',
    '{"notes": "é"}',
)


def test_of_a_change_the_table_also_has_what_was_and_what_was_wanted():
    [rejected, changed] = outcome_table([CHANGED, created(2)], [2, 3], CHANGE_OUTCOMES).to_pylist()
    assert changed == {
        "row": 3, "key": "R", "action": "update", "outcome": "updated", "case_id": "id",
        "code": "code", "message": "A sentence.", "attempts": 2, "before": '{"notes": ""}',
        "after": '{"notes": "é"}',
    }  # fmt: skip
    assert (rejected["key"], rejected["before"], rejected["after"]) == ("ref 2", None, None)


def test_readers_of_any_outcomes_can_read_those_of_changes():
    assert CHANGE_OUTCOMES.names[: len(OUTCOMES.names)] == OUTCOMES.names
    assert [CHANGE_OUTCOMES.field(name) for name in OUTCOMES.names] == list(OUTCOMES)
    rest = [CHANGE_OUTCOMES.field(name) for name in CHANGE_OUTCOMES.names[len(OUTCOMES.names) :]]
    assert [(field.name, str(field.type), field.nullable) for field in rest] == [
        ("before", "string", True), ("after", "string", True),
    ]  # fmt: skip


@pytest.mark.parametrize("outcomes", [[], [CHANGED], [created(2)], [created(2), CHANGED]])
def test_the_schema_of_changes_is_the_same_whatever_is_in_it(outcomes):
    rows = [outcome.row for outcome in outcomes]
    table = outcome_table(iter(outcomes), rows, CHANGE_OUTCOMES)
    table.validate(full=True)
    assert table.schema.equals(CHANGE_OUTCOMES, check_metadata=True)
    assert table["row"].to_pylist() == rows


def test_a_change_that_says_nothing_else_differs_in_nothing():
    [row] = outcome_table(
        [ChangeOutcome(2, "R", "none", Outcome.UNCHANGED)], [2], CHANGE_OUTCOMES
    ).to_pylist()
    assert (row["before"], row["after"], row["attempts"]) == (None, None, 0)


def test_a_table_without_the_two_columns_leaves_them_out():
    table = outcome_table([CHANGED], [3])
    assert table.schema.equals(OUTCOMES)


@pytest.mark.parametrize("ended", [[], [3, 3], [2], [2, 3]])
def test_each_changed_row_has_exactly_one_outcome(ended):
    outcomes = [ChangeOutcome(row, None, "update", Outcome.UPDATED) for row in ended]
    with pytest.raises(AssertionError, match="one outcome for each row"):
        outcome_table(outcomes, [3], CHANGE_OUTCOMES)
