"""What the bodies of requests are read as."""

import json
from typing import Any

from sandbox.refusals import refusal
from sandbox.writes import cleaned


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object that was sent, cleaned; anything else is refused."""
    sent = sent_json(body)
    if not isinstance(sent, dict):
        raise refusal(400, "The body must be a JSON object.")
    return sent


def sent_json(body: bytes) -> Any:
    """What was sent, cleaned; None if it is no JSON."""
    try:
        return cleaned(json.loads(body))
    except ValueError:
        return None
