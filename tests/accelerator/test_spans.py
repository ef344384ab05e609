"""FastAPI's telemetry, where what it is made with changes or is not known."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from typing import Any

import opentelemetry.propagate
import pytest
from fastapi import FastAPI
from fastapi.telemetry._asgi import NativeTelemetry
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import attach, get_value, set_value
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    ParentBasedTraceIdRatio,
)
from opentelemetry.trace import ProxyTracer, SpanKind, use_span
from pronghorn.fastapi import fingerprints, install
from pronghorn.fastapi.hooks import plan_of
from pronghorn.fastapi.plans import Plan

from accelerator.ask import ask
from accelerator.conftest import Tiers

OPERATIONS = ["fastapi.dependencies", "fastapi.endpoint", "fastapi.serialization"]
BAGGAGE_ONLY = CompositePropagator([W3CBaggagePropagator()])
TRACE = b"0af7651916cd43dd8448eb211c80319c"
TRACE_PARENT = (b"traceparent", b"00-" + TRACE + b"-b7ad6b7169203331-01")

Names = Callable[[], list[str]]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@pytest.fixture
def names(exporter: InMemorySpanExporter) -> Names:
    """The names of the spans that have ended since the last call."""

    def names() -> list[str]:
        found = [each.name for each in exporter.get_finished_spans()]
        exporter.clear()
        return found

    return names


def make_app(provider: Any, **options: Any) -> FastAPI:
    app = FastAPI(telemetry={"tracer_provider": provider, **options})

    @app.get("/{number}")
    async def root(number: int) -> int:
        return number

    return app


@pytest.mark.usefixtures("accelerated")
def test_what_is_observed_may_change_between_requests(
    provider: TracerProvider, names: Names
) -> None:
    app = make_app(provider)
    for _ in range(2):
        assert ask(app, "/7").json == 7
        assert sorted(names()) == ["GET /{number}", *OPERATIONS]
    app._telemetry["operation_spans"] = False
    ask(app, "/7")
    assert names() == ["GET /{number}"]
    app._telemetry["exclude"] = lambda scope: scope["path"] == "/8"
    ask(app, "/8")
    assert names() == []
    ask(app, "/7")
    assert names() == ["GET /{number}"]
    app._telemetry["tracing"] = False
    ask(app, "/7")
    assert names() == []


@pytest.mark.usefixtures("accelerated")
def test_another_propagator_counts_from_the_next_request_on(
    provider: TracerProvider, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parents() -> set[bool]:
        ask(app, "/7", headers=[TRACE_PARENT])
        found = {each.context.trace_id == int(TRACE, 16) for each in exporter.get_finished_spans()}
        exporter.clear()
        return found

    app = make_app(provider)
    assert parents() == {True}
    monkeypatch.setattr(opentelemetry.propagate, "_HTTP_TEXT_FORMAT", BAGGAGE_ONLY)
    assert parents() == {False}


@pytest.mark.usefixtures("accelerated")
def test_a_tracer_of_another_class_makes_its_spans_itself(
    provider: TracerProvider, names: Names
) -> None:
    asked: list[str] = []

    class Tracer(ProxyTracer):
        def start_as_current_span(self, name: str, **options: Any) -> Any:
            asked.append(name)
            return provider.get_tracer("own").start_as_current_span(name, **options)

        def start_span(self, name: str, **options: Any) -> Any:
            return provider.get_tracer("own").start_span(name, **options)

    class Provider(TracerProvider):
        def get_tracer(self, *arguments: Any, **options: Any) -> Any:
            return Tracer("own")

    app = make_app(Provider())
    ask(app, "/7")
    assert asked == OPERATIONS
    assert sorted(names()) == ["GET /{number}", *OPERATIONS]


@pytest.mark.usefixtures("accelerated")
def test_a_patched_sdk_is_called(
    provider: TracerProvider, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(provider)
    ask(app, "/7")
    names()
    kind: Any = type(provider.get_tracer("any"))
    original = kind.start_as_current_span
    monkeypatch.setattr(
        kind,
        "start_as_current_span",
        lambda self, name, **options: original(self, f"patched {name}", **options),
    )
    ask(app, "/7")
    patched = [f"patched {name}" for name in OPERATIONS]
    assert sorted(names()) == ["GET /{number}", *patched]
    monkeypatch.undo()
    ask(app, "/7")
    assert sorted(names()) == ["GET /{number}", *OPERATIONS]


def silenced(monkeypatch: pytest.MonkeyPatch, app: Any) -> None:
    monkeypatch.setattr(NativeTelemetry, "enabled", lambda self: False)


def silenced_in_one_application(monkeypatch: pytest.MonkeyPatch, app: Any) -> None:
    app._native_telemetry.enabled = lambda: False


def of_another_class(monkeypatch: pytest.MonkeyPatch, app: Any) -> None:
    class Passing(NativeTelemetry):
        async def __call__(
            self, *, app: Any, scope: Any, receive: Any, send: Any, legacy_otel: bool = False
        ) -> None:
            await app(scope, receive, send)

    app._native_telemetry = Passing(app._telemetry)


@pytest.mark.usefixtures("accelerated")
@pytest.mark.parametrize("change", [silenced, silenced_in_one_application, of_another_class])
def test_a_replaced_telemetry_decides_what_is_observed(
    change: Callable[[pytest.MonkeyPatch, Any], None],
    provider: TracerProvider,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = make_app(provider)
    ask(app, "/7")
    assert sorted(names()) == ["GET /{number}", *OPERATIONS]
    change(monkeypatch, app)
    for _ in range(2):
        assert ask(app, "/7").json == 7
        assert names() == []


@pytest.mark.usefixtures("accelerated")
def test_a_telemetry_of_another_class_is_asked_where_there_is_no_provider() -> None:
    passed: list[str] = []

    class Telling(NativeTelemetry):
        def enabled(self) -> bool:
            passed.append("enabled")
            return True

        async def __call__(
            self, *, app: Any, scope: Any, receive: Any, send: Any, legacy_otel: bool = False
        ) -> None:
            passed.append("called")
            await app(scope, receive, send)

    app = make_app(None)
    ask(app, "/7")
    app._native_telemetry = Telling(app._telemetry)
    assert ask(app, "/7").json == 7
    assert passed == ["enabled", "called"]


@pytest.mark.usefixtures("accelerated")
def test_an_endpoint_has_what_a_processor_attaches_when_a_span_starts(
    provider: TracerProvider,
) -> None:
    class Attaching(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            if span.name == "fastapi.endpoint":
                attach(set_value("attached", span.name))

    provider.add_span_processor(Attaching())
    app = FastAPI(telemetry={"tracer_provider": provider})

    @app.get("/")
    async def root() -> Any:
        return get_value("attached")

    assert ask(app).json == "fastapi.endpoint"


@pytest.mark.usefixtures("accelerated")
def test_a_method_set_on_a_tracer_is_called(provider: TracerProvider, names: Names) -> None:
    app = make_app(provider)
    ask(app, "/7")
    names()
    tracer: Any = app._native_telemetry._tracer
    original = tracer.start_as_current_span
    tracer.start_as_current_span = lambda name, **options: original(f"own {name}", **options)
    ask(app, "/7")
    assert sorted(names()) == ["GET /{number}", *(f"own {name}" for name in OPERATIONS)]


@pytest.mark.usefixtures("accelerated")
def test_a_derived_tracer_is_asked_as_the_sdk_asks_it(
    provider: TracerProvider, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    sdk = provider.get_tracer("own")

    class Tracer(ProxyTracer):
        start_as_current_span: Any = SdkTracer.start_as_current_span

        def start_span(self, *arguments: Any, **options: Any) -> Any:
            if not arguments:
                asked.append(options)
            return sdk.start_span(*arguments, **options)

    class Provider(TracerProvider):
        def get_tracer(self, *arguments: Any, **options: Any) -> Any:
            return Tracer("own")

    app = make_app(Provider())
    ask(app, "/7")
    assert [each.pop("name") for each in asked] == OPERATIONS
    for each in asked:
        assert each.pop("attributes").keys() == {"code.function.name"}
        assert each == {
            "context": None,
            "kind": SpanKind.INTERNAL,
            "links": (),
            "start_time": None,
            "record_exception": False,
            "set_status_on_exception": False,
        }
    names()
    monkeypatch.setattr(
        Tracer,
        "start_as_current_span",
        lambda self, name, **options: sdk.start_as_current_span(f"later {name}", **options),
    )
    ask(app, "/7")
    assert sorted(names()) == ["GET /{number}", *(f"later {name}" for name in OPERATIONS)]


def test_a_child_is_what_the_tracer_would_have_started(provider: TracerProvider) -> None:
    from pronghorn.fastapi.child_spans import start_child

    tracer: Any = provider.get_tracer("any", "1")
    parent = tracer.start_span("parent")
    attributes = {"code.function.name": "module.function"}
    with use_span(parent):
        expected = tracer.start_span(
            "child", attributes=attributes, record_exception=False, set_status_on_exception=False
        )
    child = start_child(tracer, parent, "child", dict(attributes))
    assert type(child) is type(expected)
    assert list(vars(child)) == list(vars(expected))
    assert [type(each) for each in vars(child).values()] == [
        type(each) for each in vars(expected).values()
    ]
    differs = {"_context", "_start_time", "_lock", "_attributes", "_events", "_links"}
    for name in vars(child).keys() - differs:
        assert getattr(child, name) == getattr(expected, name)
    assert child.context[0] == expected.context[0] != child.context[1] != expected.context[1]
    assert child.context[2:] == expected.context[2:]
    for name in ("_attributes", "_events", "_links"):
        parts = vars(getattr(child, name)), vars(getattr(expected, name))
        assert parts[0].keys() == parts[1].keys()
        for key in parts[0].keys() - {"_lock"}:
            assert parts[0][key] == parts[1][key]
    child.set_attribute("later", 1)
    child.end()
    assert dict(child.attributes) == {**attributes, "later": 1}


@pytest.mark.usefixtures("accelerated")
@pytest.mark.parametrize(
    "options",
    [
        {"sampler": ALWAYS_OFF},
        {"sampler": ALWAYS_ON},
        {"sampler": ParentBased(ALWAYS_ON, local_parent_sampled=ALWAYS_OFF)},
        {"sampler": ParentBasedTraceIdRatio(0.0)},
        {"span_limits": SpanLimits(max_span_attribute_length=5)},
        {"span_limits": SpanLimits(max_span_attributes=0)},
        {"span_limits": SpanLimits(max_span_attributes=1)},
    ],
)
def test_the_sampler_and_the_limits_are_the_providers(
    options: dict[str, Any], exporter: InMemorySpanExporter
) -> None:
    def recorded(use: Callable[[Any], None]) -> list[Any]:
        exporter.clear()
        use(provider.get_tracer("fastapi"))
        spans = exporter.get_finished_spans()
        return sorted((each.name, str(each.attributes), each.dropped_attributes) for each in spans)

    def by_hand(tracer: Any) -> None:
        with tracer.start_as_current_span("parent"):
            for name in OPERATIONS:
                attributes = {"code.function.name": f"{__name__}.{make_app.__name__}.<locals>.root"}
                with tracer.start_as_current_span(name, attributes=attributes):
                    pass

    provider = TracerProvider(**options)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = make_app(provider)
    expected = recorded(by_hand)
    got = recorded(lambda tracer: ask(app, "/7") and None)
    operations = [each for each in got if each[0] in OPERATIONS]
    assert operations == [each for each in expected if each[0] in OPERATIONS]


@pytest.mark.usefixtures("installed")
def test_routes_with_telemetry_are_compiled(provider: TracerProvider, tiers: Tiers) -> None:
    app = make_app(provider)
    ask(app, "/7")
    assert tiers(app)["/{number}"] == "compiled"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("library", "function"),
    [
        ("opentelemetry-api", "opentelemetry.trace:use_span.__wrapped__"),
        ("opentelemetry-sdk", "opentelemetry.sdk.trace:Tracer.start_as_current_span.__wrapped__"),
    ],
)
def test_an_unknown_release_works_and_one_line_says_so(
    library: str,
    function: str,
    provider: TracerProvider,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    changed = {**fingerprints.known(), function: ["0" * 16]}
    monkeypatch.setattr("pronghorn.fastapi.fingerprints.known", lambda: changed)
    install()
    app = make_app(provider)
    with caplog.at_level(logging.WARNING, "pronghorn.error"):
        for _ in range(3):
            assert ask(app, "/7").json == 7
            assert sorted(names()) == ["GET /{number}", *OPERATIONS]
    assert [library in each.getMessage() for each in caplog.records] == [True]


@pytest.mark.usefixtures("installed")
def test_an_unknown_release_in_a_bundle_without_metadata_works_too(
    provider: TracerProvider,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def version(library: str) -> str:
        raise PackageNotFoundError(library)

    function = "opentelemetry.trace:use_span.__wrapped__"
    changed = {**fingerprints.known(), function: ["0" * 16]}
    monkeypatch.setattr("pronghorn.fastapi.fingerprints.known", lambda: changed)
    monkeypatch.setattr("pronghorn.fastapi.fingerprints.version", version)
    app = make_app(provider)
    with caplog.at_level(logging.WARNING, "pronghorn.error"):
        assert ask(app, "/7").json == 7
    assert ["opentelemetry-api" in each.getMessage() for each in caplog.records] == [True]
    assert isinstance(plan_of(app), Plan)
