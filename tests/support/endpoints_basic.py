"""Endpoints that answer, echo, wait, and tell what an earlier request left behind."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import weakref

from support.asgi import (
    RECORDS,
    Message,
    Receive,
    Scope,
    Send,
    argument,
    gate,
    piece,
    read_body,
    respond,
    respond_literal,
    route,
    start,
)


@route("")
async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, b"hello")


@route("smuggled")
async def smuggled(scope: Scope, receive: Receive, send: Send) -> None:
    """A request that must not have been understood as one."""
    RECORDS["smuggled"].append(scope["path"])
    await respond(send, b"smuggled")


@route("scope")
async def scope_as_literal(scope: Scope, receive: Receive, send: Send) -> None:
    await respond_literal(send, {key: scope[key] for key in scope})


def type_names(name: str, value: object) -> dict[str, str]:
    """The exact type of a value and of what is in it."""
    found = {name: type(value).__name__}
    if name == "state":
        return found
    if isinstance(value, dict):
        parts: list[tuple[object, object]] = list(value.items())
    elif isinstance(value, tuple | list):
        parts = list(enumerate(value[:2] if isinstance(value, tuple) else value[:1]))
    else:
        parts = []
    for key, part in parts:
        found |= type_names(str(key) if name == "scope" else f"{name}.{key}", part)
    return found


@route("scope-types")
async def scope_types(scope: Scope, receive: Receive, send: Send) -> None:
    await respond_literal(send, type_names("scope", scope))


@route("rewrite-scope")
async def rewrite_scope(scope: Scope, receive: Receive, send: Send) -> None:
    """Changes what the access log tells, as a middleware in the application may."""
    scope.update(path="/rewritten \u00e9", query_string=b"by=app", client=("9.8.7.6", 5))
    await respond(send, b"rewritten")


@route("spoil-scope")
async def spoil_scope(scope: Scope, receive: Receive, send: Send) -> None:
    """Changes and empties all in the scope that can be, before or after it answers."""
    if argument(scope) == "after":
        await respond(send, b"spoilt")
        spoil(scope)
    else:
        spoil(scope)
        await respond(send, b"spoilt")


def spoil(scope: Scope) -> None:
    for value in list(scope.values()):
        if isinstance(value, dict):
            value.clear()
            value["spoilt"] = True
        elif isinstance(value, list):
            value[:] = [(b"spoilt", b"true")]
    scope.clear()
    scope["spoilt"] = True


@route("change-state")
async def change_state(scope: Scope, receive: Receive, send: Send) -> None:
    """Adds to the state, and to the list in it, and answers with what is there now."""
    state = scope["state"]
    state.pop("text")
    state[argument(scope)] = "added"
    state["shared"].append(argument(scope))
    await respond_literal(send, state)


@route("change-lifespan-state")
async def change_lifespan_state(scope: Scope, receive: Receive, send: Send) -> None:
    """Adds to the state that the lifespan was given."""
    [state] = RECORDS["lifespan states"]
    state[argument(scope)] = "added"
    await respond(send, b"changed")


@route("keep-dictionary")
async def keep_dictionary(scope: Scope, receive: Receive, send: Send) -> None:
    """Keeps one dictionary of its scope, and answers how many it has that were kept before."""
    extensions = scope["extensions"]
    dictionaries = [scope["asgi"], scope["state"], extensions, *extensions.values()]
    kept = RECORDS["dictionaries"]
    found = sum(any(dictionary is other for other in kept) for dictionary in dictionaries)
    kept.append(dictionaries[int(argument(scope))])
    await respond_literal(send, found)


@route("keep-functions")
async def keep_functions(scope: Scope, receive: Receive, send: Send) -> None:
    """Keeps or watches its functions, and answers whether it has any that are kept, and whether any
    that were watched are alive."""
    functions = (receive, send)
    kept, watched = RECORDS["kept functions"], RECORDS["watched functions"]
    has_kept = any(function is other for function in functions for other in kept)
    are_alive = any(reference() for reference in watched)
    if argument(scope) == "kept":
        kept += functions
    else:
        watched += [weakref.ref(function) for function in functions]
    await respond_literal(send, (has_kept, are_alive))


@route("record-scope")
async def record_scope(scope: Scope, receive: Receive, send: Send) -> None:
    """Records the scope under the key."""
    RECORDS[argument(scope)].append(dict(scope))
    await respond(send, b"recorded")


@route("echo")
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """The body, whole; nothing if it never came whole."""
    body = await read_body(receive)
    if body is not None:
        await respond(send, body)


@route("echo-stream")
async def echo_stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Each piece of the body as soon as it is there."""
    await start(send)
    more_body = True
    while more_body:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more_body = message["more_body"]
        await piece(send, message["body"], more_body)


