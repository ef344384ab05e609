"""Where FastAPI's behaviour is not what one would write down at first: the accelerator has it all.

Each test builds a small application and states what FastAPI does; it runs on FastAPI itself and on
the accelerator (`accelerated`). The list is that of the feasibility study, and what the fuzzer and
reviews have found since.
"""

# ruff: noqa: B008
from __future__ import annotations

import contextlib
import contextvars
import json
import threading
from enum import Enum
from typing import Annotated, Any

import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from accelerator.ask import ask

pytestmark = pytest.mark.usefixtures("accelerated")


class Item(BaseModel):
    name: str
    price: float = 1.0


class Outer:
    """A pure ASGI middleware that keeps what the scope holds afterwards."""

    seen: dict[str, Any]

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if scope["type"] == "http":
                Outer.seen = dict(scope)


def test_the_first_full_match_wins_static_or_not() -> None:
    app = FastAPI()
    mounted = Starlette(routes=[Route("/x", lambda request: PlainTextResponse("mounted"))])

    @app.get("/items/{name}")
    async def dynamic(name: str) -> str:
        return f"dynamic {name}"

    @app.get("/items/me")
    async def static() -> str:
        return "static"

    @app.get("/first")
    async def first() -> str:
        return "first"

    app.add_route("/plain/{name}", lambda request: PlainTextResponse("starlette"))

    @app.get("/plain/me")
    async def behind_starlette() -> str:
        return "behind"

    app.mount("/mount", mounted)

    @app.get("/mount/x")
    async def behind_mount() -> str:
        return "behind"

    @app.post("/first")
    async def other_method() -> str:
        return "post"

    assert ask(app, "/items/me").json == "dynamic me"
    assert ask(app, "/first").json == "first"
    assert ask(app, "/first", "POST").json == "post"
    assert ask(app, "/plain/me").body == b"starlette"
    assert ask(app, "/mount/x").body == b"mounted"
    refused = ask(app, "/first", "PUT")
    assert (refused.status, refused.header("allow")) == (405, "GET")


def test_openapi_is_found_before_a_catch_all() -> None:
    app = FastAPI()

    @app.get("/{path:path}")
    async def catch_all(path: str) -> str:
        return path

    assert ask(app, "/openapi.json").json["openapi"]
    assert ask(app, "/other/path").json == "other/path"


def test_a_path_matches_before_a_line_break_at_its_end() -> None:
    app = FastAPI()

    @app.get("/static")
    async def static() -> str:
        return "static"

    @app.get("/{name}")
    async def dynamic(name: str) -> str:
        return name

    assert ask(app, "/static\n").json == "static"
    assert ask(app, "/other\n").json == "other\n"
    assert ask(app, "/other\n\n").json == "other\n\n"


def test_head_is_not_allowed_on_a_path_operation() -> None:
    app = FastAPI()

    @app.get("/")
    async def root() -> str:
        return "x"

    app.add_route("/plain", lambda request: PlainTextResponse("plain"))
    refused = ask(app, "/", "HEAD")
    assert (refused.status, refused.header("allow")) == (405, "GET")
    assert ask(app, "/plain", "HEAD").status == 200


def test_an_outer_middleware_sees_what_routing_left_in_the_scope() -> None:
    app = FastAPI()
    router = APIRouter(prefix="/r")

    @router.get("/{number}")
    async def endpoint(number: int) -> int:
        return number

    app.include_router(router)
    app.add_middleware(Outer)
    assert ask(app, "/r/7").json == 7
    seen = Outer.seen
    assert seen["endpoint"] is endpoint
    assert seen["route"] is router.routes[0]
    assert seen["path_params"] == {"number": "7"}
    assert seen["router"] is app.router
    assert seen["app"] is app
    assert {"effective_route_context", "included_router"} <= set(seen["fastapi"])
    for name in ("middleware", "inner", "function"):
        assert type(seen[f"fastapi_{name}_astack"]).__name__ == "AsyncExitStack"
    assert len(seen["starlette.exception_handlers"]) == 2


def test_a_failing_dependency_reports_its_errors_each_time_it_is_reached() -> None:
    app = FastAPI()

    async def shared(number: int) -> int:
        return number

    async def one(value: int = Depends(shared)) -> int:
        return value

    async def other(value: int = Depends(shared)) -> int:
        return value

    @app.get("/")
    async def root(a: int = Depends(one), b: int = Depends(other)) -> int:
        return a + b

    answer = ask(app)
    assert answer.status == 422
    assert [each["loc"] for each in answer.json["detail"]] == [["query", "number"]] * 2


