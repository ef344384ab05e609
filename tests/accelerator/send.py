"""Makes the requests and WebSocket sessions of a case: scopes, bodies and what goes wrong.

Most requests fit their route; the others are off in a way that clients or servers can be.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from accelerator import vocabulary as words
from accelerator.results import PLAIN_RESULTS, RESULTS
from accelerator.signatures import has_default
from accelerator.world import ERRORS

if TYPE_CHECKING:
    from accelerator.generate import RouteFacts

METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get")
CONTENT_TYPES = (
    "application/json", "application/json; charset=utf-8", "application/vnd.x+json",
    "APPLICATION/JSON", "text/plain", "", "application/jsonx", "application/xml", "json",
    "application/json;", "multipart/form-data", "application/json, text/plain", "application/+json",
    " application/json", "application/problem+JSON",
)  # fmt: skip
ODD_HEADERS = (
    (b"x-gate", b"closed"), (b"x-gate", b"open"), (b"x-short", b"1"), (b"x-discard", b"1"),
    (b"origin", b"http://a.example"), (b"origin", b"null"), (b"origin", b"http://evil.example"),
    (b"accept-encoding", b"gzip"), (b"x-instead", b"caf\xe9"), (b"content-length", b"3"),
    (b"cookie", b"a=1; b=2; session=abc"), (b"cookie", b"=; ; x"), (b"x-many", b"1"),
    (b"access-control-request-method", b"GET"), (b"access-control-request-headers", b"x-h, X-Z"),
    (b"authorization", b"Basic !!"), (b"authorization", b"bearer"), (b"x-one", b"h"),
    (b"host", b"evil.test"), (b"expect", b"100-continue"), (b"traceparent", b"00-1-1-1"),
)  # fmt: skip
ODD_QUERIES = (
    b"", b"&", b"=", b"&&=&", b"%", b"%zz", b"%ff%fe", b"a=%00", b"a=1;b=2", b"\xe9=\xe9", b"a",
    b"a=1&a=2&a=3", b"a+b=c+d", b"%61=1", b"q=%F0%9F%98%80",
)  # fmt: skip


def request_for(chance: random.Random, facts: RouteFacts) -> dict[str, Any]:
    # Most requests are right in all of their parameters.
    odd = 0.35 if chance.random() < 0.3 else 0.01
    path = path_for(chance, facts, odd)
    headers: list[tuple[bytes, bytes]] = [(b"host", b"test")]
    query = []
    cookies = []
    for place, name, parameter in facts.parameters:
        # An optional one is left out now and then, a needed one seldom.
        if place in ("path", "body", "bodies", "form") or (
            chance.random() < (odd if not has_default(parameter.code) else 0.3)
        ):
            continue
        wire = parameter.wire.format(n=name)
        for _ in range(chance.choice((1, 1, 1, 2))):
            value = value_of(chance, parameter, odd)
            if place == "query":
                query.append(f"{quote_plus(wire)}={quote_plus(value)}")
            elif place == "header":
                key = wire if chance.random() < 0.1 else wire.replace("_", "-")
                headers.append((key.lower().encode(), header_value(value)))
            else:
                cookies.append(f"{wire}={value}")
    for line in facts.headers:
        if line and chance.random() < 0.7:
            key, _, content = line.partition(": ")
            headers.append((key.encode(), content.encode()))
    if cookies:
        headers.append((b"cookie", header_value("; ".join(cookies))))
    query_string = "&".join(query).encode("ascii", "replace")
    if chance.random() < 0.1:
        query_string += b"&" + chance.choice(ODD_QUERIES)
    for _ in range(chance.choice((0, 0, 0, 1, 1, 2))):
        headers.insert(chance.randint(0, len(headers)), chance.choice(ODD_HEADERS))
    # A body that is right beside parameters that are not: an error shows it.
    body, content_type = body_for(chance, facts, odd if chance.random() < 0.5 else 0.01)
    if content_type:
        headers.append((b"content-type", content_type.encode()))
    action = {
        "do": "request",
        "method": chance.choice(METHODS) if chance.random() < 0.06 else facts.method,
        "path": path,
        "query": query_string,
        "headers": headers,
        "chunks": chunks_of(chance, body),
        "plan": plan_for(chance, facts),
    }
    if chance.random() < 0.06:
        action["root_path"] = chance.choice(("/proxy", "/", "/a", "proxy", "/a/"))
    if chance.random() < 0.04:
        action["state"] = {"shared": 1}
    if chance.random() < 0.05:
        action["raw_path"] = None
    return action


def value_of(chance: random.Random, parameter: words.Parameter, odd: float) -> str:
    if chance.random() >= odd or not parameter.bad:
        return chance.choice(parameter.good)
    return chance.choice(parameter.bad if chance.random() < 0.7 else words.ODD)


def header_value(value: str) -> bytes:
    return value.encode("latin-1", "replace").replace(b"\n", b" ").replace(b"\x00", b"0")


def path_for(chance: random.Random, facts: RouteFacts, odd: float) -> str:
    path = re.sub(r"\{[tu]\w*\}", "tee", facts.path)
    for place, name, parameter in facts.parameters:
        if place == "path":
            slot = f"{{{name}{parameter.convertor}}}"
            path = path.replace(slot, value_of(chance, parameter, odd))
    draw = chance.random()
    if draw < (0.02 if "{" in facts.path else 0.06):  # A `$` matches before it.
        return path + "\n"
    if draw < 0.1:
        return chance.choice(
            (path + "/", path.rstrip("/"), path + "/x", path.upper(), path + "//",
             "/nowhere", "", "/", path[1:], path + "\x00", path.replace("/", "//", 1), path + ".",
             "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc", "/m", "/m/",
             "/proxy" + path)
        )  # fmt: skip
    return path


def body_for(chance: random.Random, facts: RouteFacts, odd: float) -> tuple[bytes, str]:
    place = next((row for row in facts.parameters if row[0] in ("body", "bodies", "form")), None)
    if place is None:
        return (b"{}", "application/json") if chance.random() < 0.08 else (b"", "")
    kind, _, parameter = place
    if kind == "form":
        return form_for(chance, facts, odd)
    if kind == "bodies":
        text = chance.choice(
            ('{"b0": {"name": "n", "price": 1}, "b0b": 3}', '{"b0": 1, "b0b": ["x"]}', "{}", "[]",
             '{"b0": {"name": "n", "price": 1}, "b0b": {"name": "o"}}', '{"b0b": {}}', "null")
        )  # fmt: skip
    else:
        if has_default(parameter.code) and chance.random() < 0.4:
            return b"", ""
        text = value_of(chance, parameter, odd)
    if chance.random() < odd / 2:
        text = mutated(chance, text)
    content_type = "application/json"
    if chance.random() < 0.02 + odd / 3:
        content_type = chance.choice(CONTENT_TYPES)
    encoding = chance.choice(("utf-8",) * 40 + ("utf-16", "latin-1", "utf-8-sig", "utf-32-le"))
    return text.encode(encoding, "surrogatepass" if "utf" in encoding else "replace"), content_type


def mutated(chance: random.Random, text: str) -> str:
    """A document that is almost the same, often no longer JSON."""
    if not text:
        return "{"
    index = chance.randrange(len(text))
    return chance.choice(
        (
            text[:index],
            text[:index] + text[index + 1 :],
            text[:index] + chance.choice('"{}[],:0 \n\\\x00aé\ud800') + text[index:],
            text + text,
            f" {text}\n",
            text.replace('"', "'"),
            text.replace(":", ": \t"),
            f"[{text}]",
        )
    )


def form_for(chance: random.Random, facts: RouteFacts, odd: float) -> tuple[bytes, str]:
    fields = []
    for place, name, parameter in facts.parameters:
        if place == "form" and chance.random() < 0.85:
            fields.append(
                (parameter.wire.format(n=name), value_of(chance, parameter, odd), parameter)
            )
    if facts.body == "form" and chance.random() < 0.7:
        text = "&".join(f"{key}={quote_plus(value)}" for key, value, _ in fields)
        return text.encode(), "application/x-www-form-urlencoded"
    body = b""
    for key, value, parameter in fields:
        is_file = "File" in parameter.code
        disposition = f'form-data; name="{key}"' + ('; filename="f.txt"' if is_file else "")
        body += f"--bound\r\nContent-Disposition: {disposition}\r\n\r\n{value}\r\n".encode()
    body += b"--bound--\r\n" if chance.random() < 0.9 else b"--bou"
    return body, "multipart/form-data; boundary=bound"


def chunks_of(chance: random.Random, body: bytes) -> list[Any]:
    """The messages of a body: bytes for a part of it, a word for what else can come."""
    draw = chance.random()
    if draw < 0.75:
        return [body]
    if draw < 0.83 and len(body) > 1:
        middle = len(body) // 2
        return [body[:middle], body[middle:]]
    if draw < 0.87:
        return [b"", body, b""]
    if draw < 0.9:
        return ["bare"]
    if draw < 0.94:
        return [body[: len(body) // 2], "disconnect"]
    if draw < 0.95:
        return ["disconnect"]
    return [body]


def plan_for(chance: random.Random, facts: RouteFacts) -> dict[str, Any]:
    plan: dict[str, Any] = {}
    draw = chance.random()
    if draw < 0.2:
        plan["result"] = chance.choice(PLAIN_RESULTS if chance.random() < 0.5 else tuple(RESULTS))
    elif draw < 0.38 and facts.names:
        kinds = tuple(ERRORS)
        plan["raise"] = {chance.choice(facts.names): chance.choice(kinds)}
        if chance.random() < 0.2:
            plan["raise"][chance.choice(facts.names)] = chance.choice(kinds)
    elif draw < 0.42 and facts.names:
        name = chance.choice(facts.names).partition(".")[0]
        plan["cancel"] = name + chance.choice((".pause", ".pause", ".after"))
    elif draw < 0.45:
        plan["send_fails"] = chance.choice((1, 2, 3))
    if chance.random() < 0.05:
        plan["disconnect_early"] = True
    return plan


def websocket_for(chance: random.Random, facts: RouteFacts) -> dict[str, Any]:
    action = request_for(chance, facts)
    received: list[Any] = [{"type": "websocket.connect"}]
    draw = chance.random()
    if draw < 0.7:
        received.append({"type": "websocket.receive", "text": "hello"})
    elif draw < 0.8:
        received.append({"type": "websocket.receive", "bytes": b"x"})
    received.append({"type": "websocket.disconnect", "code": chance.choice((1000, 1001, 1006))})
    return {**action, "do": "websocket", "received": received}


def raw_path_of(path: str) -> bytes:
    return quote(path, safe="/!$&'()*+,;=:@~-._", errors="surrogatepass").encode("ascii")
