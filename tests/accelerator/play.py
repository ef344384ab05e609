"""Runs a case and writes down everything that a client, a server or user code could observe.

In: a `Case`. Out: one list of lines for each action. Where FastAPI itself is not deterministic
(addresses, tracebacks on the debug page) the lines leave that out; all else is kept, so that two
transcripts are equal exactly when nobody could tell the two runs apart. `worker` calls this.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import linecache
import logging
import random
import re
import sys
import traceback
import types
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import trio
from fastapi.routing import APIRoute

from accelerator.generate import Case
from accelerator.prologue import PROLOGUE
from accelerator.send import raw_path_of
from accelerator.world import colour_context, describe, seen_in, world

# A request that takes longer hangs: nothing in a case waits for a clock.
REQUEST_S_MAX = 4.0
RECURSION_MIN = 100
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
# asyncio's word for a cancellation, with anyio's tasks and lines in it.
CANCELLED = re.compile(
    r"Cancelled (via|by) cancel scope [0-9a-f]+"
    r"(?: by <Task .*?/anyio/_backends/_asyncio.py:\d+>?\]>)?"
)
# What a scope holds of the run itself.
SCOPE_KEYS_OPAQUE = (
    "app", "router", "route", "endpoint", "fastapi_async_cleanup_scopes", "state", "fastapi",
)  # fmt: skip

_patched: list[tuple[Any, str, Any]] = []


def play(case: Case) -> list[list[str]]:
    """Build the application and do what the case says; the transcript of each action."""
    transcripts: list[list[str]] = []
    # A real module: pydantic and dataclasses look theirs up.
    module = types.ModuleType("generated")
    namespace = vars(module)
    namespace["api_routes"] = api_routes
    sys.modules["generated"] = module
    logs = LogLines()
    # FastAPI remembers by address where endpoints stand; addresses are used again.
    importlib.import_module("fastapi.routing")._endpoint_context_cache.clear()
    # Trio throws dice for which of two tasks goes first: here they always fall alike.
    trio._core._run._r = LoadedDice(case.seed % 2)  # type: ignore[misc]
    with warnings.catch_warnings(record=True) as caught, logs:
        warnings.simplefilter("always")
        transcripts.append(build(case, namespace))
        try:
            anyio.run(
                play_actions, case, namespace, transcripts, caught, logs, backend=case.backend
            )
        finally:
            unpatch()
    return transcripts


async def play_actions(
    case: Case, namespace: dict[str, Any], transcripts: list[list[str]], caught: Any, logs: LogLines
) -> None:
    for number, action in enumerate(case.actions):
        del caught[:]
        logs.lines.clear()
        match action["do"]:
            case "change":
                lines = change(action["code"], namespace, f"<change {number} of {case.seed}>")
            case "lifespan":
                lines = await lifespan(namespace["app"])
            case _:
                lines = await Exchange(action).run(namespace["app"])
        lines += [
            f"warning: {w.category.__name__}: {clean(str(w.message))}"
            for w in caught
            # The collector's warnings come when it runs.
            if "never awaited" not in str(w.message) and w.category is not ResourceWarning
        ]
        lines += [f"log: {clean(line)}" for line in logs.lines]
        transcripts.append(lines)


def build(case: Case, namespace: dict[str, Any]) -> list[str]:
    """Run the parts one by one: one that FastAPI refuses does not spoil the others."""
    world.start({}, None)
    refused: list[str] = []
    for number, part in enumerate([PROLOGUE, *case.parts]):
        try:
            execute(part, namespace, f"<part {number} of case {case.seed}>")
        except Exception as error:
            refused += [f"part {number} is refused", *describe_error(error)]
    return refused


def execute(source: str, namespace: dict[str, Any], filename: str) -> None:
    # So that the endpoints' source can be found, as in a file.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec", dont_inherit=True), namespace)


def change(code: str, namespace: dict[str, Any], filename: str) -> list[str]:
    try:
        execute(code, namespace, filename)
    except Exception as error:
        return ["change failed", *describe_error(error)]
    return ["changed"]


class LoadedDice(random.Random):
    """Tasks go in the order in which they became ready, or always in the opposite one."""

    def __init__(self, draw: int) -> None:
        super().__init__()
        self.draw = draw

    def random(self) -> float:
        return 0.25 + self.draw / 2


class Exchange:
    """One request or WebSocket session: the server's side, with what it sent and received."""

    def __init__(self, action: dict[str, Any]) -> None:
        self.action = action
        self.plan = action.get("plan", {})
        self.incoming = self.messages()
        self.sent = 0
        self.complete = anyio.Event()
        self.scope = self.make_scope()

    async def run(self, app: Any) -> list[str]:
        outcome: list[str] = []
        with anyio.CancelScope() as cancel:
            world.start(self.plan, cancel.cancel)
        hung = True
        with anyio.move_on_after(REQUEST_S_MAX):
            async with anyio.create_task_group() as group:
                group.start_soon(self.call, app, outcome)
            hung = False
        events = without_depth([clean(describe(event, 8)) for event in world.events])
        if hung:
            outcome.append("HANGS")
        return [*events, *outcome, *self.scope_lines()]

    async def call(self, app: Any, outcome: list[str]) -> None:
        colour_context.set("outside")
        with anyio.CancelScope() as scope:
            world.cancel = scope.cancel
            try:
                await app(self.scope, self.receive, self.send)
            except BaseException as error:
                if isinstance(error, anyio.get_cancelled_exc_class()):
                    outcome.append("cancelled")
                    raise
                outcome += describe_error(error)
            else:
                outcome.append("returned")

    async def receive(self) -> Any:
        if not self.incoming:
            if not self.plan.get("disconnect_early"):
                await self.complete.wait()
            world.events.append(("receive", "disconnect"))
            return {"type": "http.disconnect"}
        return self.take()

    def take(self) -> Any:
        message = self.incoming.pop(0)
        world.events.append(("receive", message))
        return message

    async def send(self, message: Any) -> None:
        self.sent += 1
        world.events.append(("send", describe_message(message)))
        if self.plan.get("send_fails") == self.sent:
            raise OSError("client is gone")
        last = message["type"] == "http.response.body" and not message.get("more_body")
        if last or message["type"] == "websocket.close":
            self.complete.set()

    def messages(self) -> list[Any]:
        if self.action["do"] == "websocket":
            return list(self.action["received"])
        chunks = self.action["chunks"]
        messages: list[Any] = []
        for index, chunk in enumerate(chunks):
            if chunk == "disconnect":
                messages.append({"type": "http.disconnect"})
            elif chunk == "bare":
                messages.append({"type": "http.request"})
            else:
                more = index + 1 < len(chunks)
                messages.append({"type": "http.request", "body": chunk, "more_body": more})
        return messages

    def make_scope(self) -> dict[str, Any]:
        action = self.action
        websocket = action["do"] == "websocket"
        scope: dict[str, Any] = {
            "type": "websocket" if websocket else "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws" if websocket else "http",
            "path": action["path"],
            "raw_path": raw_path_of(action["path"]),
            "query_string": action["query"],
            "root_path": action.get("root_path", ""),
            "headers": list(action["headers"]),
            "client": ("127.0.0.1", 1234),
            "server": ("test", 80),
            "extensions": {},
        }
        if websocket:
            scope["subprotocols"] = []
        else:
            scope["method"] = action["method"]
        if "state" in action:
            scope["state"] = dict(action["state"])
        if action.get("raw_path", b"") is None:
            del scope["raw_path"]
        return scope

    def scope_lines(self) -> list[str]:
        keys = sorted(self.scope)
        values = {key: self.scope[key] for key in keys if key not in SCOPE_KEYS_OPAQUE}
        state = self.scope.get("state")
        return [
            f"scope keys: {keys}",
            f"scope: {clean(describe(values, 5))}",
            f"scope sees: {clean(seen_in(self.scope))}",
            f"state: {clean(describe(state))}",
        ]