def test_use_cache_false_within_a_cached_dependency() -> None:
    app = FastAPI()
    calls: list[str] = []

    async def counted() -> int:
        calls.append("counted")
        return len(calls)

    async def cached(value: int = Depends(counted, use_cache=False)) -> int:
        calls.append("cached")
        return value

    @app.get("/")
    async def root(
        a: int = Depends(cached),
        b: int = Depends(cached),
        c: int = Depends(counted),
    ) -> list[int]:
        return [a, b, c]

    # The parameters of a cached dependency are solved again, although it is not called again;
    # and what was not to be cached is found in the cache by who wants it cached.
    assert ask(app).json == [1, 1, 1]
    assert calls == ["counted", "cached", "counted"]


def test_the_body_is_read_before_dependencies_and_validated_after() -> None:
    app = FastAPI()
    calls: list[str] = []

    async def dependency() -> None:
        calls.append("dependency")

    @app.post("/", dependencies=[Depends(dependency)])
    async def root(item: Item) -> Item:
        return item

    json_type = [(b"content-type", b"application/json")]
    answer = ask(app, "/", "POST", body=b'{"name": ', headers=json_type)
    assert answer.json["detail"][0]["type"] == "json_invalid"
    assert calls == []
    answer = ask(app, "/", "POST", body=b'{"price": 1}', headers=json_type)
    assert answer.json["detail"][0]["loc"] == ["body", "name"]
    assert calls == ["dependency"]


def test_a_request_keeps_its_body_for_the_endpoint_and_the_handlers() -> None:
    app = FastAPI()

    @app.post("/")
    async def root(item: Item, request: Request) -> Any:
        assert await request.json() is await request.json()
        return [(await request.body()).decode(), await request.json(), item.name]

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return PlainTextResponse(b"body: " + await request.body(), 400)

    body = b' {"name": "n"}'
    json_type = [(b"content-type", b"application/json")]
    answer = ask(app, "/", "POST", body=body, headers=json_type)
    assert answer.json == [body.decode(), {"name": "n"}, "n"]
    answer = ask(app, "/", "POST", body=b"[]", headers=json_type)
    assert answer.body == b"body: []"


def test_handlers_of_both_levels_and_the_outermost_one() -> None:
    app = FastAPI()

    class OwnError(Exception):
        pass

    class Raising:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/middleware":
                raise OwnError("in a middleware")
            await self.app(scope, receive, send)

    app.add_middleware(Raising)

    @app.exception_handler(OwnError)
    async def own(request: Request, error: OwnError) -> Response:
        return PlainTextResponse(f"own: {error}", 418)

    @app.exception_handler(ZeroDivisionError)
    async def failing(request: Request, error: ZeroDivisionError) -> Response:
        raise OwnError("from a handler") from error

    @app.exception_handler(Exception)
    async def anything(request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"outermost: {error!r}", 500)

    @app.get("/own")
    async def raises_own() -> None:
        raise OwnError("here")

    @app.get("/zero")
    async def raises_zero() -> None:
        1 / 0  # noqa: B018

    @app.get("/key")
    async def raises_key() -> None:
        raise KeyError("k")

    assert ask(app, "/own").body == b"own: here"
    # The inner level's handler fails, and the outer level handles that.
    assert ask(app, "/zero").body == b"own: from a handler"
    answer = ask(app, "/key")
    assert (answer.status, answer.body) == (500, b"outermost: KeyError('k')")
    # It is raised again for the server to log.
    assert isinstance(answer.error, KeyError)
    # A user's middleware stands outside of the level that knows this handler.
    answer = ask(app, "/middleware")
    assert answer.body == b"outermost: OwnError('in a middleware')"


def test_a_handled_error_after_the_response_has_started() -> None:
    app = FastAPI()

    async def late() -> Any:
        yield 1
        raise HTTPException(400, "late")

    @app.get("/", dependencies=[Depends(late)])
    async def root() -> str:
        return "x"

    answer = ask(app)
    assert answer.status == 200
    assert type(answer.error) is RuntimeError
    assert str(answer.error) == "Caught handled exception, but response already started."
    assert isinstance(answer.error.__cause__, HTTPException)


def test_causes_and_contexts_of_errors() -> None:
    app = FastAPI()

    @app.post("/")
    async def root(item: Item) -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    seen: list[BaseException] = []

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        seen.append(error)
        return PlainTextResponse("invalid", 422)

    answer = ask(app, "/", "POST", json_body={"name": "n"})
    assert isinstance(answer.error, ValueError)
    assert isinstance(answer.error.__cause__, KeyError)
    json_type = [(b"content-type", b"application/json")]
    ask(app, "/", "POST", body=b"{", headers=json_type)
    assert isinstance(seen[0].__cause__, json.JSONDecodeError)
    ask(app, "/", "POST", body=b"{}", headers=json_type)
    assert seen[1].__cause__ is None
    assert seen[1].__context__ is None
    assert "root" in str(seen[1])


