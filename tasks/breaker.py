"""When a run that writes stops sending.

Belongs here: counting failures in a row, and the sentence for which a run stops. Does not: what an
answer means (`willsuite/answers.py`), or what becomes of the rows that are left.
"""


class Breaker:
    """Stops after so many failures in a row, or when it is told to; the first reason stays."""

    def __init__(self, failures_in_a_row: int) -> None:
        self._limit = failures_in_a_row
        self._failures = 0
        self.stopped_by: str | None = None
        """Why nothing more is sent, as a sentence."""

    def begin(self) -> None:
        """Failures so far are history."""
        self._failures = 0

    def note(self, *, is_failure: bool) -> None:
        """An answer came, or failed to."""
        self._failures = self._failures + 1 if is_failure else 0
        if self._failures >= self._limit:
            self.stop(
                f"WillSuite failed {self._limit} times in a row, so nothing more was sent; run the "
                "same file again later."
            )

    def stop(self, why: str) -> None:
        """Nothing more is to be sent."""
        self.stopped_by = self.stopped_by or why
