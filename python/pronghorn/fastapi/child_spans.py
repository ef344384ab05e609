"""Starts a span of OpenTelemetry's SDK within another one, as the SDK's default sampler has it.

`start_child` does what `Tracer.start_span` does for a span whose parent is recorded and sampled in
this process, which is then recorded and sampled itself: the same objects of the SDK's classes, with
what their `__init__` would find out about arguments that are known here. For any other parent,
sampler, limit or tracer it returns None. Called by `spans`, where the SDK's functions are known.
"""

from __future__ import annotations

from inspect import signature
from threading import Lock
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan, Tracer, _Span
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics, noop
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status

_SAMPLED = TraceFlags.SAMPLED
_RANDOM = TraceFlags.RANDOM_TRACE_ID
_FLAGS = {bits: TraceFlags(bits) for bits in (_SAMPLED, _SAMPLED | _RANDOM)}
_STATUS: Status = signature(ReadableSpan).parameters["status"].default
"""What all spans begin with."""
_new = object.__new__


def start_child(tracer: Any, parent: Any, name: str, attributes: dict[str, str]) -> Any:
    """A span that has started, with attributes that are short texts; or None."""
    if type(parent) is not _Span or type(tracer) is not Tracer or "start_span" in vars(tracer):
        return None
    context = parent._context
    limits, sampler = tracer._span_limits, tracer.sampler
    if (
        type(context) is not SpanContext
        or not context.is_valid
        or context.is_remote
        or not context.trace_flags & _SAMPLED
        or type(sampler) is not ParentBased
        or sampler._local_parent_sampled is not ALWAYS_ON
        or not tracer._tracer_config.is_enabled
        or type(tracer._tracer_metrics) is not NoOpTracerMetrics
        or limits.max_span_attribute_length is not None
        or limits.max_span_attributes == 0
    ):
        return None
    span = _new(_Span)
    span.__dict__.update(
        _name=name,
        _context=SpanContext(
            context.trace_id,
            tracer.id_generator.generate_span_id(),
            is_remote=False,
            trace_flags=_FLAGS[_SAMPLED | (context.trace_flags & _RANDOM)],
            trace_state=context.trace_state,
        ),
        _kind=SpanKind.INTERNAL,
        _instrumentation_info=tracer.instrumentation_info,
        _instrumentation_scope=tracer._instrumentation_scope,
        _parent=context,
        _start_time=None,
        _end_time=None,
        _attributes=_bounded(attributes, limits.max_span_attributes),
        _events=BoundedList(limits.max_events),
        _links=BoundedList(limits.max_links),
        _resource=tracer.resource,
        _status=_STATUS,
        _sampler=sampler,
        _trace_config=None,
        _record_exception=False,
        _set_status_on_exception=False,
        _span_processor=tracer.span_processor,
        _limits=limits,
        _lock=Lock(),
        _record_end_metrics=noop,
    )
    span.start()
    return span


def _bounded(attributes: dict[str, str], length_max: int | None) -> Any:
    bounded = _new(BoundedAttributes)
    bounded.__dict__.update(
        _dict=attributes,
        maxlen=length_max,
        dropped=0,
        max_value_len=None,
        _lock=Lock(),
        _immutable=False,
    )
    return bounded
