"""An application under OpenTelemetry, Sentry or Logfire, and what those have recorded of requests.

`python -m accelerator.telemetry_app SETUP [--accelerate]` prints it as JSON, without what differs
from run to run (times, identifiers, addresses, the frames of stacks). `test_telemetry` compares.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import anyio

from accelerator.sentry_setups import REMOTE_SPAN, SENTRY_SETUPS, sentry
from accelerator.telemetry_routes import Collect, build

PATHS: tuple[tuple[str, str, bytes, Any], ...] = (
    ("GET", "/", b"", None),
    ("GET", "/items/7", b"q=1&key=secret", None),
    ("GET", "/items/x", b"", None),
    ("POST", "/items", b"", {"name": "n", "price": 1}),
    ("POST", "/items", b"", {"name": 1}),
    ("GET", "/plain", b"", None),
    ("GET", "/dependencies", b"", None),
    ("GET", "/background", b"", None),
    ("GET", "/http-error", b"", None),
    ("GET", "/error", b"", None),
    ("GET", "/handled", b"", None),
    ("GET", "/r/included", b"", None),
    ("GET", "/mounted/sub/3", b"", None),
    ("GET", "/stream", b"", None),
    ("GET", "/invalid-response", b"", None),
    ("GET", "/not-json", b"", None),
    ("GET", "/failing", b"", None),
    ("GET", "/values/7", b"q=x&sig=secret", None),
    ("GET", "/values/x", b"q=1", None),
    ("POST", "/embedded", b"", {"one": {"name": "n"}, "two": 5}),
    ("POST", "/embedded", b"", {"one": {}, "two": 5}),
    ("POST", "/embedded", b"", None),
    ("POST", "/items", b"", ["x"]),
    ("HEAD", "/", b"", None),
    ("GET", "/message", b"q=1", None),
    ("POST", "/message", b"", {"name": "n"}),
    ("GET", "/nowhere", b"", None),
    ("PUT", "/items", b"", None),
)
HEADERS = [
    (b"traceparent", f"00-0af7651916cd43dd8448eb211c80319c-{REMOTE_SPAN}-01".encode()),
    (b"baggage", b"key=value,sentry-sample_rand=0.25"),
    (b"sentry-trace", f"0af7651916cd43dd8448eb211c80319c-{REMOTE_SPAN}-1".encode()),
    (b"x-forwarded-for", b"10.0.0.1, 10.0.0.2"),
    (b"user-agent", b"tests"),
    (b"cookie", b"a=b"),
]

Wrap = Callable[[Any], None]


# The setups: each returns the application, and what gives what was recorded since the last call


def spans_of(exporter: Any) -> Collect:
    def collect() -> list[Any]:
        spans = exporter.get_finished_spans()
        names = {each.context.span_id: each.name for each in spans}
        found = [
            {
                "name": each.name,
                "kind": each.kind.name,
                "parent": names.get(each.parent.span_id, "remote") if each.parent else None,
                "attributes": dict(each.attributes or {}),
                "status": each.status.status_code.name,
                "events": [
                    [event.name, {k: v for k, v in event.attributes.items() if "stack" not in k}]
                    for event in each.events
                ],
            }
            for each in spans
        ]
        exporter.clear()
        return found

    return collect


def providers() -> tuple[Any, Any]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def told() -> tuple[Any, Collect]:
    """What FastAPI tells processors of spans about the request, when spans end."""
    from fastapi.telemetry import get_telemetry_data
    from opentelemetry.sdk.trace import SpanProcessor

    found: list[Any] = []

    class Told(SpanProcessor):
        def on_end(self, span: Any) -> None:
            data = get_telemetry_data()
            if data is not None:
                path = None if data.request is None else data.request.url.path
                values = None if data.values is None else sorted(data.values)
                found.append(
                    [span.name, path, str(data.body), values, str(data.errors), str(data.values)]
                )

    def collect() -> list[Any]:
        collected = found.copy()
        found.clear()
        return collected

    return Told(), collect


def native(has_middleware: bool = True) -> tuple[Any, Collect]:
    """FastAPI's own telemetry, by a global provider, with metrics and logs."""
    from opentelemetry import _logs, metrics, trace
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    provider, exporter = providers()
    processor, data_told = told()
    provider.add_span_processor(processor)
    logs = InMemoryLogRecordExporter()
    logger_provider = LoggerProvider()
    logger_provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
    _logs.set_logger_provider(logger_provider)
    trace.set_tracer_provider(provider)
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    spans = spans_of(exporter)

    def collect() -> list[Any]:
        data = reader.get_metrics_data()
        points = [
            [metric.name, dict(point.attributes), getattr(point, "count", None)]
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        ]
        records = [
            [each.log_record.event_name, str(each.log_record.body)]
            for each in logs.get_finished_logs()
        ]
        logs.clear()
        return [*spans(), *data_told(), *records, *sorted(points, key=str)]

    return build(has_middleware), collect


