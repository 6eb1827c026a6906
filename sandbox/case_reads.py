"""The endpoints that only read: cases, CRM fields, jobs."""

import json
from datetime import datetime
from zoneinfo import ZoneInfo

from aiohttp import web

from sandbox.account import Account
from sandbox.paging import paginator
from sandbox.people import CRM_FIELDS
from sandbox.refusals import invalid, no_results


class CaseReads(Account):
    """The account, as far as it can be read."""

    async def _list_cases(self, request: web.Request) -> web.Response:
        page = _whole_number(request, "page", 1)
        per_page = min(_whole_number(request, "perPage", 10), self.options.max_per_page)
        ids = self.store.listing(
            ref=request.query.get("ref"),
            postcode=request.query.get("postcode"),
            updated_after=_moment(request, "updatedAfter", ZoneInfo(self.options.updated_zone)),
        )
        start = (page - 1) * per_page
        shown = ids[start : start + per_page]
        around = paginator(page, per_page, len(ids), len(shown))
        cases = b",".join(self.store.rendered(case_id, in_list=True) for case_id in shown)
        body = b'{"data":[' + cases + b"]," + json.dumps(around).encode()[1:]
        return web.Response(body=body, content_type="application/json")

    async def _get_case(self, request: web.Request) -> web.Response:
        case_id = self._known_case(request)
        return web.Response(body=self.store.rendered(case_id), content_type="application/json")

    async def _get_job(self, request: web.Request) -> web.Response:
        job_id = request.match_info["job_id"]
        answer = self._jobs.answer(job_id)
        if answer is None:
            raise no_results("ApiJob", job_id)
        return web.json_response(answer)

    async def _crm_fields(self, _request: web.Request) -> web.Response:
        return web.json_response(CRM_FIELDS)


def _whole_number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise invalid(name, f"The {name} must be a whole number of at least 1.")
    return int(text)


def _moment(request: web.Request, name: str, zone: ZoneInfo) -> datetime | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone)
    except ValueError:
        moment = None
    if moment is None or str(moment.replace(tzinfo=None)) != text:
        raise invalid(name, f"The {name} does not match the format Y-m-d H:i:s.")
    return moment
