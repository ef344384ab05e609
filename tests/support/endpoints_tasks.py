"""Endpoints that use tasks, timeouts, cancel scopes, threads and context variables."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

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

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE")


@route("current-task")
async def current_task(scope: Scope, receive: Receive, send: Send) -> None:
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    before: dict[str, object] = {
        "is_task": isinstance(task, asyncio.Task),
        "of_this_loop": task is not None and task.get_loop() is loop,
        "among_all": task in asyncio.all_tasks(),
        "done": task is None or task.done(),
        "cancelling": task is not None and task.cancelling(),
    }
    await read_body(receive)
    await asyncio.sleep(0)
    before["same_after_await"] = asyncio.current_task() is task
    before["loop"] = type(loop).__module__.split(".")[0]
    await respond_literal(send, before)


@route("all-tasks")
async def all_tasks(scope: Scope, receive: Receive, send: Send) -> None:
    """How many tasks there are beside this one's: asked, kept, ended while looked at, and after."""

    def others() -> int:
        return len(asyncio.all_tasks()) - before

    before = len(asyncio.all_tasks())
    kept = [asyncio.create_task(asyncio.sleep(60)) for _ in range(3)]
    found = [others()]
    for each in asyncio.tasks._all_tasks:
        if each in kept:
            # The entry goes while somebody iterates over the set.
            kept.remove(each)
            each.cancel()
            await asyncio.wait([each])
        del each
    found.append(others())
    kept.append(asyncio.create_task(asyncio.sleep(60)))
    found.append(others())
    kept.pop().cancel()
    await asyncio.sleep(0)
    found.append(others())
    gone = [entry for entry in asyncio.tasks._all_tasks.data if entry() is None]
    await respond_literal(send, [found, len(gone)])


@route("call-soon")
async def call_soon(scope: Scope, receive: Receive, send: Send) -> None:
    """What callbacks of all shapes are called with, and whether the loop keeps a `call_soon` that
    it is given before the first suspension.
    """
    loop = asyncio.get_running_loop()
    called: list[object] = []
    done = loop.create_future()
    context = contextvars.copy_context()
    context.run(VARIABLE.set, "of the callback")
    loop.call_soon(called.append, 1)
    loop.call_soon(lambda *arguments: called.append(arguments), 2, 3, 4)
    loop.call_soon(lambda: called.append(VARIABLE.get("none")), context=context)
    real = loop.call_soon

    def replacement(*arguments: Any, **keywords: Any) -> Any:
        return real(*arguments, **keywords)

    vars(loop)["call_soon"] = replacement
    loop.call_soon(done.set_result, None)
    await done
    is_kept = vars(loop).get("call_soon") is replacement
    if argument(scope) == "remove":
        del vars(loop)["call_soon"]
    await respond_literal(send, [called, is_kept])


@route("timeout")
async def timeout(scope: Scope, receive: Receive, send: Send) -> None:
    """A timeout that fires around a sleep, then one around `receive`, then a nested pair."""
    found = []
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)
    except TimeoutError:
        found.append("sleep")
    await read_body(receive)
    try:
        async with asyncio.timeout(0.01):
            await receive()
    except TimeoutError:
        found.append("receive")
    try:
        async with asyncio.timeout(60), asyncio.timeout(0.01):
            await asyncio.sleep(60)
    except TimeoutError:
        found.append("nested")
    task = asyncio.current_task()
    assert task is not None
    found.append(str(task.cancelling()))
    await respond_literal(send, found)


@route("task-group")
async def task_group(scope: Scope, receive: Receive, send: Send) -> None:
    found: list[object] = []

    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(double(number)) for number in range(5)]
    found.append([task.result() for task in tasks])

    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("in a child")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            sibling = group.create_task(asyncio.sleep(60))
    except* ValueError as error:
        found.append([str(one) for one in error.exceptions])
    found.append(sibling.cancelled())
    await respond_literal(send, found)


