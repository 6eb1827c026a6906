"""Whether a journal is the one that earlier runs wrote to; with a real Prefect server."""

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from accounts import forget_in_prefect
from prefect.variables import Variable

from protocols.account import shared
from protocols.account.journal import open_journal
from protocols.account.journal_marks import check_marks
from protocols.account.known import JournalMark, known_account
from tasks.policy import RunError

pytestmark = pytest.mark.usefixtures("prefect_server")

GONE, OTHER, OLDER = "there is none at", "is not the one that earlier runs", "is an older copy"


@pytest.fixture
def account() -> str:
    """A name that no other test has left marks for."""
    return uuid4().hex[:16]


def journal_at(folder: str) -> Path:
    return Path(folder).absolute() / "journal.sqlite3"


def check(account: str, folder: str | None, *, generation: int | None = None) -> None:
    """Check the journal in a folder, or that there is none; with another generation if given."""
    marks = asyncio.run(known_account(account)).journals
    if folder is None:
        return check_marks(marks, Path("nowhere/journal.sqlite3"), None)
    with open_journal(journal_at(folder), writing=False) as journal:
        if generation is not None:
            journal.generation = generation
        return check_marks(marks, journal_at(folder), journal)


def leave(account: str, folder: str, *, runs: int = 1) -> None:
    """What so many runs with the journal in a folder leave."""
    with open_journal(journal_at(folder), writing=True) as journal:
        for _ in range(runs):
            journal.begin_generation()
        mark = JournalMark(journal.id, journal.generation)

        async def keep() -> None:
            await (await known_account(account)).keep_journal(mark)

        asyncio.run(keep())


def mark_file(account: str) -> Path:
    return Path(os.environ["XDG_STATE_HOME"]) / "willsuite-flows" / f"{account}.json"


def variable(account: str) -> Any:
    return list(asyncio.run(shared.read_all(f"willsuite_account_{account}_")).values())[-1]


def forget_nothing(_account: str) -> None:
    pass


def forget_here(account: str) -> None:
    """As on another machine."""
    mark_file(account).unlink()


FORGETTING = pytest.mark.parametrize("forget", [forget_nothing, forget_here, forget_in_prefect])


def test_without_marks_any_journal_is_right_and_so_is_none(account: str) -> None:
    check(account, None)
    leave("another", "here")
    check(account, "here")


@FORGETTING
def test_the_journal_of_the_marks_is_right_and_one_that_is_ahead_of_them_too(
    account: str, forget: Callable[[str], None]
) -> None:
    leave(account, "here", runs=3)
    forget(account)
    check(account, "here")
    check(account, "here", generation=4)  # killed before its marks were left
    leave(account, "here")
    check(account, "here")


@FORGETTING
def test_no_journal_another_one_and_an_older_copy_are_refused_by_either_mark(
    account: str, forget: Callable[[str], None]
) -> None:
    leave("another", "there")
    leave(account, "here", runs=3)
    forget(account)
    with pytest.raises(RunError, match=GONE) as gone:
        check(account, None)
    assert "nowhere/journal.sqlite3" in str(gone.value)
    with pytest.raises(RunError, match=OTHER):
        check(account, "there")
    with pytest.raises(RunError, match=OTHER):
        check(account, "there", generation=99)
    with pytest.raises(RunError, match=OLDER):
        check(account, "here", generation=2)
    for refused in (gone,):
        assert "run with new_journal=True" in str(refused.value)
        assert "\n" not in str(refused.value)


def test_one_mark_that_is_older_than_the_other_does_not_let_an_older_copy_pass(
    account: str, tmp_path: Path
) -> None:
    leave(account, "here", runs=2)
    old = mark_file(account).read_bytes()
    leave(account, "here", runs=2)
    mark_file(account).write_bytes(old)
    with pytest.raises(RunError, match=OLDER):
        check(account, "here", generation=2)


def test_marks_that_are_left_again_stand_for_the_new_journal(account: str) -> None:
    leave(account, "here", runs=5)
    leave(account, "there")
    check(account, "there")
    with pytest.raises(RunError, match=OTHER):
        check(account, "here")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"{}", b'{"journal_id": null}'])
def test_a_mark_that_cannot_be_read_lets_no_journal_pass(account: str, content: bytes) -> None:
    leave(account, "here")
    mark_file(account).write_bytes(content)
    with pytest.raises(RunError, match=OTHER):
        check(account, "here")
    with pytest.raises(RunError, match=GONE):
        check(account, None)


@pytest.mark.parametrize("content", ["x", ["x"], {}, {"journal_id": 1}, 7])
def test_a_variable_that_somebody_has_changed_lets_no_journal_pass(
    account: str, content: Any
) -> None:
    leave(account, "here")
    asyncio.run(Variable.aset(f"willsuite_account_{account}_9", content))
    with pytest.raises(RunError, match=OTHER):
        check(account, "here")


def test_a_folder_with_the_journal_of_other_api_keys_is_refused_and_says_how_to_name_the_account(
    account: str,
) -> None:
    folder = Path("journal").absolute()
    other = folder / "appointments-0123456789abcdef.sqlite3"
    with open_journal(other, writing=True):
        pass
    with pytest.raises(RunError, match="has the journal of other API keys") as raised:
        check_marks([], folder / f"appointments-{account}.sqlite3", None)
    assert "set WILLSUITE_ACCOUNT=0123456789abcdef " in str(raised.value)
    assert other.name in str(raised.value)


def test_marks_are_private_and_hold_an_id_and_a_number(account: str) -> None:
    leave(account, "here", runs=2)
    with open_journal(journal_at("here"), writing=False) as journal:
        expected = {
            "is_settled": False, "journal_id": journal.id, "generation": 2, "merges_meta": None,
        }  # fmt: skip
    assert variable(account) == expected
    assert stat.S_IMODE(mark_file(account).stat().st_mode) == 0o600
    assert stat.S_IMODE(mark_file(account).parent.stat().st_mode) == 0o700
    forget_in_prefect(account)
    leave(account, "here")
    assert variable(account) == expected | {"generation": 3}
