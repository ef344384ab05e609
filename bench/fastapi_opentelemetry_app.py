"""The application of the `fastapi-opentelemetry` case: FastAPI with a provider of traces.

FastAPI makes the spans of a request itself as soon as there is a provider; they are all recorded,
and dropped when they end.
"""

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

provider = TracerProvider()
provider.add_span_processor(SpanProcessor())
trace.set_tracer_provider(provider)

app = FastAPI()


@app.get("/")
async def root() -> dict[str, str]:
    """A small JSON object."""
    return {"message": "Hello, world!"}
