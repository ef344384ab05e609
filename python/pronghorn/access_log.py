"""The access log: one record a request, with Uvicorn's five arguments.

`access_hook` gives the engine the function to call as a response starts, or None when no record
would be written, so that a silent access log costs nothing. The rule: what a client sent reaches
the log as printable ASCII only.
"""

import logging
import re
from collections.abc import Callable
from urllib.parse import quote

from pronghorn.types import Address, HTTPScope, WWWScope

_UNSAFE_IN_QUERY = re.compile(rb"[^\x21\x23-\x7e]")


def access_hook() -> Callable[[HTTPScope, int], None] | None:
    """The function that logs a response's start, or None when the access log is off."""
    logger = logging.getLogger("pronghorn.access")
    if not (logger.hasHandlers() and logger.isEnabledFor(logging.INFO)):
        return None
    log = logger.info

    def log_access(scope: HTTPScope, status: int) -> None:
        log(
            '%s - "%s %s HTTP/%s" %d',
            # An application may have emptied its scope by now; that is no reason to lose the line.
            client_address(scope.get("client")),
            scope.get("method", "-"),
            path_with_query_string(scope),
            scope.get("http_version", "-"),
            status,
        )

    return log_access


def client_address(client: Address | None) -> str:
    """`host:port`, or nothing for a peer without an address, such as one on a Unix socket."""
    return f"{printable(client[0])}:{client[1]}" if client else ""


def path_with_query_string(scope: WWWScope) -> str:
    """The path, quoted again, and the query string as it came but for unprintable bytes."""
    path = quote(scope.get("path", "-"), errors="replace")
    query = scope.get("query_string")
    if not query:
        return path
    if _UNSAFE_IN_QUERY.search(query):
        query = _UNSAFE_IN_QUERY.sub(_percent_encoded, query)
    return f"{path}?{query.decode('ascii')}"


def _percent_encoded(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def printable(text: str) -> str:
    """`text` with everything but printable ASCII escaped."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii")
