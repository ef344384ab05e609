"""The words of the generated applications: parameters with values that fit them and that do not.

Each row is one kind of parameter as it is written in a signature (`{n}` is its name) and, for the
requests, how to name it and what to send. `generate` strings them together.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """One parameter of a signature, and what a request may send for it."""

    code: str
    good: tuple[str, ...] = ("1",)
    bad: tuple[str, ...] = ("", "zzz", "%ff", "é")
    # How the request names it, where that is not the parameter's own name.
    wire: str = "{n}"
    # A convertor in the path, such as `:int`.
    convertor: str = ""


ODD = (
    "", " ", "0", "-1", "1.0", "1e3", " 7 ", "+5", "1_000", "٣", "true", "null", "NaN", "inf",
    "a b", "é", "\x00", "9" * 30, "[]", "{}", "a,b", "red", "2024-02-30",
)  # fmt: skip

PATH = (
    Parameter("{n}: int", ("1", "-7", "007"), ("x", "1.5", "", "1e2")),
    Parameter("{n}: str", ("abc", "a b", "é", "a%2Fb")),
    Parameter("{n}", ("abc", "5")),
    Parameter("{n}: float", ("1.5", "2", "1e5"), ("x", "nan")),
    Parameter("{n}: bool", ("true", "0", "on"), ("maybe",)),
    Parameter("{n}: UUID", ("12345678-1234-5678-1234-567812345678",), ("12",)),
    Parameter("{n}: date", ("2024-02-29",), ("2023-02-29",)),
    Parameter("{n}: Colour", ("red",), ("green",)),
    Parameter("{n}: Level", ("1", "2"), ("3",)),
    Parameter('{n}: Literal["a", "b"]', ("a",), ("c",)),
    Parameter("{n}: Annotated[int, Path(ge=1, le=100)]", ("5", "100"), ("0", "101")),
    Parameter('{n}: Annotated[str, Path(pattern="^a", max_length=3)]', ("ab",), ("b", "aaaa")),
    Parameter("{n}: int", ("3", "12"), ("-3", "x"), convertor=":int"),
    Parameter("{n}: str", ("3",), ("-3", "x"), convertor=":int"),
    Parameter("{n}: float", ("3.5",), ("-3.5", "x"), convertor=":float"),
    Parameter("{n}: str", ("a/b", "", "a//b", "a"), ("é/\n",), convertor=":path"),
    Parameter("{n}: UUID", ("12345678-1234-5678-1234-567812345678",), ("x",), convertor=":uuid"),
    Parameter("{n}: Decimal", ("1.10", "7"), ("x",)),
)

QUERY = (
    Parameter("{n}: str", ("a", "", "a b")),
    Parameter("{n}: int", ("1", "-5"), ("x", "", "1.5")),
    Parameter("{n}: str | None = None", ("a",)),
    Parameter("{n}: int = 3", ("4",), ("four",)),
    Parameter("{n}: int | None = None", ("4",), ("four", "")),
    Parameter("{n}: float = 1.5", ("2.25", "1e400"), ("x",)),
    Parameter("{n}: bool = False", ("true", "off", "1"), ("2",)),
    Parameter("{n}: list[int] = Query([])", ("1", "2"), ("x",)),
    Parameter("{n}: Annotated[list[str], Query()] = ['d']", ("a", "b")),
    Parameter("{n}: Annotated[list[str], Query(min_length=2)]", ("a", "b")),
    Parameter("{n}: set[int] = Query(set())", ("1",), ("x",)),
    Parameter("{n}: tuple[int, str] = Query((1, 'x'))", ("5",), ("x",)),
    Parameter(
        '{n}: Annotated[str, Query(alias="q-{n}", min_length=2)] = "dd"', ("aa",), ("a",), "q-{n}"
    ),
    Parameter("{n}: Annotated[int | None, Query(gt=0, lt=10)] = None", ("5",), ("10", "0")),
    Parameter("{n}: Colour = Colour.red", ("blue",), ("green",)),
    Parameter("{n}: datetime | None = None", ("2024-02-29T01:02:03Z",), ("soon",)),
    Parameter("{n}: timedelta = timedelta(0)", ("PT5S", "5"), ("long",)),
    Parameter("{n}: Annotated[Filters, Query()]", ("5",), ("101", "x"), "limit"),
    Parameter("{n}: Annotated[str, Query(deprecated=True)] = 'a'", ("b",)),
    Parameter('{n}: Annotated[Json[list[int]], Query()] = "[1]"', ("[1, 2]",), ("[", '["a"]')),
    Parameter("{n}: Any = None", ("a",)),
    Parameter("{n}: Annotated[int, AfterValidator(lambda v: v + 1)] = 1", ("1",), ("x",)),
    Parameter(
        '{n}: Annotated[str, Query(validation_alias="v-{n}")] = "v"', ("w",), (), "v-{n}"
    ),
    Parameter("{n}: Annotated[str, Query(default_factory=lambda: 'made')]", ("w",)),
    Parameter("{n}: int | str = 0", ("1", "a")),
    Parameter("{n}: Decimal = Decimal('1.0')", ("2.50",), ("x",)),
    Parameter("{n}: bytes = b''", ("é",)),
)  # fmt: skip

HEADER = (
    Parameter("{n}: Annotated[str, Header()]", ("a",), ("",)),
    Parameter("{n}: Annotated[str | None, Header()] = None", ("a", "é")),
    Parameter("{n}: Annotated[int, Header()] = 1", ("2",), ("x",)),
    Parameter("{n}: Annotated[list[str], Header()] = []", ("a", "b")),
    Parameter("{n}: Annotated[list[int] | None, Header()] = None", ("1",), ("x",)),
    Parameter("{n}: Annotated[str | None, Header(convert_underscores=False)] = None", ("u",)),
    Parameter("{n}: Annotated[str, Header(alias='X-Own-{n}')] = 'd'", ("o",), (), "x-own-{n}"),
    Parameter("{n}: Annotated[CommonHeaders, Header()]", ("h",), (), "x-one"),
    Parameter("{n}: Annotated[float, Header(gt=0)] = 1.5", ("2",), ("-1",)),
)

COOKIE = (
    Parameter("{n}: Annotated[str | None, Cookie()] = None", ("c",)),
    Parameter("{n}: Annotated[int, Cookie()] = 1", ("2",), ("x",)),
    Parameter("{n}: Annotated[str, Cookie()]", ("c", '"q\\"q"')),
    Parameter("{n}: Annotated[str, Cookie(alias='c-{n}')] = 'd'", ("o",), (), "c-{n}"),
    Parameter("{n}: Annotated[list[str], Cookie()] = []", ("o",)),
)

ITEM = {"name": "n", "price": 2.5, "tags": ["t"], "owner": {"name": "o"}}


def text(*values: Any) -> tuple[str, ...]:
    return tuple(json.dumps(value) for value in values)


BODY = (
    Parameter("{n}: Item", text(ITEM, {"name": "n", "price": "3"}), text({}, {"name": 1}, [], 5)),
    Parameter("{n}: Item", text(ITEM), ('{"name": "n", "price": 1e999}', '{"name": NaN}', "{")),
    Parameter("{n}: Item | None = None", ("null", *text(ITEM)), text(5)),
    Parameter("{n}: list[Item]", text([], [ITEM, ITEM]), text([{}], {})),
    Parameter("{n}: dict[str, int]", text({}, {"a": 1}), text({"a": "x"}, [])),
    Parameter("{n}: dict[int, float]", text({"1": 1}), text({"a": 1})),
    Parameter("{n}: Annotated[Item, Body(embed=True)]", text({"b0": ITEM}, {"b": ITEM}), text({})),
    Parameter("{n}: Annotated[int, Body()]", ("5", '"5"'), ("5.5", '"x"', "null", "")),
    Parameter("{n}: Annotated[int, Body(gt=3)] = 4", ("5",), ("1", "x")),
    Parameter("{n}: Annotated[str, Body()]", ('"x"', '"\\ud800"'), ("1",)),
    Parameter("{n}: Annotated[Any, Body()] = None", ("[1, {}]", "NaN", "1e5", '"a"')),
    Parameter("{n}: Strict", text({"count": 1}), text({"count": "1"}, {"count": 1, "z": 1})),
    Parameter("{n}: Strict", ('{"count": 1, "when": "2024-02-29T00:00:00Z"}',), ("{}",)),
    Parameter("{n}: Checked", text({"low": 1}), text({"low": 11}, {"low": 1, "word": "x"})),
    Parameter("{n}: Aliased", text({"firstValue": 1, "second-value": "ss"}, {"first": 1}), ("{}",)),
    Parameter("{n}: Wide", text({"when": "2024-01-01T00:00:00", "more": 1, "amount": "1.50"}),
              text({"amount": "x"}, {"colour": "green"}, {"members": [1, 1, "x"]})),
    Parameter("{n}: Pet", text({"kind": "cat"}, {"kind": "dog"}), text({"kind": "cow"})),
    Parameter("{n}: Cat | Dog", text({"kind": "cat"}), text({"kind": "dog", "barks": "no idea"})),
    Parameter("{n}: Point", text({"x": 1}), text({"x": "one"})),
    Parameter("{n}: Checkpoint", text({"x": 1}), text({"x": "one"})),
    Parameter("{n}: Movie", text({"title": "t"}, {}), text({"year": "x"})),
    Parameter("{n}: Numbers", text([1, 2]), text(["x"])),
    Parameter("{n}: Page[Item]", text({"entries": [ITEM]}), text({"entries": [5]})),
    Parameter("{n}: Annotated[bytes, Body()]", ('"x"',), ("1",)),
    Parameter("{n}: dict", text({"a": [1]}), ("[]",)),
    Parameter("{n}: list = []", text([1]), ("{}",)),
    Parameter("{n}: Item = Item(name='d', price=1)", text(ITEM), text({"price": "x"})),
    Parameter("{n}: set[int]", text([1, 1]), text(["x"])),
    Parameter("{n}: tuple[int, str]", text([1, "a"]), text([1])),
    Parameter("{n}: Json[Item]", (json.dumps(json.dumps(ITEM)),), ('"{"', "5")),
    Parameter("{n}: int | Item = 5", ("6", *text(ITEM)), ("x",)),
)  # fmt: skip

TWO_BODIES = (
    "{n}: Item, {n}b: Annotated[int, Body()] = 5",
    "{n}: Item, {n}b: Owner",
    "{n}: Item | None = None, {n}b: Owner | None = None",
    "{n}: Annotated[int, Body()], {n}b: Annotated[list[str], Body()]",
)

FORM = (
    Parameter("{n}: Annotated[str, Form()]", ("a", "a b")),
    Parameter("{n}: Annotated[int, Form()] = 1", ("5",), ("x",)),
    Parameter("{n}: Annotated[list[str], Form()] = []", ("a", "b")),
    Parameter("{n}: Annotated[LoginForm, Form()]", ("u",), (), "username"),
    Parameter("{n}: Annotated[str | None, Form()] = None", ("a",)),
)
FILE = (
    Parameter("{n}: UploadFile", ("content",)),
    Parameter("{n}: Annotated[bytes, File()]", ("content",)),
    Parameter("{n}: list[UploadFile]", ("content",)),
    Parameter("{n}: UploadFile | None = None", ("content",)),
)

SPECIAL = (
    "{n}: Request",
    "{n}: Response",
    "{n}: BackgroundTasks",
    "{n}: HTTPConnection",
    "{n}: SecurityScopes",
)

SECURITY = (
    ('APIKeyHeader(name="x-key")', "x-key: secret"),
    ('APIKeyHeader(name="x-key", auto_error=False)', "x-key: secret"),
    ('APIKeyQuery(name="key")', ""),
    ('APIKeyCookie(name="session", auto_error=False)', "cookie: session=abc"),
    ("HTTPBasic()", "authorization: Basic dTpw"),
    ("HTTPBasic(realm='simple', auto_error=False)", "authorization: Basic dTpw"),
    ("HTTPBearer()", "authorization: Bearer t"),
    ('OAuth2PasswordBearer(tokenUrl="token")', "authorization: Bearer t"),
    ('OAuth2PasswordBearer(tokenUrl="token", auto_error=False)', "authorization: Basic x"),
)

RETURNS = (
    "{'a': 1, 'params': [describe(p) for p in seen]}",
    "{'n': len(seen)}",
    "[describe(p) for p in seen]",
    "'text'",
    "None",
    "Item(name='n', price=1.5, tags=['a'])",
    "{'name': 'n', 'price': 2}",
    "[{'name': 'n', 'price': 2}]",
    "{'low': 1}",
    "seen[0] if seen and isinstance(seen[0], BaseModel) else {'name': 'n', 'price': 1}",
    "{'x': 1}",
    "JSONResponse({'direct': True}, 201, {'x-direct': '1'})",
    "Point(1)",
    "5",
    "{'when': datetime(2024, 1, 2), 'more': {'_sa': 1, 'b': Decimal('1.5')}}",
)

ITEM_CODE = "{'name': 'n', 'price': 2, 'extra': len(seen)}"
FITTING = {
    "Item": ITEM_CODE,
    "list[Item]": f"[{ITEM_CODE}, Item(name='m', price=1)]",
    "Checked": "{'low': len(seen)}",
    "Wide": "Wide(when=datetime(2024, 1, 2), data=b'x', more=seen[:1] and 1)",
    "Aliased": "{'first': 3, 'second-value': 'two'}",
    "dict[str, Any]": "{'seen': [describe(p) for p in seen], 'deep': {'a': [1.5, '\\u2028']}}",
    "Any": "{'seen': [describe(p) for p in seen], 'more': (1, 2)}",
    "Pet": "Dog(kind='dog')",
    "Point": "Point(1)",
    "Page": "Page[Item](entries=[Item(name='n', price=1)])",
    "float": "len(seen) / 3",
    "str": "'text'",
    "None": "None",
    "set[int]": "{1}",
    "Movie": "{'title': 't', 'year': 1999}",
    "Response": "Response('own', 203)",
    "JSONResponse": "JSONResponse({'own': len(seen)}, background=BackgroundTask(note, 'after'))",
}

ANNOTATIONS = (
    "", "", "", "", "", "", "", "", " -> Any", " -> dict[str, Any]", " -> Item", " -> list[Item]",
    " -> Item | None", " -> Response", " -> JSONResponse", " -> str", " -> Checked", " -> Point",
    " -> None", " -> Page[Item]", " -> Movie",
)  # fmt: skip

ROUTE_OPTIONS = (
    "", "", "", "", "", "", "status_code=201", "status_code=202", "status_code=204",
    "status_code=304", "status_code=205", "response_model=Item", "response_model=list[Item]",
    "response_model=Item | None", "response_model=None", "response_model=Checked",
    "response_model=Wide", "response_model=Aliased",
    "response_model=Aliased, response_model_by_alias=False", "response_model=dict[str, Any]",
    "response_model=Item, response_model_exclude_unset=True",
    "response_model=Item, response_model_exclude_none=True",
    "response_model=Item, response_model_exclude_defaults=True",
    "response_model=Item, response_model_include={'name'}",
    "response_model=Item, response_model_exclude={'price'}", "response_model=Pet",
    "response_model=Point", "response_model=Page[Item]", "response_model=float",
    "response_model=str, response_class=PlainTextResponse", "response_class=PlainTextResponse",
    "response_class=HTMLResponse", "response_class=UpperResponse", "response_class=TypedResponse",
    "response_class=InitResponse", "response_class=NoticedResponse", "response_class=JSONResponse",
    "response_class=RedirectResponse", "response_class=Response",
    "response_model=Item, response_class=UpperResponse", "deprecated=True", "tags=['t']",
    "include_in_schema=False", "dependencies=[Depends(gate)]", "name='own name'",
    "response_model=Item, response_class=JSONResponse", "operation_id='op'",
    "response_model=Item, status_code=206", "response_model=set[int]",
    "**given(APIRouter.get, max_body_size=20)",
)  # fmt: skip

APP_OPTIONS = (
    "", "", "", "", "", "", "", "debug=True", "root_path='/proxy'", "redirect_slashes=False",
    "default_response_class=UpperResponse", "default_response_class=NoticedResponse",
    "openapi_url=None", "docs_url=None", "strict_content_type=False",
    "dependencies=[Depends(gate)]", "**given(FastAPI, max_body_size=30)",
    "exception_handlers={418: handled_status}", "middleware=[Middleware(PureMiddleware, name='m')]",
    "telemetry={'tracing': False}", "lifespan=lifespan",
)  # fmt: skip

MIDDLEWARES = (
    "app.add_middleware(PureMiddleware)",
    "app.add_middleware(PureMiddleware, name='outer')",
    "app.add_middleware(BaseMiddleware)",
    "app.add_middleware(BodyBaseMiddleware)",
    "app.add_middleware(CatchingMiddleware)",
    "app.add_middleware(CopyingMiddleware)",
    "app.add_middleware(ReadingMiddleware)",
    "app.add_middleware(CORSMiddleware, allow_origins=['*'])",
    "app.add_middleware(CORSMiddleware, allow_origins=['http://a.example'], "
    "allow_credentials=True, allow_methods=['GET', 'POST'], expose_headers=['x-e'])",
    "app.add_middleware(CORSMiddleware, allow_origin_regex='http://.*', allow_headers=['x-h'])",
    "app.add_middleware(GZipMiddleware, minimum_size=10)",
    "app.add_middleware(GZipMiddleware)",
    "app.add_middleware(TrustedHostMiddleware, allowed_hosts=['*.example', 'test'])",
    """