@route("anyio-scopes")
async def anyio_scopes(scope: Scope, receive: Receive, send: Send) -> None:
    found: list[Any] = []
    with anyio.move_on_after(0.01) as moved:
        await anyio.sleep(60)
    found.append(moved.cancelled_caught)
    try:
        with anyio.fail_after(0.01):
            await anyio.sleep(60)
    except TimeoutError:
        found.append("failed after")
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 60)
        group.cancel_scope.cancel()
    found.append("group cancelled")
    await read_body(receive)
    with anyio.move_on_after(0.01) as moved:
        await receive()
    found.append(moved.cancelled_caught)
    await respond_literal(send, found)


@route("anyio-listen")
async def anyio_listen(scope: Scope, receive: Receive, send: Send) -> None:
    """Streams in one task while another waits for the client to leave, as Starlette does."""
    record = RECORDS[argument(scope)]

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        record.append("listener saw http.disconnect")
        group.cancel_scope.cancel()

    async def stream() -> None:
        await start(send)
        while True:
            await piece(send, b"tick\n")
            await anyio.sleep(0.005)

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await stream()
    finally:
        record.append("left")


@route("threads")
async def threads(scope: Scope, receive: Receive, send: Send) -> None:
    """Work in a thread that sees the request's context and calls back into the loop."""
    VARIABLE.set("of the request")
    loop_thread = threading.get_ident()

    def work() -> tuple[str, bool, str]:
        inner = anyio.from_thread.run(answer_from_loop)
        return VARIABLE.get(), threading.get_ident() != loop_thread, inner

    async def answer_from_loop() -> str:
        await asyncio.sleep(0)
        return "from the loop"

    await respond_literal(send, await anyio.to_thread.run_sync(work))


@route("thread-sends")
async def thread_sends(scope: Scope, receive: Receive, send: Send) -> None:
    """The response is sent by a worker thread through the loop."""
    run: Any = anyio.from_thread.run

    def work() -> None:
        run(send, {"type": "http.response.start", "status": 200})
        run(send, {"type": "http.response.body", "body": b"from a thread"})

    await anyio.to_thread.run_sync(work)


