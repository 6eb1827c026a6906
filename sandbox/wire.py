"""How a fault reaches the socket."""

import asyncio
import socket
import struct

from aiohttp import web

from sandbox.faults import Drip, Drop, Html, Status, Truncate


def answer_instead(request: web.Request, action: Status | Drop | Html) -> web.Response:
    """What comes in place of the real answer; of `Drop` a reset."""
    if isinstance(action, Status):
        kind = "application/json" if action.body.startswith("{") else "text/html"
        return web.Response(
            status=action.status, headers=action.headers, text=action.body, content_type=kind
        )
    if isinstance(action, Html):
        page = "<!doctype html><title>Log in</title><p>Please log in.</p>"
        return web.Response(text=page, content_type="text/html")
    if request.transport is not None and not request.transport.is_closing():  # by the client
        # without lingering, closing sends a reset
        peer = request.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


class _UntilClosed(web.StreamResponse):
    """An answer whose end is the end of the connection, as HTTP/1.0 has it."""

    _length_check = False  # aiohttp's own switch: no Content-Length, no chunks


async def send_slowly_or_partly(
    request: web.Request, real: web.Response, action: Truncate | Drip
) -> web.StreamResponse:
    """The real answer, of which only a part arrives, or all a few bytes at a time."""
    body = real.body
    assert isinstance(body, bytes)
    unannounced = isinstance(action, Truncate) and not action.announced
    kind = _UntilClosed if unannounced else web.StreamResponse
    response = kind(status=real.status, headers=real.headers)
    if isinstance(action, Drip) or action.announced:
        response.content_length = len(body)
    else:
        response.force_close()
    await response.prepare(request)
    if isinstance(action, Truncate):
        await response.write(body[: int(len(body) * action.share)])
        if request.transport is not None:
            request.transport.close()
        return response
    for start in range(0, len(body), 10):
        await response.write(body[start : start + 10])
        await asyncio.sleep(10 / action.bytes_per_second)
    return response
