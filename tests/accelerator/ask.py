"""One request to an application in this process, as a server would make it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import anyio


@dataclass
class Answer:
    """What came back: messages as sent, and what the application raised."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    error: BaseException | None = None
    scope: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.messages[1:])

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        key = name.lower().encode()
        return next((value.decode() for each, value in self.headers if each == key), None)


def make_scope(method: str, path: str, query: bytes, headers: Iterable[Any]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"test"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }


async def asked(
    app: Any,
    path: str = "/",
    method: str = "GET",
    query: bytes = b"",
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: bytes | None = None,
    json_body: Any = None,
    on_send: Any = None,
) -> Answer:
    """The answer of `app`; `on_send` is called before each message is taken."""
    given = list(headers)
    if json_body is not None:
        body = json.dumps(json_body).encode()
        given.append((b"content-type", b"application/json"))
    answer = Answer(scope=make_scope(method, path, query, given))
    incoming = [{"type": "http.request", "body": body or b"", "more_body": False}]
    done = anyio.Event()

    async def receive() -> Any:
        if incoming:
            return incoming.pop()
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if on_send is not None:
            await on_send(message)
        answer.messages.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            done.set()

    try:
        await app(answer.scope, receive, send)
    except Exception as error:
        answer.error = error
    return answer


def ask(app: Any, path: str = "/", method: str = "GET", **options: Any) -> Answer:
    async def main() -> Answer:
        return await asked(app, path, method, **options)

    return anyio.run(main)
