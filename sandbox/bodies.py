"""What the bodies of requests are read as."""

import json
from typing import Any

from sandbox.writes import cleaned


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object that was sent, cleaned; as Laravel has it, anything else is no input."""
    sent = sent_json(body)
    return sent if isinstance(sent, dict) else {}


def sent_json(body: bytes) -> Any:
    """What was sent, cleaned; None if it is no JSON."""
    try:
        return cleaned(json.loads(body))
    except ValueError:
        return None
