"""The report of a check, for people and for programs.

Belongs here: its form. Does not: the findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from protocols.checking.asking import Finding

HEAD = """\
# What this WillSuite account does

Asked on {at:%Y-%m-%d %H:%M} UTC by `make check-account`, with {requests} requests{how}. It has
counts, statuses and names of fields, and nothing of any person: it can be passed on.
"""


@dataclass(frozen=True, slots=True)
class Report:
    """A check that is done."""

    asked_at: datetime
    requests: int
    wrote: bool
    findings: Sequence[Finding]

    def as_markdown(self) -> str:
        """For people."""
        how = ", some of them changes" if self.wrote else ""
        parts = [HEAD.format(at=self.asked_at, requests=self.requests, how=how)]
        for finding in self.findings:
            setting = f"\n\nTo be set: {finding.setting}" if finding.setting else ""
            parts.append(f"## {finding.question}\n\n{finding.answer}{setting}\n")
        return "\n".join(parts)

    def as_json(self) -> bytes:
        """For programs."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