def without_depth(lines: list[str]) -> list[str]:
    """Without how often something called itself until the stack was full, which differs."""
    runs = ((line, len(list(same))) for line, same in itertools.groupby(lines))
    return [
        each
        for line, count in runs
        for each in ([line] * count if count < RECURSION_MIN else [f"{line}, again and again"])
    ]


async def lifespan(app: Any) -> list[str]:
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []
    world.start({}, None)

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(describe(message))

    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    try:
        await app(scope, receive, send)
    except Exception as error:
        sent += describe_error(error)
    return [*sent, f"state: {describe(scope['state'])}", *map(describe, world.events)]


def describe_message(message: Any) -> Any:
    """A message as it was sent, but for the page that shows a traceback."""
    body = message.get("body")
    if isinstance(body, bytes) and b"Traceback" in body:
        return {**message, "body": b"a traceback"}
    headers = message.get("headers")
    if message.get("status") == 500 and headers is not None:
        hidden = [(key, b"?" if key == b"content-length" else value) for key, value in headers]
        return {**message, "headers": hidden}
    return message


def describe_error(error: BaseException | None, depth: int = 6) -> list[str]:
    """An exception with its chain: types, texts, notes and what user code can read from it."""
    lines: list[str] = []
    label = "raised"
    seen: set[int] = set()
    queue: list[tuple[str, BaseException | None]] = [(label, error)]
    while queue and len(lines) < depth * 4:
        label, current = queue.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        details = {
            key: value for key, value in sorted(vars(current).items()) if not key.startswith("_")
        }
        name = f"{type(current).__module__}.{type(current).__qualname__}"
        lines.append(f"{label}: {name}: {text_of(current)} {clean(describe(details))}")
        # What streams between tasks raise for themselves is nobody's business.
        context = current.__context__ if not is_internal(current.__context__) else None
        if context is not None:
            lines.append(f"  suppressed: {current.__suppress_context__}")
        queue += [(f"{label}.cause", current.__cause__), (f"{label}.context", context)]
        if isinstance(current, BaseExceptionGroup):
            queue += [(f"{label}[{i}]", one) for i, one in enumerate(current.exceptions)]
    return lines