def test_background_tasks_run_before_request_scoped_dependencies_exit() -> None:
    app = FastAPI()
    calls: list[str] = []

    async def of_request() -> Any:
        yield
        calls.append("request exit")

    async def of_function() -> Any:
        yield
        calls.append("function exit")

    @app.get(
        "/",
        dependencies=[Depends(of_request), Depends(of_function, scope="function")],
    )
    async def root(background: BackgroundTasks) -> str:
        background.add_task(calls.append, "background")
        calls.append("endpoint")
        return "x"

    async def on_send(message: Any) -> None:
        calls.append(message["type"])

    assert ask(app, on_send=on_send).status == 200
    assert calls == [
        "endpoint",
        "function exit",
        "http.response.start",
        "http.response.body",
        "background",
        "request exit",
    ]


def test_an_exception_goes_through_function_scoped_exits_first() -> None:
    app = FastAPI()
    calls: list[str] = []

    def make(name: str) -> Any:
        async def dependency() -> Any:
            try:
                yield
            except ValueError:
                calls.append(f"{name} sees it")
                raise
            finally:
                calls.append(f"{name} exits")

        return dependency

    @app.get(
        "/",
        dependencies=[
            Depends(make("function"), scope="function"),
            Depends(make("first")),
            Depends(make("second")),
        ],
    )
    async def root() -> None:
        raise ValueError("x")

    assert isinstance(ask(app).error, ValueError)
    assert calls == [
        f"{name} {what}"
        for name in ("function", "second", "first")
        for what in ("sees it", "exits")
    ]


def test_a_swallowed_exception_is_an_error_of_its_own() -> None:
    app = FastAPI()

    async def swallowing() -> Any:
        with contextlib.suppress(ValueError):
            yield

    @app.get("/", dependencies=[Depends(swallowing)])
    async def root() -> None:
        raise ValueError("x")

    assert "Response not awaited" in str(ask(app).error)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_statuses_without_a_body(status: int) -> None:
    app = FastAPI()

    @app.get("/declared", status_code=status, response_model=None)
    async def declared() -> Any:
        return {"a": 1}

    @app.get("/set")
    async def is_set(response: Response) -> dict[str, int]:
        response.status_code = status
        return {"a": 1}

    @app.get("/raised")
    async def raised() -> None:
        raise HTTPException(status)

    @app.get("/own")
    async def own() -> Any:
        return JSONResponse({"a": 1}, status)

    assert ask(app, "/declared").body == b""
    assert ask(app, "/set").body == b""
    assert ask(app, "/set").header("content-length") == ("7" if status == 205 else None)
    assert ask(app, "/raised").body == b""
    # What the application answers itself is left alone.
    assert ask(app, "/own").body == b'{"a":1}'


def test_the_order_of_header_fields() -> None:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=["*"], expose_headers=["x-e"])

    async def dependency(response: Response) -> None:
        response.headers["X-Dependency"] = "1"

    @app.get("/", dependencies=[Depends(dependency)])
    async def root(response: Response) -> dict[str, int]:
        response.set_cookie("c", "v")
        response.headers["x-endpoint"] = "2"
        return {"a": 1}

    answer = ask(app, headers=[(b"origin", b"http://a.example")])
    assert [name for name, _ in answer.headers] == [
        b"content-length",
        b"content-type",
        b"x-dependency",
        b"set-cookie",
        b"x-endpoint",
        b"access-control-allow-origin",
        b"access-control-expose-headers",
        b"vary",
    ]


def test_query_strings_are_latin_1_with_percent_signs_and_pluses() -> None:
    app = FastAPI()

    @app.get("/")
    async def root(q: str = "default") -> list[str]:
        return [q, f"{len(q)}"]

    for query, value in {
        b"q=a+b": "a b",
        b"q=%C3%A9": "é",
        b"q=%FF": "\ufffd",
        b"q=\xe9": "é",
        b"q=%zz": "%zz",
        b"q": "",
        b"q=": "",
        b"x&q=1&&q=2": "2",
        b"%71=named": "named",
        b"q=a;q=b": "a;q=b",
        b"Q=upper": "default",
        b"q=a%26b%3Dc": "a&b=c",
        b"q=%00": "\0",
        b"q=a=b": "a=b",
    }.items():
        assert ask(app, query=query).json[0] == value, query


def test_the_first_header_and_the_last_query_value_win() -> None:
    app = FastAPI()

    @app.get("/")
    async def root(
        q: str, x_h: Annotated[str, Header()], many: Annotated[list[str], Query()]
    ) -> list[Any]:
        return [q, x_h, many]

    answer = ask(
        app,
        query=b"q=1&q=2&many=a&many=b",
        headers=[(b"x-h", b"first"), (b"x-h", b"second")],
    )
    assert answer.json == ["2", "first", ["a", "b"]]