@app.middleware("http")
async def timing(request: Request, call_next):
    note("timing.in", request.method)
    colour_context.set("timing")
    response = await call_next(request)
    note("timing.out", response.status_code, seen_in(request.scope))
    response.headers["X-Time"] = "1"
    return response
""",
    """
@app.middleware("http")
async def short(request: Request, call_next):
    if "x-short" in request.headers:
        return JSONResponse({"short": True}, 203)
    request.state.short = "seen"
    return await call_next(request)
""",
    """
@app.middleware("http")
async def discarding(request: Request, call_next):
    response = await call_next(request)
    if "x-discard" in request.headers:
        return PlainTextResponse("other")
    return response
""",
    """
@app.middleware("http")
async def bodied(request: Request, call_next):
    note("bodied", await request.body())
    try:
        return await call_next(request)
    finally:
        note("bodied.finally")
""",
    """
@app.middleware("http")
async def retrying(request: Request, call_next):
    response = await call_next(request)
    note("retrying", type(response).__name__)
    response.background = BackgroundTask(note, "middleware background")
    return response
""",
)

# What a request was that is not valid.
SHOWING_HANDLER = """
@app.exception_handler(RequestValidationError)
async def handled_validation(request: Request, error: RequestValidationError):
    note("handler.validation", str(error), error.errors(), error.body)
    return JSONResponse({"invalid": jsonable_encoder(error.errors())}, 400)
