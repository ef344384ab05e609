"""What changes after the first request counts from the next one on, as in FastAPI."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import fastapi.routing
import pytest
import starlette.requests
import starlette.responses
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse
from pronghorn.fastapi import changes, hooks
from pronghorn.fastapi.plans import Plan, make_plan, observer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware

from accelerator.ask import ask

pytestmark = pytest.mark.usefixtures("accelerated")


async def value() -> str:
    return "value"


async def instead() -> str:
    return "instead"


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    router = APIRouter(prefix="/r")

    @app.get("/")
    async def root(given: str = Depends(value)) -> str:
        return given

    @router.get("/a")
    async def included(given: str = Depends(value)) -> str:
        return given

    app.include_router(router)
    app.state.router = router
    # Compiled by now.
    for _ in range(2):
        assert ask(app).json == ask(app, "/r/a").json == "value"
    return app


def last_route_first(app: FastAPI) -> None:
    app.router.routes.insert(0, app.router.routes.pop())


def test_a_route_is_added(app: FastAPI) -> None:
    assert ask(app, "/late").status == 404

    @app.get("/late")
    async def late() -> str:
        return "late"

    assert ask(app, "/late").json == "late"


def test_a_route_is_put_before_another(app: FastAPI) -> None:
    @app.get("/")
    async def late() -> str:
        return "late"

    assert ask(app).json == "value"
    last_route_first(app)
    assert ask(app).json == "late"


def test_a_route_is_removed(app: FastAPI) -> None:
    app.router.routes[:] = [each for each in app.router.routes if getattr(each, "path", "") != "/"]
    assert ask(app).status == 404


def test_the_list_of_routes_is_replaced(app: FastAPI) -> None:
    app.router.routes = []
    assert ask(app).status == 404


def test_an_included_router_grows(app: FastAPI) -> None:
    @app.state.router.get("/late")
    async def late() -> str:
        return "late"

    assert ask(app, "/r/late").json == "late"
    assert ask(app, "/r/a").json == "value"


def test_overrides_are_set_changed_and_cleared(app: FastAPI) -> None:
    app.dependency_overrides[value] = instead
    assert ask(app).json == ask(app, "/r/a").json == "instead"

    def in_thread(q: int = 5) -> str:
        return f"thread {q}"

    app.dependency_overrides[value] = in_thread
    assert ask(app, query=b"q=7").json == ask(app, "/r/a", query=b"q=7").json == "thread 7"
    app.dependency_overrides.clear()
    assert ask(app).json == ask(app, "/r/a").json == "value"
    app.dependency_overrides = {value: instead}
    assert ask(app).json == "instead"
    app.dependency_overrides = {}
    assert ask(app).json == "value"


def test_an_override_is_set_by_an_earlier_dependency_of_the_request() -> None:
    app = FastAPI()

    async def setting() -> None:
        app.dependency_overrides[value] = instead

    @app.get("/", dependencies=[Depends(setting)])
    async def root(given: str = Depends(value)) -> str:
        return given

    assert ask(app).json == "instead"


def route_of(app: FastAPI, path: str) -> Any:
    return next(each for each in app.routes if getattr(each, "path", "") == path)


def test_an_endpoint_is_replaced(app: FastAPI) -> None:
    async def other(given: str) -> str:
        return f"other {given}"

    route_of(app, "/").dependant.call = other
    assert ask(app).json == "other value"


def test_a_dependency_is_replaced_in_place(app: FastAPI) -> None:
    route_of(app, "/").dependant.dependencies[0].call = instead
    assert ask(app).json == "instead"


def test_the_application_of_a_route_is_replaced(app: FastAPI) -> None:
    route_of(app, "/").app = PlainTextResponse("other")
    assert ask(app).body == b"other"


def test_the_path_and_the_methods_of_a_route_are_replaced(app: FastAPI) -> None:
    route = route_of(app, "/")
    route.methods = {"PUT"}
    assert ask(app).status == 405
    assert ask(app, "/", "PUT").json == "value"
    route.path_regex = re.compile("^/elsewhere$")
    assert ask(app, "/", "PUT").status == 404
    assert ask(app, "/elsewhere", "PUT").json == "value"


class Marking:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-mark", b"1"))
            await send(message)

        await self.app(scope, receive, sending)


def test_the_middlewares_are_built_again(app: FastAPI) -> None:
    app.user_middleware.insert(0, Middleware(Marking))
    assert ask(app).header("x-mark") is None
    app.middleware_stack = None
    assert ask(app).header("x-mark") == "1"
    app.user_middleware.clear()
    app.middleware_stack = app.build_middleware_stack()
    assert ask(app).header("x-mark") is None


def test_a_layer_is_put_between_others(app: FastAPI) -> None:
    assert app.middleware_stack is not None
    app.middleware_stack = Marking(app.middleware_stack)
    assert ask(app).header("x-mark") == "1"


def test_debug_and_root_path_and_default_are_switched(app: FastAPI) -> None:
    async def default(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("default", 599)(scope, receive, send)

    app.router.default = default
    assert ask(app, "/nowhere").status == 599
    app.root_path = "/proxy"

    @app.get("/root")
    async def root(request: Request) -> str:
        return str(request.scope["root_path"])

    assert ask(app, "/root").json == "/proxy"


def noticed(function: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def wrapper(*arguments: Any, **options: Any) -> Any:
        calls.append(function.__name__)
        return function(*arguments, **options)

    return wrapper


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (fastapi.routing, "solve_dependencies"),
        (fastapi.routing, "run_endpoint_function"),
        (fastapi.routing, "serialize_response"),
        (starlette.responses.Response, "__call__"),
        (starlette.responses.Response, "init_headers"),
        (starlette.routing.Route, "matches"),
        (fastapi.routing.APIRoute, "handle"),
        (fastapi.FastAPI, "__call__"),
        (starlette.applications.Starlette, "__call__"),
    ],
)
def test_a_function_is_patched_and_restored(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    calls: list[str] = []
    with monkeypatch.context() as patches:
        patches.setattr(owner, name, noticed(getattr(owner, name), calls))
        assert ask(app).json == "value"
        assert calls
    calls.clear()
    assert ask(app).json == "value"
    assert not calls


def test_the_reading_of_a_body_is_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    app = FastAPI()

    @app.post("/")
    async def root(given: dict[str, int]) -> dict[str, int]:
        return given

    assert ask(app, "/", "POST", json_body={"a": 1}).json == {"a": 1}

    async def patched(self: Any) -> Any:
        return {"b": 2}

    monkeypatch.setattr(starlette.requests.Request, "json", patched)
    assert ask(app, "/", "POST", json_body={"a": 1}).json == {"b": 2}


def test_an_application_that_cannot_be_built_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Refuses:
        def __init__(self, app: Any) -> None:
            raise LookupError("not now")

    app = FastAPI(middleware=[Middleware(Refuses)])
    with caplog.at_level("DEBUG", "pronghorn.error"):
        for _ in range(3):
            assert str(ask(app).error) == "not now"
    assert len(caplog.records) <= 1


def test_a_patch_of_how_content_types_are_read_is_seen(
    accelerated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = FastAPI()

    @app.post("/")
    async def root(given: dict[str, int]) -> dict[str, int]:
        return given

    assert ask(app, "/", "POST", json_body={"a": 1}).json == {"a": 1}
    monkeypatch.setattr("email.message.Message.get_content_subtype", lambda message: "plain")
    assert ask(app, "/", "POST", json_body={"a": 1}).status == 422
    monkeypatch.undo()
    assert ask(app, "/", "POST", json_body={"a": 1}).json == {"a": 1}


def test_a_patch_of_a_responses_headers_is_seen_by_http_middleware(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = FastAPI()

    @app.middleware("http")
    async def passing(request: Request, call_next: Callable[[Request], Any]) -> Any:
        return await call_next(request)

    made = []
    original = starlette.responses.Response.init_headers

    def init_headers(response: starlette.responses.Response, headers: Any = None) -> None:
        made.append(type(response).__name__)
        original(response, headers)

    ask(app)
    monkeypatch.setattr(starlette.responses.Response, "init_headers", init_headers)
    assert ask(app).status == 404
    assert "_StreamingResponse" in made


def test_an_application_is_switched_off_and_on_while_it_runs(
    app: FastAPI, accelerated: bool
) -> None:
    app.__pronghorn_accelerate__ = False  # type: ignore[attr-defined]
    assert ask(app).json == "value"
    assert hooks.plan_of(app) is None
    app.__pronghorn_accelerate__ = True  # type: ignore[attr-defined]
    assert ask(app).json == "value"
    assert not accelerated or isinstance(hooks.plan_of(app), Plan)


def test_an_endpoint_is_switched_off_and_on_while_it_runs(
    app: FastAPI, accelerated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(observer, "tell", told.append)
    endpoint = route_of(app, "/").endpoint
    for is_on in (True, False, True):
        endpoint.__pronghorn_accelerate__ = is_on
        assert ask(app).json == ask(app, "/r/a").json == "value"
    is_original = [each == "original" for each in told]
    assert is_original == ([False, False, True, False, False, False] if accelerated else [])


class Slotted:
    """An outermost layer that cannot hold a plan."""

    __slots__ = ("app",)

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def in_debug(app: FastAPI) -> None:
    app.debug = True
    app.middleware_stack = app.build_middleware_stack()


def with_slots(app: FastAPI) -> None:
    app.middleware_stack = Slotted(app.build_middleware_stack())


def switched_off(app: FastAPI) -> None:
    app.__pronghorn_accelerate__ = False  # type: ignore[attr-defined]
    app.middleware_stack = app.build_middleware_stack()


@pytest.mark.parametrize("leave", [in_debug, with_slots, switched_off])
def test_an_application_that_is_left_to_fastapi_is_looked_at_once(
    app: FastAPI,
    leave: Callable[[FastAPI], None],
    accelerated: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[Any] = []

    def look(*arguments: Any) -> Any:
        looks.append(arguments)
        return make_plan(*arguments)

    monkeypatch.setattr(hooks, "make_plan", look)
    leave(app)
    for _ in range(3):
        assert ask(app).json == "value"
    assert len(looks) == accelerated
    app.debug = False
    app.__pronghorn_accelerate__ = True  # type: ignore[attr-defined]
    app.middleware_stack = app.build_middleware_stack()
    assert ask(app).json == "value"
    assert len(looks) == 2 * accelerated
    assert not accelerated or isinstance(hooks.plan_of(app), Plan)


def test_the_call_of_a_base_class_beside_fastapi_is_passed_through(accelerated: bool) -> None:
    calls: list[str] = []

    class Counted(Starlette):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            calls.append(scope["path"])
            await super().__call__(scope, receive, send)

    class Application(FastAPI, Counted):
        pass

    app = Application()

    @app.get("/")
    async def root() -> str:
        return "root"

    assert ask(app).json == "root"
    assert calls == ["/"]
    if accelerated:
        assert make_plan(app, hooks.changes) is None


def test_what_a_middleware_patches_when_it_is_made_counts_from_the_first_request_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    class Patching:
        def __init__(self, app: Any) -> None:
            self.app = app
            call = ServerErrorMiddleware.__call__
            monkeypatch.setattr(ServerErrorMiddleware, "__call__", noticed(call, calls))

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    app = FastAPI()
    app.add_middleware(Patching)

    @app.get("/")
    async def root() -> str:
        return "root"

    assert ask(app).json == "root"
    assert len(calls) == 1


def test_nothing_is_compared_while_nothing_changes(
    app: FastAPI, accelerated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[Any] = []
    has_changed = changes._Class.has_changed

    def count(each: Any) -> bool:
        compared.append(each)
        return has_changed(each)

    monkeypatch.setattr(changes._Class, "has_changed", count)
    for change in (True, False):
        if change:
            monkeypatch.setattr(Request, "something_new", None, raising=False)
        for _ in range(3):
            assert ask(app).json == "value"
        assert bool(compared) is (change and accelerated)
        compared.clear()