def test_mutable_defaults_are_copied_for_each_request() -> None:
    app = FastAPI()

    @app.post("/")
    async def root(
        tags: Annotated[list[str], Query()] = ["d"],  # noqa: B006
        item: Annotated[Item, Body()] = Item(name="default"),
    ) -> list[Any]:
        tags.append("grown")
        item.name += "!"
        return [tags, item.name]

    for _ in range(3):
        assert ask(app, "/", "POST").json == [["d", "grown"], "default!"]


@pytest.mark.parametrize(
    ("content_type", "is_json"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ("APPLICATION/JSON", True),
        ("application/vnd.api+json", True),
        ("application/+json", True),
        ('application/json; x="a;b"', True),
        ("application/json;;", True),
        (" application/json ", True),
        ("text/json", False),
        ("application/jsonx", False),
        ("json", False),
        ("application/json, text/plain", False),
        ("application/json/x", False),
        ("application", False),
    ],
)
def test_content_types_are_read_as_those_of_mails(content_type: str, is_json: bool) -> None:
    app = FastAPI()

    @app.post("/")
    async def root(value: Annotated[Any, Body()]) -> str:
        return type(value).__name__

    headers = [(b"content-type", content_type.encode())]
    answer = ask(app, "/", "POST", body=b'{"a": 1}', headers=headers)
    assert answer.json == ("dict" if is_json else "bytes")


def test_a_body_without_a_content_type_is_json_only_where_that_is_not_strict() -> None:
    for is_strict, kind in ((True, "bytes"), (False, "dict")):
        app = FastAPI(strict_content_type=is_strict)

        @app.post("/")
        async def root(value: Annotated[Any, Body()]) -> str:
            return type(value).__name__

        assert ask(app, "/", "POST", body=b"{}").json == kind


colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


def test_context_variables_across_middlewares_and_threads() -> None:
    app = FastAPI()
    seen: list[tuple[str, str]] = []

    @app.middleware("http")
    async def middleware(request: Request, call_next: Any) -> Response:
        colour.set("middleware")
        response = await call_next(request)
        seen.append(("after", colour.get()))
        return response

    async def dependency() -> Any:
        seen.append(("dependency", colour.get()))
        colour.set("dependency")
        yield
        seen.append(("exit", colour.get()))

    def in_thread() -> None:
        seen.append(("thread", colour.get()))
        colour.set("thread")

    @app.get("/", dependencies=[Depends(dependency), Depends(in_thread)])
    def root() -> str:
        seen.append(("endpoint", colour.get()))
        assert threading.current_thread() is not threading.main_thread()
        return "x"

    assert ask(app).status == 200
    # What a thread sets stays there; what the application sets does not reach the middleware.
    assert seen == [
        ("dependency", "middleware"),
        ("thread", "dependency"),
        ("endpoint", "dependency"),
        ("after", "middleware"),
        ("exit", "dependency"),
    ]


class Odd(str, Enum):  # noqa: UP042
    one = "one"

    def __str__(self) -> str:
        return "odd"


def test_a_streaming_response_and_dependencies() -> None:
    app = FastAPI()
    calls: list[str] = []

    async def dependency() -> Any:
        yield "value"
        calls.append("exit")

    @app.get("/")
    async def root(value: str = Depends(dependency)) -> Any:
        async def chunks() -> Any:
            for number in range(2):
                calls.append(f"chunk {number}")
                yield f"{value}{number}"

        return StreamingResponse(chunks())

    assert ask(app).body == b"value0value1"
    assert calls == ["chunk 0", "chunk 1", "exit"]


def test_a_dataclass_instance_is_a_response_body() -> None:
    app = FastAPI()

    @app.get("/{kind}")
    async def root(kind: str) -> Any:
        return {"enum": {"e": Odd.one}, "key": {Odd.one: 1}, "sa": {"_sa_x": 1, "ok": 2}}[kind]

    @app.get("/plain/{kind}", response_model=None)
    async def plain(kind: str) -> Any:
        return {"enum": {"e": Odd.one}, "key": {Odd.one: 1}, "sa": {"_sa_x": 1, "ok": 2}}[kind]

    assert ask(app, "/plain/enum").body == b'{"e":"one"}'
    assert ask(app, "/plain/sa").body == b'{"ok":2}'
    assert ask(app, "/sa").body == b'{"_sa_x":1,"ok":2}'


def test_an_exit_that_fails_after_a_response_to_a_body_is_told_of_the_response() -> None:
    app = FastAPI()

    async def failing() -> Any:
        yield 1
        raise HTTPException(418)

    @app.post("/")
    async def root(given: dict[str, int], value: int = Depends(failing)) -> dict[str, int]:
        return given

    answer = ask(app, "/", "POST", json_body={"a": 1})
    assert answer.status == 200
    assert str(answer.error) == "Caught handled exception, but response already started."