@route("digest")
async def digest(scope: Scope, receive: Receive, send: Send) -> None:
    """The body's length and hash, read piece by piece."""
    found, length = hashlib.sha256(), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        found.update(message["body"])
        length += len(message["body"])
        if not message["more_body"]:
            break
    await respond_literal(send, (length, found.hexdigest()))


@route("spoil-extensions")
async def spoil_extensions(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the extensions as they came, after spoiling them."""
    found = copy.deepcopy(scope["extensions"])
    for value in scope["extensions"].values():
        value["spoiled"] = True
    scope["extensions"].clear()
    await respond_literal(send, found)


@route("shift-extensions")
async def shift_extensions(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the extensions as they came, after giving each the value of another."""
    found = copy.deepcopy(scope["extensions"])
    last, *others = reversed(scope["extensions"].values())
    scope["extensions"].update(zip(found, [last, *reversed(others)], strict=True))
    await respond_literal(send, found)


@route("messages")
async def messages(scope: Scope, receive: Receive, send: Send) -> None:
    """Records every message until the last one under `/messages/<key>`, then answers with them."""
    record = RECORDS[argument(scope)]
    while True:
        message = dict(await receive())
        record.append(message)
        if message["type"] == "http.disconnect" or not message["more_body"]:
            break
    await respond_literal(send, record)


@route("ignore-body")
async def ignore_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without a look at the body."""
    await respond(send, b"early", status=413)


@route("delay")
async def delay(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with its second argument after so many milliseconds."""
    await asyncio.sleep(int(argument(scope)) / 1000)
    await respond(send, argument(scope, 1).encode())


@route("wait")
async def wait(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers once the gate is open."""
    await gate(argument(scope)).wait()
    await respond(send, b"opened")


@route("wait-then-echo")
async def wait_then_echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body only once the gate is open."""
    await gate(argument(scope)).wait()
    await digest(scope, receive, send)


@route("open")
async def open_gate(scope: Scope, receive: Receive, send: Send) -> None:
    gate(argument(scope)).opened.set()
    await respond(send, b"open")


@route("waiting")
async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
    """How many requests wait at the gate."""
    await respond_literal(send, gate(argument(scope)).waiting)


@route("records")
async def records(scope: Scope, receive: Receive, send: Send) -> None:
    """What was recorded under the key."""
    await respond_literal(send, list(RECORDS[argument(scope)]))


@route("forget")
async def forget(scope: Scope, receive: Receive, send: Send) -> None:
    """Drops what was recorded under the key."""
    RECORDS.pop(argument(scope), None)
    await respond(send, b"forgotten")


@route("large")
async def large(scope: Scope, receive: Receive, send: Send) -> None:
    """So many bytes in pieces of so many, with their length."""
    total, size = int(argument(scope)), int(argument(scope, 1))
    await start(send, headers=[(b"content-length", str(total).encode())])
    block = bytes(range(256)) * (size // 256 + 1)
    for sent in range(0, total, size):
        count = min(size, total - sent)
        await piece(send, block[:count], more_body=sent + count < total)


@route("headers-after-body")
async def headers_after_body(scope: Scope, receive: Receive, send: Send) -> None:
    """The scope's headers once the body, trailers and all, was read."""
    if await read_body(receive) is not None:
        await respond_literal(send, scope["headers"])


@route("message-types")
async def message_types(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    values = (message, message["type"], message["body"], message["more_body"])
    await respond(send, " ".join(type(value).__name__ for value in values).encode())


@route("spoil-message")
async def spoil_message(scope: Scope, receive: Receive, send: Send) -> None:
    """Changes the message it received, and what it sent after it sent it."""
    message = await receive()
    body = message["body"]
    message.update(body=b"spoilt", more_body=True, type="spoilt")
    headers = [(b"content-length", str(len(body)).encode())]
    head: Message = {"type": "http.response.start", "status": 200, "headers": headers}
    await send(head)
    headers[:] = [(b"spoilt", b"true")]
    head["status"] = 500
    await send({"type": "http.response.body", "body": body})


@route("receive-across-end")
async def receive_across_end(scope: Scope, receive: Receive, send: Send) -> None:
    """Is in `receive` while another task completes the response."""
    await receive()

    async def answer() -> None:
        await asyncio.sleep(0)
        await respond(send, b"ok")

    task = asyncio.create_task(answer())
    RECORDS[argument(scope)].append(dict(await receive()))
    await task