def is_internal(error: BaseException | None) -> bool:
    return isinstance(error, anyio.EndOfStream | anyio.WouldBlock | anyio.get_cancelled_exc_class())


def text_of(error: BaseException) -> str:
    """What an exception says, but for where in a page that shows a traceback a character is."""
    if isinstance(error, UnicodeEncodeError) and "Traceback" in error.object:
        character = clean(error.object[error.start : error.end])
        return f"{error.encoding} can't encode {character} in a traceback: {error.reason}"
    try:
        return clean(str(error))
    except Exception as failure:
        return f"its text fails with {type(failure).__name__}"


def clean(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    if "cancel scope" in text:
        text = CANCELLED.sub("cancelled", text)
    return ADDRESS.sub("0x", text)


class LogLines(logging.Handler):
    """The log records of a run, without their tracebacks."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def __enter__(self) -> LogLines:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.name} {record.levelname} {record.getMessage()}"
        if record.exc_info and record.exc_info[1] is not None:
            text += " " + "".join(traceback.format_exception_only(record.exc_info[1])).strip()
        self.lines.append(text)


# What generated code uses


def api_routes(app: Any) -> list[Any]:
    """The routes of an application that are FastAPI's own, included ones as they were made."""
    found: list[Any] = []
    pending = list(app.router.routes)
    while pending:
        route = pending.pop(0)
        if isinstance(route, APIRoute):
            found.append(route)
        elif hasattr(route, "original_router"):
            pending += route.original_router.routes
    return found


def patch(target: str) -> None:
    """Replace a function of a library by one that notes its calls and passes them on."""
    module_name, _, path = target.partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    before = inspect.getattr_static(owner, name)
    _patched.append((owner, name, before))
    setattr(owner, name, noticed(before, target))


def noticed(before: Callable[..., Any], target: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(before):

        @functools.wraps(before)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            world.events.append(("patched", target))
            return await before(*args, **kwargs)

    else:

        @functools.wraps(before)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            world.events.append(("patched", target))
            return before(*args, **kwargs)

    return wrapper


def unpatch() -> None:
    while _patched:
        owner, name, before = _patched.pop()
        setattr(owner, name, before)


__all__ = ["api_routes", "patch", "play", "unpatch"]
