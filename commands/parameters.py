"""`make pages`: the parameters of the flows, as their forms have them.

Belongs here: the page's shape. Does not: titles, limits and the order (`flows/forms.py`), or what
each parameter means (the docstring of its flow).
"""

import json
from pathlib import Path
from typing import Any

from prefect import Flow

from flows.bulk_update_cases import bulk_update_cases
from flows.export_accounts import export_accounts
from flows.export_cases import export_cases
from flows.import_cases import import_cases
from flows.sync_appointments import sync_appointments
from flows.update_cases import update_cases

PAGE = Path(__file__).resolve().parent.parent / "docs" / "parameters.md"
FLOWS: tuple[Flow[..., Any], ...] = (
    import_cases, bulk_update_cases, update_cases, sync_appointments, export_cases,
    export_accounts,
)  # fmt: skip
_HEAD = """\
# Parameters of the flows

The same from Python, in the form of Prefect's UI, and with `prefect deployment run -p name=value`.
Made of the flows themselves by `make pages`. Prefect stores parameters as they are, for all to see
who may see its UI: nothing about a client, and no secret, belongs in one.
"""


def parameters_page() -> str:
    """The page as Markdown."""
    return "\n".join([_HEAD, *map(_section, FLOWS)])


def _section(flow: Flow[..., Any]) -> str:
    properties = flow.parameters.properties
    names = sorted(properties, key=lambda name: properties[name]["position"])
    lines = [f"| `{name}` | {_default(properties[name])} | {_text(properties[name])} |"
             for name in names]  # fmt: skip
    head = "| parameter | default | |\n| --- | --- | --- |\n"
    return f"## {flow.name}\n\n{head}" + "\n".join(lines) + "\n"


def _default(shown: dict[str, Any]) -> str:
    return f"`{json.dumps(shown['default'])}`" if "default" in shown else ""


def _text(shown: dict[str, Any]) -> str:
    return " ".join(shown["description"].split()).replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(parameters_page(), encoding="utf-8")
