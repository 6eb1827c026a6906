"""Whether an appointment came back as it was sent.

Belongs here: comparing an answer with its request, and saying once what doesn't fit. Does not:
reading times (`willsuite/times.py`), or stopping a run.

The answer is the only sight of an appointment that there is. In winter it can't tell in which zone
the server reads times (Q35); in summer an hour's difference shows.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from prefect.logging import get_run_logger

from willsuite import Appointment, read_time

WIRE_TIME = "%Y-%m-%d %H:%M:%S"
SENTENCES = {
    "read_as_utc": (
        "WillSuite gives a local time back as if it were UTC. It may show this run's appointments "
        "an hour off in summer: look at one in its calendar, and tell its support before sending "
        "more."
    ),
    "shifted": (
        "WillSuite gives another time back than was sent: look at an appointment of this run in "
        "its calendar before sending more. WILLSUITE_TIMEZONE must be the zone of the account."
    ),
    "swapped": (
        "WillSuite gives the adviser's address back as the recipient's: make sure with one "
        "appointment of your own that messages go to the client before asking for more."
    ),
}


class EchoCheck:
    """Compares answers with what was sent; each kind of difference is logged once a run."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self.found: set[str] = set()
        """Codes of the differences so far."""

    def compare(self, sent: Mapping[str, str | bool], answer: Appointment) -> None:
        """Log what doesn't fit, unless it was logged before; values stay out of it."""
        codes = {
            self._difference(str(sent[name]), getattr(answer, name))
            for name in ("start_time", "end_time")
            if name in sent
        }
        if _is_swapped(sent, answer):
            codes.add("swapped")
        for code in sorted(code for code in codes if code is not None and code not in self.found):
            get_run_logger().warning("%s", SENTENCES[code])
            self.found.add(code)

    def _difference(self, sent: str, echoed: str | None) -> str | None:
        time = read_time(echoed)
        if time is None:
            return None
        wall = datetime.strptime(sent, WIRE_TIME)  # noqa: DTZ007 - a wall time, in self._zone
        if not time.is_utc:
            return None if time.wall == wall else "shifted"
        as_utc = wall.replace(tzinfo=self._zone).astimezone(UTC).replace(tzinfo=None)
        if time.wall == as_utc:
            return None
        return "read_as_utc" if time.wall == wall else "shifted"


def _is_swapped(sent: Mapping[str, str | bool], answer: Appointment) -> bool:
    """As in the vendor's example (Q33)."""
    adviser, recipient = sent.get("adviser_email"), sent.get("email_recipient")
    if adviser == recipient or not adviser or not answer.email_recipient:
        return False
    return answer.email_recipient.casefold() == str(adviser).casefold()
