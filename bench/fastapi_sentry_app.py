"""The application of the `fastapi-sentry` case: FastAPI with Sentry's integration.

Sentry reports errors and follows traces, its defaults, and takes no spans; nothing leaves the
process, since the transport drops what it is given.
"""

import sentry_sdk
from fastapi import FastAPI
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport


class Nowhere(Transport):
    """A transport that sends nothing."""

    def capture_envelope(self, envelope: Envelope) -> None:
        """Drop it."""


sentry_sdk.init(dsn="http://key@127.0.0.1/1", transport=Nowhere)

app = FastAPI()


@app.get("/")
async def root() -> dict[str, str]:
    """A small JSON object."""
    return {"message": "Hello, world!"}