"""

HANDLERS = (
    """
@app.exception_handler(HandledError)
async def handled_error(request: Request, error: HandledError):
    note("handler.handled", error, seen_in(request.scope))
    return JSONResponse({"handled": str(error)}, 520)
""",
    """
@app.exception_handler(ValueError)
def handled_value(request: Request, error: ValueError):
    note("handler.value", error)
    return JSONResponse({"value": str(error)}, 521)
""",
    SHOWING_HANDLER,
    """
@app.exception_handler(RequestValidationError)
async def reading_validation(request: Request, error: RequestValidationError):
    note("handler.body", await request.body())
    return PlainTextResponse(str(error), 422)
""",
    """
@app.exception_handler(StarletteHTTPException)
async def handled_http(request: Request, error: StarletteHTTPException):
    note("handler.http", error.status_code, error.detail, error.headers)
    return JSONResponse({"http": error.status_code}, error.status_code, error.headers)
""",
    """
@app.exception_handler(Exception)
async def handled_any(request: Request, error: Exception):
    note("handler.any", error)
    return PlainTextResponse("any", 522)
""",
    """
@app.exception_handler(500)
def handled_500(request: Request, error: Exception):
    note("handler.500", error)
    return PlainTextResponse("own 500", 500)
""",
    """
@app.exception_handler(404)
async def handled_404(request: Request, error: Exception):
    note("handler.404", seen_in(request.scope))
    return PlainTextResponse("own 404", 404)
