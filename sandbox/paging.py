"""Laravel's length-aware paginator: what stands around the rows of a page."""

from typing import Any

LINK_BASE = "http://willsuite-v2.test/engine/api/cases"
"""As the vendor's example has it: http, another host, and only `page` in the query (Q22)."""


def paginator(page: int, per_page: int, total: int, shown: int) -> dict[str, Any]:
    """Laravel's length-aware paginator without its data."""
    last = max(1, -(-total // per_page))
    first_row = (page - 1) * per_page + 1
    return {
        "current_page": page,
        "first_page_url": _link(1),
        "from": first_row if shown else None,
        "last_page": last,
        "last_page_url": _link(last),
        "links": _links(page, last),
        "next_page_url": _link(page + 1) if page < last else None,
        "path": LINK_BASE,
        "per_page": per_page,
        "prev_page_url": _link(page - 1) if page > 1 else None,
        "to": first_row + shown - 1 if shown else None,
        "total": total,
    }


def _link(page: int) -> str:
    return f"{LINK_BASE}?page={page}"


def _links(page: int, last: int) -> list[dict[str, Any]]:
    """The buttons of Laravel's pager: both ends, the neighbours, and dots between."""
    if last < 14:
        numbers: set[int] = set(range(1, last + 1))
    elif page <= 7:
        numbers = {*range(1, 11), last - 1, last}
    elif page > last - 7:
        numbers = {1, 2, *range(last - 9, last + 1)}
    else:
        numbers = {1, 2, *range(page - 3, page + 4), last - 1, last}
    buttons: list[dict[str, Any]] = [
        {"url": _link(page - 1) if page > 1 else None, "label": "&laquo; Previous", "active": False}
    ]
    before = 0
    for number in sorted(numbers):
        if number > before + 1:
            buttons.append({"url": None, "label": "...", "active": False})
        buttons.append({"url": _link(number), "label": str(number), "active": number == page})
        before = number
    following = _link(page + 1) if page < last else None
    buttons.append({"url": following, "label": "Next &raquo;", "active": False})
    return buttons