def native_of_application() -> tuple[Any, Collect]:
    """FastAPI's own telemetry, by a provider for the application, without operations."""
    provider, exporter = providers()
    app = build(telemetry={"tracer_provider": provider, "operation_spans": False})
    return app, spans_of(exporter)


def instrumented() -> tuple[Any, Collect]:
    """OpenTelemetry's instrumentation of one application."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    provider, exporter = providers()
    app = build()
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
    return app, spans_of(exporter)


def instrumented_class() -> tuple[Any, Collect]:
    """OpenTelemetry's instrumentation of every application, and a global provider."""
    from opentelemetry import trace
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    provider, exporter = providers()
    trace.set_tracer_provider(provider)
    FastAPIInstrumentor().instrument()
    return build(), spans_of(exporter)


def sentry_and_native() -> tuple[Any, Collect]:
    """Both at once."""
    _, collect_spans = native()
    app, collect_events = sentry(has_middleware=False)
    return app, lambda: [*collect_spans(), *collect_events()]


def logfire() -> tuple[Any, Collect]:
    import logfire as library
    from logfire.testing import TestExporter
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    exporter = TestExporter()
    library.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[SimpleSpanProcessor(exporter)],
    )
    app = build()
    library.instrument_fastapi(app)

    def collect() -> list[Any]:
        found = [
            {
                "name": each["name"],
                "attributes": {
                    key: "a time" if "timestamp" in key else value
                    for key, value in each["attributes"].items()
                    if "lineno" not in key and "stack" not in key
                },
            }
            for each in exporter.exported_spans_as_dict(fixed_line_number=None)
        ]
        exporter.clear()
        return found

    return app, collect


SETUPS: dict[str, Callable[[], tuple[Any, Collect]]] = {
    "native": native,
    "native-without-middleware": lambda: native(has_middleware=False),
    "native-of-application": native_of_application,
    "instrumented": instrumented,
    "instrumented-class": instrumented_class,
    "sentry-and-native": sentry_and_native,
    "logfire": logfire,
    **SENTRY_SETUPS,
}


async def play(app: Any, collect: Collect) -> list[Any]:
    from accelerator.ask import asked

    results = []
    # What is made at the first request, what is used from then on, and without a trace to follow.
    for headers in (HEADERS, HEADERS, []):
        for method, path, query, body in PATHS:
            answer = await asked(app, path, method, query=query, json_body=body, headers=headers)
            sent = [[m.get("status"), str(m.get("headers")), str(m.get("body"))]
                    for m in answer.messages]  # fmt: skip
            results.append([method, path, sent, repr(answer.error), collect()])
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("setup", choices=SETUPS)
    parser.add_argument("--accelerate", action="store_true")
    arguments = parser.parse_args()
    tiers: dict[str, int] = {}
    if arguments.accelerate:
        from pronghorn.fastapi import install

        from accelerator.counting import watch

        watch()
        install()
    app, collect = SETUPS[arguments.setup]()
    results = anyio.run(play, app, collect)
    if arguments.accelerate:
        from accelerator.counting import requests_by_tier

        tiers = requests_by_tier()
    json.dump({"results": results, "tiers": tiers}, sys.stdout, default=str, sort_keys=True)


if __name__ == "__main__":
    main()