""",
    """
@app.exception_handler(418)
async def handled_418(request: Request, error: Exception):
    note("handler.teapot", error, seen_in(request.scope))
    return PlainTextResponse("own 418", 418, getattr(error, "headers", None))
""",
    """
@app.exception_handler(409)
def handled_409(request: Request, error: Exception):
    note("handler.409", error)
    return PlainTextResponse("own 409", 409)
""",
    """
@app.exception_handler(PlannedError)
async def failing_handler(request: Request, error: PlannedError):
    note("handler.planned")
    raise HandledError("from a handler") from error
""",
    """
@app.exception_handler(ResponseValidationError)
async def handled_response(request: Request, error: ResponseValidationError):
    note("handler.response", str(error), error.errors())
    return PlainTextResponse("bad response", 523)
""",
)

PATCHES = (
    "fastapi.routing:serialize_response",
    "fastapi.routing:run_endpoint_function",
    "fastapi.routing:solve_dependencies",
    "fastapi.routing:run_in_threadpool",
    "fastapi.routing:_extract_endpoint_context",
    "fastapi.routing:jsonable_encoder",
    "fastapi.routing:_build_response_args",
    "fastapi.routing:wrap_app_handling_exceptions",
    "fastapi.routing:get_route_path",
    "fastapi.dependencies.utils:request_params_to_args",
    "fastapi.dependencies.utils:request_body_to_args",
    "fastapi.dependencies.utils:run_in_threadpool",
    "fastapi.dependencies.utils:_solve_generator",
    "fastapi.dependencies.utils:_get_multidict_value",
    "fastapi.dependencies.utils:get_missing_field_error",
    "fastapi.dependencies.utils:deepcopy",
    "fastapi.concurrency:run_in_threadpool",
    "fastapi.encoders:jsonable_encoder",
    "starlette.concurrency:run_in_threadpool",
    "starlette.routing:get_route_path",
    "starlette._utils:get_route_path",
    "starlette.requests:cookie_parser",
    "starlette._exception_handler:is_async_callable",
    "json:loads",
    "json:dumps",
    "anyio.to_thread:run_sync",
    "email.message:Message.get_content_maintype",
    "starlette.requests:Request.body",
    "starlette.requests:Request.json",
    "starlette.requests:Request.stream",
    "starlette.responses:JSONResponse.render",
    "starlette.responses:Response.render",
    "starlette.responses:Response.init_headers",
    "starlette.responses:Response.__call__",
    "starlette.background:BackgroundTasks.__call__",
    "starlette.background:BackgroundTasks.add_task",
    "starlette.routing:Router.app",
    "starlette.routing:Route.handle",
    "starlette.routing:Route.matches",
    "starlette.routing:Router.not_found",
    "fastapi.routing:APIRoute.matches",
    "fastapi.routing:APIRoute.handle",
    "starlette.middleware.errors:ServerErrorMiddleware.__call__",
    "starlette.middleware.exceptions:ExceptionMiddleware.__call__",
    "fastapi.middleware.asyncexitstack:AsyncExitStackMiddleware.__call__",
    "starlette.middleware.cors:CORSMiddleware.__call__",
    "starlette.middleware.cors:CORSMiddleware.simple_response",
    "starlette.middleware.base:BaseHTTPMiddleware.__call__",
    "starlette.datastructures:QueryParams.__init__",
    "starlette.datastructures:Headers.get",
    "starlette.datastructures:Headers.__init__",
    "fastapi._compat.v2:ModelField.validate",
    "fastapi._compat.v2:ModelField.serialize_json",
    "fastapi:FastAPI.build_middleware_stack",
    "starlette.applications:Starlette.__call__",
)
