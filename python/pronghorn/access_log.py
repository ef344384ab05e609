"""The access log: one line a request.

`open_access_log` gives the engine what it tells of each response, or None when no record would be
written, so that a silent access log costs nothing. While the logger is as Pronghorn sets it up, the
engine formats the lines itself and has them written in batches; otherwise each response makes a
record with Uvicorn's five arguments. Either way the same lines come out. With a format of the
operator's own, or JSON, the engine makes the line in either case, and a record carries it along.
The rule: what a client sent reaches the log as printable ASCII only.
"""

import logging
import re
from contextlib import nullcontext
from typing import Any, TextIO
from urllib.parse import quote

from pronghorn.access_format import Piece, json_pieces, line_pieces
from pronghorn.logging import ACCESS_FORMAT, AccessFormatter, JSONFormatter
from pronghorn.types import Address, HTTPScope, WWWScope

_UNSAFE_IN_QUERY = re.compile(rb"[^\x21\x23-\x7e]")


def open_access_log(format: str | None = None, *, is_json: bool = False) -> "AccessLog | None":
    """The access log of a server that is about to start, or None when it is silent."""
    logger = logging.getLogger("pronghorn.access")
    if not (logger.hasHandlers() and logger.isEnabledFor(logging.INFO)):
        return None
    return AccessLog(logger, format, is_json=is_json)


class AccessLog:
    """What the engine tells of each response.

    `template` has the pieces of a line, None for Uvicorn's.
    """

    def __init__(self, logger: logging.Logger, format: str | None, *, is_json: bool) -> None:
        self.is_json = is_json
        self.template: list[Piece] | None = None
        if is_json:
            self.template = json_pieces(format, logger.name)
        elif format is not None:
            self.template = line_pieces(format)
        self._logger = logger
        self._handler = _plain_handler(logger, has_template=self.template is not None)
        self._formatter = self._handler.formatter if self._handler else None

    def is_plain(self) -> bool:
        """Whether nobody would notice if lines were written without making records."""
        logger, handler = self._logger, self._handler
        return (
            handler is not None
            and logger.handlers == [handler]
            and handler.formatter is self._formatter
            and not (logger.filters or handler.filters or logger.disabled or logger.propagate)
            and handler.level <= logging.INFO
            and logger.isEnabledFor(logging.INFO)
        )

    def write(self, lines: bytes) -> None:
        """Write whole lines."""
        handler = self._handler
        if handler is None:
            return
        with handler.lock or nullcontext():
            handler.stream.write(lines.decode("ascii"))
            handler.flush()

    def record_line(
        self, scope: HTTPScope, status: int, line: bytes, byte_count: int, duration_s: float
    ) -> None:
        """Log one response that has ended, and the line that the template makes of it."""
        extra = {
            "access_line": line.decode("ascii"),
            "response_bytes": byte_count,
            "duration": duration_s,
        }
        self.record(scope, status, extra)

    def record(self, scope: HTTPScope, status: int, extra: dict[str, Any] | None = None) -> None:
        """Log one response."""
        self._logger.info(
            '%s - "%s %s HTTP/%s" %d',
            # An application may have emptied its scope by now; that is no reason to lose the line.
            client_address(scope.get("client")),
            scope.get("method", "-"),
            path_with_query_string(scope),
            scope.get("http_version", "-"),
            status,
            extra=extra,
        )


def _plain_handler(
    logger: logging.Logger, *, has_template: bool
) -> "logging.StreamHandler[TextIO] | None":
    """The logger's one handler, if all that it does with a record is to write the engine's line."""
    match logger.handlers:
        case [logging.StreamHandler() as handler] if type(handler) is logging.StreamHandler:
            if has_template:
                is_ours = type(handler.formatter) in (AccessFormatter, JSONFormatter)
            else:
                is_ours = _writes_default_line(handler.formatter)
            return handler if is_ours else None
    return None


def _writes_default_line(formatter: logging.Formatter | None) -> bool:
    return (
        type(formatter) is AccessFormatter
        and not formatter.use_colors
        and (formatter._fmt, formatter.datefmt) == (ACCESS_FORMAT, None)
    )


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
