"""What the generated applications are written with: a generated module imports all of it.

Beside the names of the libraries, `world`'s notes, `models` and `results`: response classes, route
classes and middlewares of the kinds that real applications have.
"""

# ruff: noqa: F401, F403, F405
from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import decimal
import enum
import functools
import inspect
import math
import pathlib
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Any, Generic, Literal, TypeVar, Union
from uuid import UUID

import anyio
import fastapi
import starlette
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
    Security,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
    params,
)
from fastapi.concurrency import run_in_threadpool
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from fastapi.routing import APIRoute
from fastapi.security import (
    APIKeyCookie,
    APIKeyHeader,
    APIKeyQuery,
    HTTPAuthorizationCredentials,
    HTTPBasic,
    HTTPBasicCredentials,
    HTTPBearer,
    OAuth2PasswordBearer,
    SecurityScopes,
)
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    RootModel,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from typing_extensions import TypedDict

from accelerator.models import *
from accelerator.results import result
from accelerator.world import *

# Response classes


class UpperResponse(JSONResponse):
    media_type = "application/upper"

    def render(self, content: Any) -> bytes:
        note("upper.render")
        return super().render(content).upper()


class TypedResponse(JSONResponse):
    media_type = "application/typed+json"


class NoticedResponse(JSONResponse):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        note("noticed.call", self.status_code)
        await super().__call__(scope, receive, send)


class InitResponse(JSONResponse):
    def __init__(self, content: Any, **options: Any) -> None:
        note("init.response", sorted(options))
        super().__init__(content, **options)
        self.headers["x-init"] = "yes"


class WrappingRoute(APIRoute):
    def get_route_handler(self) -> Any:
        handler = super().get_route_handler()

        async def wrapped(request: Request) -> Response:
            note("route class", request.method)
            response = await handler(request)
            response.headers["x-route-class"] = "yes"
            return response

        return wrapped


class PlainRoute(APIRoute):
    """A subclass that changes nothing."""


# Middlewares


class PureMiddleware:
    def __init__(self, app: Any, name: str = "pure") -> None:
        self.app = app
        self.name = name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        note(f"{self.name}.in", sorted(scope))

        async def sending(message: Any) -> None:
            note(f"{self.name}.send", message)
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-pure", b"1")]}
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            note(f"{self.name}.out", sorted(scope), seen_in(scope))
        return None


class CopyingMiddleware:
    """Hands a copy of the scope on, so that nothing written inside is seen outside."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        inner = dict(scope)
        await self.app(inner, receive, send)
        note("copying.out", sorted(scope), sorted(inner))


class ReadingMiddleware:
    """Reads the body itself and replays it in one message."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            more = message.get("more_body", False)
        note("reading.body", body)
        sent = False

        async def replay() -> Any:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            note("reading.replayed")
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)
        return None


class BaseMiddleware(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        note("base.in", sorted(request.scope))
        colour_context.set("base")
        response = await call_next(request)
        note("base.out", response.status_code, seen_in(request.scope))
        response.headers["x-base"] = colour_context.get()
        return response


class BodyBaseMiddleware(BaseHTTPMiddleware):
    """Reads the request's and the response's body."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        note("bodybase.in", await request.body())
        response = await call_next(request)
        chunks = [chunk async for chunk in response.body_iterator]
        note("bodybase.out", chunks, response.headers.raw)
        return Response(b"".join(chunks), response.status_code, dict(response.headers))


class CatchingMiddleware(BaseHTTPMiddleware):
    """Turns what comes out of the application into a response."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        try:
            return await call_next(request)
        except Exception as error:
            note("catching", error)
            return PlainTextResponse("caught", 599)


def given(function: Any, **options: Any) -> dict[str, Any]:
    """Those of the options that this release of FastAPI knows."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in known}
