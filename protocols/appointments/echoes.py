"""Whether an appointment came back as it was sent.

Belongs here: comparing an answer with its request, what an answer can show at all, and the
sentences for what doesn't fit. Does not: reading times (`willsuite/times.py`), or stopping a run
(`sync.py`).

The answer is the only sight of an appointment that there is. In winter it can't tell in which zone
the server reads times (Q35); in summer an hour's difference shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from willsuite import Appointment, read_time

WIRE_TIME = "%Y-%m-%d %H:%M:%S"
TIMES = ("start_time", "end_time")
RECIPIENTS = ("email_recipient", "sms_recipient")
DIGITS_OF_A_PHONE = 9
"""+44 7700 900123 and 07700900123 have their last ones in common."""
OFFICE = ZoneInfo("Europe/London")
SENTENCES = {
    "shifted": (
        "WillSuite gives another time back than was sent: look at this appointment in its "
        "calendar. WILLSUITE_TIMEZONE must be the zone of the account."
    ),
    "read_as_utc": (
        "WillSuite gives a local time back as if it were UTC, so it may show this appointment an "
        "hour off: look at it in its calendar. If it is right there, set WILLSUITE_TIMEZONE=UTC; "
        "else tell WillSuite's support before sending more."
    ),
    "other_recipient": (
        "WillSuite gives another recipient back than was sent, so messages may go to somebody "
        "else: look at this appointment, and tell WillSuite's support before sending more."
    ),
    "swapped": (
        "WillSuite gives the adviser's address back as the recipient's: find out with an "
        "appointment of your own whether messages go to the client. If they do, run with "
        "accept_swapped_recipients=True; else tell WillSuite's support before sending more."
    ),
}
"""By code, the gravest first."""


@dataclass(frozen=True, slots=True)
class EchoCheck:
    """Compares answers with what was sent."""

    zone: ZoneInfo
    """In which WillSuite is to read times."""
    accepts_swap: bool = False
    """Whether it is known that answers take the adviser for the recipient."""

    def difference(self, sent: Mapping[str, str | bool], answer: Appointment) -> str | None:
        """The code of what doesn't fit, if anything."""
        codes = {
            self._difference(str(sent[name]), getattr(answer, name))
            for name in TIMES
            if name in sent
        }
        if _is_swapped(sent, answer):
            codes.add(None if self.accepts_swap else "swapped")
        elif any(_is_other(sent.get(name), getattr(answer, name)) for name in RECIPIENTS):
            codes.add("other_recipient")
        return next((code for code in SENTENCES if code in codes), None)

    def can_show(self, sent: Mapping[str, str | bool]) -> frozenset[str]:
        """What the answer to a request can show, which others of its kind then needn't.

        A time shows something about all times of the same offsets: those of one summer, say.
        """
        walls = [_wall(str(sent[name])) for name in TIMES if name in sent]
        shown = {
            f"times at {wall.replace(tzinfo=self.zone):%z} and {wall.replace(tzinfo=OFFICE):%z}"
            for wall in walls
        }
        recipient = sent.get("email_recipient")
        if recipient and recipient != sent.get("adviser_email"):
            shown.add("recipients")
        return frozenset(shown)

    def _difference(self, sent: str, echoed: str | None) -> str | None:
        time = read_time(echoed)
        if time is None:
            return None
        wall = _wall(sent)
        if not time.is_utc:
            return None if time.wall == wall else "shifted"
        as_utc = wall.replace(tzinfo=self.zone).astimezone(UTC).replace(tzinfo=None)
        if time.wall == as_utc:
            return None
        return "read_as_utc" if time.wall == wall else "shifted"


def _wall(sent: str) -> datetime:
    return datetime.strptime(sent, WIRE_TIME)  # noqa: DTZ007 - a wall time, in the account's zone


def _is_swapped(sent: Mapping[str, str | bool], answer: Appointment) -> bool:
    """As in the vendor's example (Q33)."""
    adviser, recipient = sent.get("adviser_email"), sent.get("email_recipient")
    if not adviser or not answer.email_recipient:
        return False
    if str(recipient).casefold() == str(adviser).casefold():
        return False
    return answer.email_recipient.casefold() == str(adviser).casefold()


def _is_other(sent: str | bool | None, echoed: str | None) -> bool:
    """Whether somebody else's address or phone came back; one that isn't said can't differ."""
    if not isinstance(sent, str) or not sent or not echoed:
        return False
    if "@" in sent:
        return sent.casefold() != echoed.strip().casefold()
    phones = ["".join(filter(str.isdecimal, text))[-DIGITS_OF_A_PHONE:] for text in (sent, echoed)]
    return phones[0] != phones[1]
