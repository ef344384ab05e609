"""gRPC and Connect: an ASGI service under its own client and under gRPC's.

The service is one of Connect's library for Python (`support/rpc_app.py`). gRPC's client is the C
core's, which is strict about HTTP/2 and finds the outcome of a call in its trailers.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.server import WAIT_S_MAX, Server, serve
from support.tls import Certificates

grpc = pytest.importorskip("grpc")
pytest.importorskip("connectrpc")

from connectrpc.client import ConnectClient  # noqa: E402
from connectrpc.code import Code  # noqa: E402
from connectrpc.errors import ConnectError  # noqa: E402
from connectrpc.protocol import ProtocolType  # noqa: E402
from protobuf.wkt.google.protobuf.wrappers_pb import StringValue  # noqa: E402
from pyqwest import Client, HTTPTransport, HTTPVersion  # noqa: E402
from support.rpc_app import SERVICE, SHOUT, SPELL  # noqa: E402

CALL_S_MAX = 20
LETTERS = [chr(ord("a") + index % 26) for index in range(2000)]


@pytest.fixture(scope="module", params=["clear", "tls"])
def served(
    request: pytest.FixtureRequest, certificates: Certificates
) -> Iterator[tuple[Server, bytes | None]]:
    """A server, and whom its clients have to trust where it speaks TLS."""
    is_tls = request.param == "tls"
    options = certificates.issue("localhost", "127.0.0.1").options if is_tls else ()
    with serve("support.rpc_app:app", "--no-access-log", *options) as server:
        yield server, certificates.authority_file.read_bytes() if is_tls else None


@pytest.fixture
def call(served: tuple[Server, bytes | None]) -> Iterator[Any]:
    """Makes a function of a method, with the kind of call by gRPC's name."""
    server, trusted = served
    target = f"localhost:{server.port}"
    if trusted is None:
        channel = grpc.insecure_channel(target)
    else:
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(trusted))
    how = {
        "request_serializer": StringValue.to_binary,
        "response_deserializer": StringValue.from_binary,
    }
    with channel:
        yield lambda kind, name: getattr(channel, kind)(f"/{SERVICE}/{name}", **how)


def words(*values: str) -> Iterator[StringValue]:
    return (StringValue(value=value) for value in values)


def test_grpc_unary_call_has_its_outcome_in_trailers(call: Any) -> None:
    shout = call("unary_unary", "Shout")
    answer, outcome = shout.with_call(StringValue(value="hello"), timeout=CALL_S_MAX)
    assert answer.value == "HELLO"
    assert outcome.code() == grpc.StatusCode.OK
    assert dict(outcome.trailing_metadata())["x-length"] == "5"


def test_grpc_error_comes_as_status_and_leaves_the_connection(call: Any) -> None:
    shout = call("unary_unary", "Shout")
    with pytest.raises(grpc.RpcError) as caught:
        shout(StringValue(value=""), timeout=CALL_S_MAX)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "nothing to shout"
    assert shout(StringValue(value="a"), timeout=CALL_S_MAX).value == "A"


def test_grpc_large_messages_pass_the_windows(call: Any) -> None:
    text = "x" * 3_000_000
    answer = call("unary_unary", "Shout")(StringValue(value=text), timeout=CALL_S_MAX)
    assert answer.value == text.upper()


def test_grpc_streams_from_the_server(call: Any) -> None:
    spelled = call("unary_stream", "Spell")(StringValue(value="".join(LETTERS)), timeout=CALL_S_MAX)
    assert [answer.value for answer in spelled] == LETTERS
    assert spelled.code() == grpc.StatusCode.OK


def test_grpc_stream_that_fails_tells_so_behind_its_messages(call: Any) -> None:
    spelled = call("unary_stream", "Spell")(StringValue(value="ab!c"), timeout=CALL_S_MAX)
    letters = []
    with pytest.raises(grpc.RpcError) as caught:
        letters.extend(answer.value for answer in spelled)
    assert caught.value.code() == grpc.StatusCode.OUT_OF_RANGE


def test_grpc_streams_from_the_client(call: Any) -> None:
    joined = call("stream_unary", "Join")(words(*LETTERS), timeout=CALL_S_MAX)
    assert joined.value == "".join(LETTERS)


def test_grpc_streams_both_ways_in_turns(call: Any) -> None:
    questions: queue.SimpleQueue[StringValue | None] = queue.SimpleQueue()
    answers = call("stream_stream", "Answer")(iter(questions.get, None), timeout=CALL_S_MAX)
    for question in words("ab", "cd", "ef"):
        questions.put(question)
        assert next(answers).value == question.value[::-1]
    questions.put(None)
    assert list(answers) == []


def test_grpc_call_that_is_cancelled_ends_its_application(call: Any) -> None:
    repeated = call("unary_stream", "Repeat")(StringValue(value="again"), timeout=CALL_S_MAX)
    assert [next(repeated).value for _ in range(3)] == ["again"] * 3
    shout = call("unary_unary", "Shout")
    how_many = StringValue(value="repeating")
    assert shout(how_many, timeout=CALL_S_MAX).value == "1"
    repeated.cancel()
    until = time.monotonic() + WAIT_S_MAX
    while shout(how_many, timeout=CALL_S_MAX).value != "0":
        assert time.monotonic() < until, "the application goes on"


def test_grpc_calls_share_a_connection(call: Any) -> None:
    shout = call("unary_unary", "Shout")
    calls = [shout.future(word, timeout=CALL_S_MAX) for word in words(*LETTERS[:200])]
    assert [answer.result().value for answer in calls] == [x.upper() for x in LETTERS[:200]]


@pytest.mark.parametrize(
    ("protocol", "version"),
    [
        (ProtocolType.CONNECT, HTTPVersion.HTTP1),
        (ProtocolType.CONNECT, HTTPVersion.HTTP2),
        (ProtocolType.GRPC, HTTPVersion.HTTP2),
        (ProtocolType.GRPC_WEB, HTTPVersion.HTTP1),
        (ProtocolType.GRPC_WEB, HTTPVersion.HTTP2),
    ],
    ids=["connect-1", "connect-2", "grpc-2", "grpc-web-1", "grpc-web-2"],
)
def test_connect_client(
    served: tuple[Server, bytes | None], protocol: ProtocolType, version: HTTPVersion
) -> None:
    server, trusted = served
    scheme = "http" if trusted is None else "https"

    async def talk() -> None:
        transport = HTTPTransport(tls_ca_cert=trusted, http_version=version)
        address = f"{scheme}://localhost:{server.port}"
        client = ConnectClient(address, protocol=protocol, http_client=Client(transport))
        async with client:
            answer = await client.execute_unary(request=StringValue(value="hello"), method=SHOUT)
            assert answer.value == "HELLO"
            spelled = client.execute_server_stream(
                request=StringValue(value="".join(LETTERS)), method=SPELL
            )
            assert [answer.value async for answer in spelled] == LETTERS
            with pytest.raises(ConnectError) as caught:
                await client.execute_unary(request=StringValue(value=""), method=SHOUT)
            assert caught.value.code is Code.INVALID_ARGUMENT

    asyncio.run(asyncio.wait_for(talk(), CALL_S_MAX))
