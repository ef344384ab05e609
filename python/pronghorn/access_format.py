"""What a line of the access log tells: `--access-log-format`, and the objects of `--log-json`.

A format is text with fields in it, `%(method)s`, `%({user-agent}i)s` for a header of the request
and `%({content-type}o)s` for one of the response; gunicorn's letters are known too. `line_pieces`
and `json_pieces` turn it into the pieces that the engine fills in for each response, pairs of a
kind and a text; the engine's `access_log/template.rs` has the kinds. Nothing here meets a request.
"""

import json
import re
from typing import TypeAlias

Piece: TypeAlias = tuple[str, bytes]

FIELDS = {
    "client_addr": "client",
    "client_host": "client_host",
    "client_port": "client_port",
    "method": "method",
    "path": "path",
    "query": "query",
    "full_path": "full_path",
    "protocol": "protocol",
    "http_version": "http_version",
    "request_line": "request_line",
    "scheme": "scheme",
    "status": "status",
    "status_code": "status_text",
    "bytes": "bytes",
    "duration": "duration_s",
    "duration_ms": "duration_ms",
    "duration_us": "duration_us",
    "time": "time",
    "process": "process_id",
}
"""The fields by name, and the engine's kinds."""

GUNICORN_FIELDS: dict[str, Piece] = {
    "h": ("client_host", b""),
    "l": ("literal", b"-"),
    "u": ("literal", b"-"),
    "t": ("time_clf", b""),
    "r": ("request_line", b""),
    "m": ("method", b""),
    "U": ("path", b""),
    "q": ("query", b""),
    "H": ("protocol", b""),
    "s": ("status", b""),
    "b": ("bytes", b""),
    "B": ("bytes", b""),
    "f": ("request_header", b"referer"),
    "a": ("request_header", b"user-agent"),
    "D": ("duration_us", b""),
    "L": ("duration_s", b""),
    "p": ("process_id", b""),
}
"""Gunicorn's letters for the same."""

JSON_FIELDS = (
    "client_addr",
    "method",
    "full_path",
    "http_version",
    "status",
    "bytes",
    "duration",
)
"""What an object tells when no format says otherwise."""

_LEVEL_PREFIX = b"INFO:    "
_FIELD = re.compile(r"%(?:%|\((?P<name>[^()]+)\)(?P<conversion>[sd]?))?")
_HEADER = re.compile(r"\{([!#$%&'*+.^_`|~0-9A-Za-z-]+)\}([io])")


def format_complaint(text: str) -> str | None:
    """What is wrong with a format, or None."""
    try:
        line_pieces(text)
    except ValueError as error:
        return f"{error}, got `{text!a}`."
    return None


def line_pieces(text: str) -> list[Piece]:
    """The pieces of a line; raises ValueError for a text that is no format."""
    if not text.isascii() or not text.replace("\t", " ").isprintable():
        raise ValueError("must be printable ASCII on one line")
    pieces: list[Piece] = []
    end = 0
    for match in _FIELD.finditer(text):
        pieces += [("literal", text[end : match.start()].encode()), _piece(match)]
        end = match.end()
    pieces.append(("literal", text[end:].encode()))
    return [piece for piece in pieces if piece != ("literal", b"")]


def json_pieces(text: str | None, logger_name: str) -> list[Piece]:
    """The pieces of an object: of the fields in the format, or else of the usual ones."""
    if text is None:
        named = [(name, (FIELDS[name], b"")) for name in JSON_FIELDS]
    else:
        matches = (match for match in _FIELD.finditer(text) if match["name"])
        named = [(_key(match["name"]), _piece(match)) for match in matches]
    pieces: list[Piece] = [("literal", b'{"time": '), ("time", b"")]
    start = f', "level": "INFO", "logger": {json.dumps(logger_name)}'
    for key, piece in dict(named).items():
        if piece[0] != "literal":
            pieces += [("literal", f"{start}, {json.dumps(key)}: ".encode()), piece]
            start = ""
    return [*pieces, ("literal", f"{start}}}".encode())]


def _piece(match: re.Match[str]) -> Piece:
    name, conversion = match["name"], match["conversion"]
    if match[0] == "%%":
        return "literal", b"%"
    if not conversion:
        raise ValueError(
            f"needs fields of the form `%(name)s`, or `%%`, at character {match.end()}"
        )
    if name == "levelprefix":
        return "literal", _LEVEL_PREFIX
    if name in FIELDS:
        return FIELDS[name], b""
    if name in GUNICORN_FIELDS:
        return GUNICORN_FIELDS[name]
    header = _HEADER.fullmatch(name)
    if header is None:
        raise ValueError(
            f"has an unknown field, `{name}`; there are {', '.join(FIELDS)}, "
            "`{name}i` for a header of the request and `{name}o` for one of the response"
        )
    kind = "request_header" if header[2] == "i" else "response_header"
    return kind, header[1].lower().encode()


def _key(name: str) -> str:
    """The name of a member: that of the field, or of the header."""
    header = _HEADER.fullmatch(name)
    return header[1].lower() if header else name
