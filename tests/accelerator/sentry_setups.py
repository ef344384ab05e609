"""The application of `telemetry_routes` under Sentry in several ways, and what Sentry captures."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

from accelerator.telemetry_routes import Collect, build

REMOTE_SPAN = "b7ad6b7169203331"


def sentry(has_middleware: bool = True, **options: Any) -> tuple[Any, Collect]:
    collect = sentry_client(**options)
    return build(has_middleware), collect


def sentry_client(**options: Any) -> Collect:
    import sentry_sdk
    from sentry_sdk.envelope import Envelope
    from sentry_sdk.transport import Transport

    envelopes: list[Envelope] = []

    class Kept(Transport):
        def capture_envelope(self, envelope: Envelope) -> None:
            envelopes.append(envelope)

    sentry_sdk.init(dsn="http://key@localhost/1", transport=Kept, **options)

    def collect() -> list[Any]:
        sentry_sdk.flush()
        found = [event_of(item) for each in envelopes for item in each.items]
        envelopes.clear()
        return [each for each in found if each is not None]

    return collect


def event_of(item: Any) -> Any:
    """What an event or transaction says, in which run and process do not matter."""
    event = item.payload.json
    if item.type == "sessions":
        aggregates = [{**each, "started": ""} for each in event["aggregates"]]
        return [item.type, event["attrs"], aggregates]
    if not isinstance(event, dict) or item.type not in ("event", "transaction"):
        return None
    trace = dict(event.get("contexts", {}).get("trace", {}))
    data = {key: value for key, value in trace.get("data", {}).items() if key != "thread.id"}
    return {
        "type": item.type,
        "transaction": event.get("transaction"),
        "info": event.get("transaction_info"),
        "request": {k: v for k, v in event.get("request", {}).items() if k != "env"},
        "trace": [trace.get("op"), trace.get("status"), trace.get("origin"), data],
        "tags": event.get("tags"),
        "message": [event.get("message"), event.get("level")],
        "response": event.get("contexts", {}).get("response"),
        "follows": trace.get("parent_span_id") == REMOTE_SPAN,
        "user": event.get("user"),
        "spans": [
            [each.get("op"), each.get("description"), each.get("status"), each.get("tags")]
            for each in event.get("spans", [])
        ],
        "exceptions": [
            [each.get("type"), each.get("value"), each.get("mechanism")]
            for each in event.get("exception", {}).get("values", [])
        ],
        "breadcrumbs": len(event.get("breadcrumbs", {}).get("values", [])),
    }


def sentry_middleware_spans() -> tuple[Any, Collect]:
    from sentry_sdk.integrations.fastapi import FastApiIntegration
    from sentry_sdk.integrations.starlette import StarletteIntegration

    return sentry(
        traces_sample_rate=1.0,
        integrations=[
            StarletteIntegration(middleware_spans=True, transaction_style="endpoint"),
            FastApiIntegration(middleware_spans=True, transaction_style="endpoint"),
        ],
    )


def sentry_that_changes() -> tuple[Any, Collect]:
    """Another client, another style and a function that is patched, while requests come."""
    import sentry_sdk
    from sentry_sdk.integrations.fastapi import FastApiIntegration
    from sentry_sdk.integrations.starlette import StarletteIntegration
    from sentry_sdk.scope import Scope

    app, collect = sentry(has_middleware=False)
    started: list[Any] = []
    start_session = Scope.start_session
    step = count()

    def start(self: Any, *arguments: Any, **options: Any) -> None:
        started.append(options)
        start_session(self, *arguments, **options)

    def collect_and_change() -> list[Any]:
        found = [*collect(), len(started)]
        match next(step):
            case 20:
                later.append(
                    sentry_client(
                        integrations=[
                            StarletteIntegration(transaction_style="endpoint"),
                            FastApiIntegration(transaction_style="endpoint"),
                        ]
                    )
                )
            case 30:
                sentry_sdk.get_client().integrations["starlette"].transaction_style = "no style"
            case 33:
                sentry_sdk.get_client().integrations["starlette"].transaction_style = "endpoint"
            case 50:
                for name in ("starlette", "fastapi"):
                    integration = sentry_sdk.get_client().integrations[name]
                    integration.transaction_style = "url"
            case 60:
                Scope.start_session = start
        return [*found, *(each for every in later for each in every())]

    later: list[Collect] = []
    return app, collect_and_change


def sentry_that_logs() -> tuple[Any, Collect]:
    """What Sentry says about itself where that is wanted."""
    app, collect = sentry(has_middleware=False, debug=True, release="")
    said: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("Discard"):
                said.append(record.getMessage())

    logging.getLogger("sentry_sdk.errors").addHandler(Handler())

    def collect_and_say() -> list[Any]:
        found = [*collect(), *said]
        said.clear()
        return found

    return app, collect_and_say


def sentry_that_is_not_known() -> tuple[Any, Collect]:
    """A release that the accelerator does not know."""
    if "pronghorn.fastapi" in sys.modules:
        from pronghorn.fastapi.fingerprints import known

        known()["sentry_sdk.scope:Scope.fork"] = []
    return sentry(has_middleware=False)


SENTRY_SETUPS: dict[str, Callable[[], tuple[Any, Collect]]] = {
    "sentry": lambda: sentry(traces_sample_rate=1.0),
    "sentry-errors-only": sentry,
    "sentry-without-middleware": lambda: sentry(has_middleware=False),
    "sentry-without-release": lambda: sentry(has_middleware=False, release=""),
    "sentry-that-changes": sentry_that_changes,
    "sentry-that-logs": sentry_that_logs,
    "sentry-that-is-not-known": sentry_that_is_not_known,
    "sentry-of-a-release": lambda: sentry(
        has_middleware=False, release="1.2", environment="test", send_default_pii=True
    ),
    "sentry-traces-without-middleware": lambda: sentry(
        has_middleware=False, traces_sample_rate=1.0, send_default_pii=True
    ),
    "sentry-samples": lambda: sentry(
        has_middleware=False, traces_sampler=lambda context: context["asgi_scope"]["path"] == "/"
    ),
    "sentry-streams": lambda: sentry(traces_sample_rate=1.0, trace_lifecycle="stream"),
    "sentry-middleware-spans": sentry_middleware_spans,
}
