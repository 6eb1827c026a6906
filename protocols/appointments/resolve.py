"""What a person says about bookings of which it is uncertain whether they were made.

Belongs here: the words of `resolve` and of the file that somebody filled in, and what they do to
the journal. Does not: asking (the sentences of `appointments/entries.py`).
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from protocols.account.journal import Booking, BookingState, Journal
from protocols.appointments.entries import MESSAGE_SETTLED, NOT_CREATED, numbered
from schemas.texts import clean
from tasks.policy import RunError
from willsuite.ids import is_id


def settle(journal: Journal | None, resolve: Mapping[str, str]) -> int:
    """Put into the journal what a person has found out about uncertain bookings.

    Args:
        journal: open for writing, or a rehearsal; None where there is none.
        resolve: key to the appointment's id, to "not created", or to "message settled"; see
            `numbered`.

    Returns:
        How many of them say nothing about what is uncertain now; they are left alone.

    Raises:
        RunError: a key is not in the journal, or a value is none of the three.
    """
    left = 0
    for name, said in resolve.items():
        key = clean(name)  # as the file's cells are
        booking = journal.booking(key) if journal is not None else None
        word = _word(str(said))
        if journal is None or booking is None:
            raise RunError("resolve has a key that the journal doesn't know; correct it.")
        if not _is_appointment_id(word) and not word.startswith((NOT_CREATED, MESSAGE_SETTLED)):
            raise RunError(
                f'A value of resolve must be the appointment\'s id, "{NOT_CREATED}" or '
                f'"{MESSAGE_SETTLED}", as the row\'s message says; correct it.'
            )
        if journal.is_anothers(key, word):
            raise RunError("resolve has the id of another key's appointment; correct it.")
        settled = _settled(booking, word)
        if settled is None:
            left += 1
        else:
            journal.put(key, settled)
    return left


def _word(said: str) -> str:
    """An id as it is; the words however they are written: "not_created" could be an id, too."""
    text = " ".join(said.split())
    for word in (NOT_CREATED, MESSAGE_SETTLED):
        pattern = word.replace(" ", "[ _-]*") + "[ _-]*([0-9]*)"
        if found := re.fullmatch(pattern, text.casefold()):
            return f"{word} {found[1]}".strip()
    return text


def _is_appointment_id(word: str) -> bool:
    """Every id has a digit; "missing" or "no" must not become the id of an appointment."""
    return is_id(word) and any(letter.isdigit() for letter in word)


def _settled(booking: Booking, word: str) -> Booking | None:
    """The booking as it then is; None where the word doesn't fit."""
    if booking.has_message_in_doubt and word == numbered(MESSAGE_SETTLED, booking.doubts):
        return replace(booking, has_message_in_doubt=False)
    if booking.state is not BookingState.CREATING:
        return None
    if word == numbered(NOT_CREATED, booking.creations):
        return replace(booking, state=BookingState.DELETED, fields={})
    # the id of an earlier one was said of an earlier attempt, by a run that is repeated
    if _is_appointment_id(word) and word not in booking.former_ids:
        return replace(booking, state=BookingState.EXISTS, appointment_id=word)
    return None
