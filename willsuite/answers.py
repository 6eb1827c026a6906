"""What an answer means.

Belongs here: one function per kind of call that sorts a status into an error or none.
Does not: sending, waiting, or decoding a success.

Source: the vendor lists 200, 201, 400, 404 and 500 only; the others are Laravel's habits
(facts.md 1.1).
"""

from willsuite.errors import (
    ConfigurationError,
    NotFoundError,
    RejectedError,
    ServerError,
    WillSuiteError,
)
from willsuite.transport import Answer


def read_error(answer: Answer, call: str) -> WillSuiteError | None:
    """The error in the answer to a read, or None for a success.

    `call` is the method and path template ("GET /cases/{caseId}"). 401 and 429 are settled
    before by the client.
    """
    status = answer.status
    if status == 200:
        return None
    if status >= 500:
        return ServerError(f"{call} keeps failing with status {status}; try again later.", status)
    if 300 <= status < 400:
        return ConfigurationError(
            f"{call} was redirected (status {status}), which is refused because the token would "
            "go elsewhere; check WILLSUITE_BASE_URL."
        )
    if status == 404:
        return NotFoundError(
            f"{call} found nothing (status 404); check the id and the base URL.", 404
        )
    return RejectedError(f"{call} was refused with status {status}.", status)
