"""What a path operation reads: the body of a request, its query string and its header fields.

Each function gives what the frameworks' own code would, and raises what it would raise. Called by
compiled routes.
"""

from __future__ import annotations

import email.message
import json
import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qsl

from fastapi import routing
from fastapi._compat import Undefined
from fastapi.exceptions import EndpointContext, RequestValidationError
from fastapi.telemetry._api import _validation_failed as validation_failed
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

RawHeaders = list[tuple[bytes, bytes]]

_limit_error: Callable[[Exception], Exception | None] = getattr(
    routing, "get_body_limit_error", lambda error: None
)
_LIMIT_KEY = getattr(routing, "MAX_BODY_SIZE_SCOPE_KEY", "starlette.max_body_size")


VALIDATED: Any = object()
"""In the place of a body that has been validated without being parsed first."""

_LONG = 300
_has_long_number = re.compile(rb"[0-9]{300}").search
"""Numbers that the two parsers understand in different ways are longer than a `float` can be."""


def receive_json(
    data: bytes,
    scope: Any,
    validate_json: Callable[[bytes], Any] | None,
    call: Any,
    path: str | None,
    is_strict: bool,
) -> tuple[Any, Any]:
    """The body that `data` is, as `read_json` gives it.

    A body for `validate_json` that is valid needs not be parsed: it is `VALIDATED`, and the second
    item is the result.
    """
    if not data:
        return Undefined, None
    if type(scope["headers"]) is not list:
        own_headers(scope)
    content_type = find_header(scope["headers"], b"content-type")
    if not (is_json(content_type) if content_type else not is_strict):
        return data, None
    if validate_json is not None and not (len(data) >= _LONG and _has_long_number(data)):
        try:
            return VALIDATED, validate_json(data)
        except Exception:
            pass  # The other way finds out what is wrong.
    try:
        return loads(data), None
    except Exception as error:
        raise _failure(error, scope, call, path) from error


def remember_body(request: Any, data: bytes, body: Any = Undefined) -> None:
    """Let a request have what has been read, as if it had read it."""
    request._stream_consumed, request._body = True, data
    if body is not Undefined and body is not None and body is not VALIDATED and body is not data:
        request._json = body


async def read_json(request: Request, call: Any, path: str | None, is_strict: bool) -> Any:
    """The body as FastAPI reads it: parsed if it is declared as JSON, else bytes, or Undefined."""
    try:
        # A wrapper of the handler may have made a request of a class of its own.
        is_plain = type(request) is Request and not hasattr(request, "_body")
        body = await (_read(request) if is_plain else request.body())
        if not body:
            return Undefined
        if is_plain:
            if type(request.scope["headers"]) is not list:
                own_headers(request.scope)
            content_type = find_header(request.scope["headers"], b"content-type")
        else:
            content_type = request.headers.get("content-type")
        if is_json(content_type) if content_type else not is_strict:
            if not is_plain:
                return await request.json()
            request._json = value = loads(body)
            return value
        return body
    except HTTPException:
        raise
    except Exception as error:
        raise _failure(error, request.scope, call, path) from error


def _failure(error: Exception, scope: Any, call: Any, path: str | None) -> Exception:
    """What FastAPI raises when a body that should be JSON is not."""
    if not isinstance(error, json.JSONDecodeError):
        return unreadable(scope, error)
    invalid = RequestValidationError(
        [
            {
                "type": "json_invalid",
                "loc": ("body", error.pos),
                "msg": "JSON decode error",
                "input": {},
                "ctx": {"error": error.msg},
            }
        ],
        body=error.doc,
        endpoint_ctx=endpoint_context(call, scope, path),
    )
    validation_failed(invalid)
    return invalid


async def _read(request: Any) -> Any:
    """`request.body()`, where it most often comes in one message."""
    if request._stream_consumed:
        return await request.body()
    message = await request._receive()
    if message["type"] == "http.disconnect":
        request._is_disconnected = True
        raise ClientDisconnect()
    if message["type"] != "http.request":
        return await request.body()
    body = message.get("body", b"")
    if message.get("more_body", False):
        chunks = [body] if body else []
        async with aclosing(request.stream()) as stream:
            async for chunk in stream:
                chunks.append(chunk)
        body = b"".join(chunks)
    else:
        request._stream_consumed = True
        if type(body) is not bytes:
            body = b"".join([body])
    request._body = body
    return body


def loads(body: bytes) -> Any:
    """`json.loads`, which finds out first that a body is UTF-8."""
    if body[0] < 0x80 and b"\0" not in body:
        return _decode(body.decode("utf-8", "surrogatepass"))
    return json.loads(body)


_decode = json.JSONDecoder().decode


async def read_form(request: Request, limits: Any, files: Any, has_limits: bool) -> Any:
    """The body as a form, whose files are closed when the request is done."""
    try:
        if has_limits:
            scope = request.scope.get("fastapi", {})
            body = await request.form(**routing._resolve_form_limits(scope, limits))
        else:
            body = await request.form()
        files.push_async_callback(body.close)
        return body
    except HTTPException:
        raise
    except Exception as error:
        raise unreadable(request.scope, error) from error


def unreadable(scope: Any, error: Exception) -> Exception:
    """What FastAPI raises when a body could not be read."""
    if _LIMIT_KEY in scope and (limit := _limit_error(error)):
        return limit
    return HTTPException(status_code=400, detail="There was an error parsing the body")


_media_types: dict[str, bool] = {"application/json": True}
_MEDIA_TYPES_MAX = 256
"""Clients choose what they send: the memory of what was seen is bounded."""


def is_json(content_type: str) -> bool:
    """Whether a non-empty content type declares JSON, by the rules of `email.message`."""
    known = _media_types.get(content_type)
    if known is not None:
        return known
    message = email.message.Message()
    message["content-type"] = content_type
    found = False
    if message.get_content_maintype() == "application":
        subtype = message.get_content_subtype()
        found = subtype == "json" or subtype.endswith("+json")
    if len(_media_types) < _MEDIA_TYPES_MAX:
        _media_types[content_type] = found
    return found


def endpoint_context(call: Any, scope: Any, path: str | None) -> EndpointContext:
    """Where the endpoint is, for the text of validation errors."""
    context = routing._extract_endpoint_context(call)
    if path:
        mount_path = scope.get("root_path", "").rstrip("/")
        context["path"] = f"{scope['method']} {mount_path}{path}"
    return context


def parse_query(query: bytes) -> dict[str, str]:
    """The last value of each name in a query string."""
    if not query:
        return {}
    text = query.decode("latin-1")
    if "%" in text or "+" in text:
        return dict(parse_qsl(text, keep_blank_values=True))
    values = {}
    for pair in text.split("&"):
        name, equals, value = pair.partition("=")
        if equals or name:
            values[name] = value
    return values


def find_header(headers: RawHeaders, name: bytes) -> str | None:
    """The first value of a header field, whose name is in lower case."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def own_headers(scope: Any) -> None:
    """Make the header fields a list of this request's own, as the first look at them does."""
    scope["headers"] = list(scope["headers"])


_new = object.__new__


def prime(request: Any) -> None:
    """Give `request` the views that FastAPI has made before any dependency is called."""
    scope = request.scope
    if scope["query_string"]:
        request.query_params  # noqa: B018 (made and kept by looking)
    else:
        request._query_params = query = _new(QueryParams)
        query._list, query._dict = [], {}
    headers = request.headers
    if any(key == b"cookie" for key, _ in headers._list):
        request.cookies  # noqa: B018
    else:
        request._cookies = {}
