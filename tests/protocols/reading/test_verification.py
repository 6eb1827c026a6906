"""What a sweep proves, without any request."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.reading.verification import Sweep, Verification, nothing_missed, page_sizes, verdict


def sweep(*, rows: int, unique: int, totals: set[int | None], number: int = 1) -> Sweep:
    return Sweep(
        number=number, page_size=100, pages=3, rows=rows, totals=frozenset(totals),
        hashes=np.arange(unique, dtype=np.int64), in_id_order=True, new=unique,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "unique", "totals", "quiet"),
    [
        (5, 5, {5}, True),
        (0, 0, {0}, True),
        (5, 5, {5, 6}, False),
        (5, 4, {5}, False),
        (5, 5, {6}, False),
        (5, 5, {None}, False),
    ],
)
def test_a_sweep_is_quiet_only_if_total_rows_and_distinct_cases_agree(
    rows: int, unique: int, totals: set[int | None], quiet: bool
) -> None:
    assert sweep(rows=rows, unique=unique, totals=totals).is_quiet is quiet


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [(100, [100, 97, 89, 83, 79]), (37, [37, 31, 29, 23, 19]), (10, [10, 7, 5, 3, 2])],
)
def test_page_sizes_are_the_largest_and_then_smaller_primes(largest: int, sizes: list[int]) -> None:
    assert list(islice(page_sizes(largest), 5)) == sizes


@given(st.integers(1, 100))
def test_page_sizes_never_run_out_and_stay_in_the_documented_range(largest: int) -> None:
    assert all(1 <= size <= largest for size in islice(page_sizes(largest), 40))


def test_new_cases_count_against_a_listing_unless_they_changed_since_its_start() -> None:
    new, changed = np.array([1, 2]), np.array([2, 3, 1])
    assert nothing_missed(new, changed)
    assert not nothing_missed(np.array([1, 4]), changed)


@pytest.mark.parametrize(
    ("sweeps", "is_settled", "rows", "counted", "expected"),
    [
        (1, True, 10, 10, Verification.QUIET),
        (2, True, 10, 10, Verification.CONVERGED),
        (2, True, 10, None, Verification.CONVERGED),
        (5, True, 11, 10, Verification.CONVERGED),
        (5, True, 9, 10, Verification.UNCONVERGED),
        (5, False, 10, 10, Verification.UNCONVERGED),
    ],
)
def test_the_verdict_never_calls_an_export_complete_that_has_fewer_rows_than_counted(
    sweeps: int, is_settled: bool, rows: int, counted: int | None, expected: Verification
) -> None:
    got = verdict(sweeps=sweeps, is_settled=is_settled, rows=rows, counted=counted)
    assert got is expected
