"""What a case that was found does to the row that wants it."""

import pytest

from protocols.importing.entries import new_case_entry
from protocols.importing.verdicts import refuse_decimal
from protocols.reading.found import Found, FoundCase
from schemas.import_plan import PlannedCase
from schemas.outcomes import Outcome


@pytest.mark.parametrize(
    ("ref", "there", "is_refused"),
    [
        ("9001.0", "9001", True),
        ("9001.00", "9001", True),
        ("-9001.0", "-9001", True),
        ("9001.0", "90010", False),
        ("9001.5", "9001", False),
        ("9001", "9001.0", False),
        ("A9001.0", "A9001", False),
    ],
)
def test_a_reference_to_which_a_program_added_a_decimal_is_no_new_case(
    ref: str, there: str, is_refused: bool
) -> None:
    entry = new_case_entry(PlannedCase(ref, (2,), {"ref": ref}), {})
    found = Found()
    found.add(FoundCase.of("c-1", (), {}, None, there), has_ref=True, has_id=False)
    assert refuse_decimal(entry, found) is is_refused
    assert (entry.outcome is Outcome.REJECTED, entry.code == "ref_decimal") == (is_refused,) * 2
    assert ("c-1" in str(entry.message)) is is_refused
