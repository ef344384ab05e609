"""Proxies around functions, as agents make them (`wrapt`), are called like any other replacement.

A proxy passes for what it wraps: it has its code and its class, and says that it is equal to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fastapi.routing
import pytest
import starlette.requests
import starlette.responses
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pronghorn.fastapi import install, uninstall
from pydantic import BaseModel
from starlette.applications import Starlette

from accelerator.ask import ask
from accelerator.conftest import Tiers
from accelerator.rewriting import accept


class Proxy:
    """Notes each call in which it knows, as a method, what it is bound to."""

    def __init__(self, wrapped: Any, calls: list[Any], instance: Any = None) -> None:
        vars(self).update(wrapped=wrapped, calls=calls, instance=instance)

    @property
    def __class__(self) -> Any:
        return type(self.wrapped)

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def __eq__(self, other: object) -> bool:
        return bool(self.wrapped == other)

    def __hash__(self) -> int:
        return hash(self.wrapped)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return Proxy(self.wrapped.__get__(instance, owner), self.calls, instance)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.calls.append(self.instance)
        return self.wrapped(*arguments, **named)


class Item(BaseModel):
    name: str


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()

    @app.post("/", response_model=None)
    async def item(given: Item) -> Any:
        return {"name": given.name}

    return app


def answers(app: FastAPI) -> bool:
    return bool(ask(app, "/", "POST", json_body={"name": "n"}).body == b'{"name":"n"}')


FUNCTIONS = [
    (fastapi.routing, "serialize_response"),
    (fastapi.routing, "run_endpoint_function"),
    (starlette.requests.Request, "json"),
    (starlette.responses.JSONResponse, "render"),
    (Starlette, "__call__"),
    (APIRoute, "handle"),
]
every_function = pytest.mark.parametrize(
    ("owner", "name"), FUNCTIONS, ids=[name for _, name in FUNCTIONS]
)
Wrap = Callable[[Any, str], list[Any]]


@pytest.fixture
def wrap(monkeypatch: pytest.MonkeyPatch) -> Wrap:
    """Puts a proxy around a function, and returns the list of its calls."""

    def put(owner: Any, name: str) -> list[Any]:
        calls: list[Any] = []
        monkeypatch.setattr(owner, name, Proxy(vars(owner)[name], calls))
        return calls

    return put


@every_function
def test_a_proxy_that_comes_after_the_first_request_is_called(
    app: FastAPI, accelerated: bool, wrap: Wrap, owner: Any, name: str
) -> None:
    assert answers(app)
    calls = wrap(owner, name)
    assert answers(app)
    assert len(calls) == 1
    if isinstance(owner, type):
        assert isinstance(calls[0], owner)


@pytest.fixture
def off() -> Iterator[None]:
    uninstall()
    accept()
    yield
    uninstall()


@pytest.mark.usefixtures("off")
@every_function
def test_a_proxy_that_was_there_before_the_accelerator_is_called(
    app: FastAPI, wrap: Wrap, owner: Any, name: str
) -> None:
    calls = wrap(owner, name)
    install()
    assert answers(app)
    assert len(calls) == 1
    if isinstance(owner, type):
        assert isinstance(calls[0], owner)


def test_a_proxy_around_the_application_of_a_route_is_called(
    app: FastAPI, accelerated: bool, tiers: Tiers
) -> None:
    calls: list[Any] = []
    route = next(each for each in app.routes if isinstance(each, APIRoute))
    route.app = Proxy(route.app, calls)
    assert answers(app)
    assert len(calls) == 1
    if accelerated:
        assert tiers(app)["/"] == "routed"


def test_a_proxy_around_a_handler_is_called(accelerated: bool, tiers: Tiers) -> None:
    calls: list[Any] = []

    class WrappedRoute(APIRoute):
        def get_route_handler(self) -> Any:
            return Proxy(super().get_route_handler(), calls)

    app = FastAPI()
    app.router.route_class = WrappedRoute

    @app.post("/")
    async def item(given: Item) -> Item:
        return given

    assert answers(app)
    assert len(calls) == 1
    if accelerated:
        assert tiers(app)["/"] == "routed"
