"""A service of Connect's Python library, which speaks gRPC and the Connect protocol over ASGI.

`support.rpc_app:app` is the import string. Messages are `google.protobuf.StringValue`, so that
nothing needs to be generated.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint
from protobuf.wkt.google.protobuf.wrappers_pb import StringValue

SERVICE = "test.Words"

Method = MethodInfo[StringValue, StringValue]
Context = RequestContext[StringValue, StringValue]


def method(name: str, stream_type: StreamType) -> Method:
    return MethodInfo(
        name=name,
        service_name=SERVICE,
        input=StringValue,
        output=StringValue,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=stream_type,
    )


SHOUT = method("Shout", StreamType.UNARY)
SPELL = method("Spell", StreamType.SERVER_STREAM)
JOIN = method("Join", StreamType.CLIENT_STREAM)
ANSWER = method("Answer", StreamType.BIDI_STREAM)
# Spells until its client has had enough.
REPEAT = method("Repeat", StreamType.SERVER_STREAM)


class Words:
    """What the methods do."""

    def __init__(self) -> None:
        self.repeating = 0

    async def shout(self, request: StringValue, context: Context) -> StringValue:
        if request.value == "repeating":
            return StringValue(value=str(self.repeating))
        if not request.value:
            raise ConnectError(Code.INVALID_ARGUMENT, "nothing to shout")
        context.response_trailers["x-length"] = str(len(request.value))
        return StringValue(value=request.value.upper())

    async def spell(self, request: StringValue, _: Context) -> AsyncIterator[StringValue]:
        for letter in request.value:
            if letter == "!":
                raise ConnectError(Code.OUT_OF_RANGE, "no letter")
            yield StringValue(value=letter)

    async def join(self, requests: AsyncIterator[StringValue], _: Context) -> StringValue:
        return StringValue(value="".join([request.value async for request in requests]))

    async def answer(
        self, requests: AsyncIterator[StringValue], _: Context
    ) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield StringValue(value=request.value[::-1])

    async def repeat(self, request: StringValue, _: Context) -> AsyncIterator[StringValue]:
        self.repeating += 1
        with contextlib.closing(self):
            while True:
                yield request

    def close(self) -> None:
        self.repeating -= 1


class Application(ConnectASGIApplication[Words]):
    @property
    def path(self) -> str:
        return f"/{SERVICE}"


def endpoints(words: Words) -> Mapping[str, object]:
    return {
        f"/{SERVICE}/Shout": Endpoint.unary(method=SHOUT, function=words.shout),
        f"/{SERVICE}/Spell": Endpoint.server_stream(method=SPELL, function=words.spell),
        f"/{SERVICE}/Join": Endpoint.client_stream(method=JOIN, function=words.join),
        f"/{SERVICE}/Answer": Endpoint.bidi_stream(method=ANSWER, function=words.answer),
        f"/{SERVICE}/Repeat": Endpoint.server_stream(method=REPEAT, function=words.repeat),
    }


app = Application(service=Words(), endpoints=endpoints)  # type: ignore[arg-type]