@route("context")
async def context(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells what the variable was, then sets it to the argument."""
    before = VARIABLE.get("unset")
    VARIABLE.set(argument(scope))
    await asyncio.sleep(0)
    await read_body(receive)

    async def child() -> str:
        seen = VARIABLE.get()
        VARIABLE.set("set by the child")
        return seen

    in_child = await asyncio.create_task(child())
    await respond_literal(send, (before, in_child, VARIABLE.get()))


# How a message may be awaited. Uvicorn's `receive` is a coroutine function, so all of these work.
WAYS: dict[str, Callable[[Callable[[], Coroutine[Any, Any, Message]]], Awaitable[Message]]] = {
    "await": lambda receive: receive(),
    "create_task": lambda receive: asyncio.create_task(receive()),
    "ensure_future": lambda receive: asyncio.ensure_future(receive()),
    "wait_for": lambda receive: asyncio.wait_for(receive(), 5),
    "shield": lambda receive: asyncio.shield(receive()),
    "gather": lambda receive: _gather(receive),
    "timeout": lambda receive: _within_timeout(receive),
    "wait": lambda receive: _wait(receive),
    "anyio_task_group": lambda receive: _in_anyio_task_group(receive),
}


async def _gather(receive: Callable[[], Awaitable[Message]]) -> Message:
    return (await asyncio.gather(receive()))[0]


async def _within_timeout(receive: Callable[[], Awaitable[Message]]) -> Message:
    async with asyncio.timeout(5):
        return await receive()


async def _wait(receive: Callable[[], Coroutine[Any, Any, Message]]) -> Message:
    done, _ = await asyncio.wait([asyncio.create_task(receive())])
    return done.pop().result()


async def _in_anyio_task_group(receive: Callable[[], Awaitable[Message]]) -> Message:
    found: list[Message] = []

    async def keep() -> None:
        found.append(await receive())

    async with anyio.create_task_group() as group:
        group.start_soon(keep)
    return found[0]


@route("receive-by")
async def receive_by(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, awaiting each message in the way that the argument names."""
    way: Any = WAYS[argument(scope)]
    body = b""
    while True:
        message = await way(receive)
        assert message["type"] == "http.request", message
        body += message["body"]
        if not message["more_body"]:
            break
    await respond(send, body)


@route("send-by")
async def send_by(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers, awaiting each `send` in the way that the argument names."""
    way: Any = WAYS[argument(scope)]
    for message in (
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]},
        {"type": "http.response.body", "body": b"abc", "more_body": True},
        {"type": "http.response.body", "body": b"def"},
    ):
        assert await way(lambda message=message: send(message)) is None


@route("receive-patiently")
async def receive_patiently(scope: Scope, receive: Receive, send: Send) -> None:
    """Gives `receive` a short time again and again until the body is whole."""
    body, gave_up = b"", 0
    waiting = gate(argument(scope))
    while True:
        try:
            message = await asyncio.wait_for(receive(), 0.005)
        except TimeoutError:
            gave_up += 1
            waiting.waiting = gave_up
            continue
        body += message["body"]
        if not message["more_body"]:
            break
    await respond_literal(send, (gave_up, body))


@route("receive-twice")
async def receive_twice(scope: Scope, receive: Receive, send: Send) -> None:
    """Two tasks receive at once."""
    RECORDS[argument(scope)].append("receiving")
    first, second = await asyncio.gather(receive(), receive())
    await respond_literal(send, sorted(message["body"] for message in (first, second)))


@route("send-concurrently")
async def send_concurrently(scope: Scope, receive: Receive, send: Send) -> None:
    """Eight tasks send numbered lines, then the response is completed."""
    await start(send)

    async def lines(task: int) -> None:
        for number in range(50):
            await piece(send, b"%d %d\n" % (task, number))

    await asyncio.gather(*(lines(task) for task in range(8)))
    await piece(send, b"", more_body=False)


@route("answer-from-task")
async def answer_from_task(scope: Scope, receive: Receive, send: Send) -> None:
    """Another task reads the request and answers it."""

    async def other() -> None:
        await respond(send, b"from a task: " + (await read_body(receive) or b""))

    await asyncio.create_task(other())


@route("receive-in-background")
async def receive_in_background(scope: Scope, receive: Receive, send: Send) -> None:
    """Waits for the disconnect in a task of its own while the response streams."""
    record = RECORDS[argument(scope)]
    listener = asyncio.create_task(_until_disconnect(receive))
    await start(send)
    while not listener.done():
        await piece(send, b"tick\n")
        await asyncio.sleep(0.005)
    record.append(listener.result())


async def _until_disconnect(receive: Receive) -> str:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return "http.disconnect"


@route("keep-running")
async def keep_running(scope: Scope, receive: Receive, send: Send) -> None:
    """Goes on after its response is complete, as a background task does."""
    await respond(send, b"answered")
    await gate(argument(scope)).wait()
    RECORDS[argument(scope)].append("ran to its end")


@route("cancel-self")
async def cancel_self(scope: Scope, receive: Receive, send: Send) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(60)


@route("cancel-waiter")
async def cancel_waiter(scope: Scope, receive: Receive, send: Send) -> None:
    """Cancels its own `receive` in a child task, then goes on to read."""
    child: asyncio.Task[Any] = asyncio.create_task(receive())  # type: ignore[arg-type]
    await asyncio.sleep(0.005)
    child.cancel()
    cancelled = False
    try:
        await child
    except asyncio.CancelledError:
        cancelled = True
    RECORDS[argument(scope)].append("cancelled")
    await respond_literal(send, (cancelled, await read_body(receive)))
