"""Spans for every stage of a miss, with OpenTelemetry.

    pip install atproto-imageproxy opentelemetry-sdk
    python examples/opentelemetry_tracing.py

An observer is told of a stage when it is over, with its duration; so each span is written with times of its own.
"""

from __future__ import annotations

import time

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.trace import Status, StatusCode

from imageproxy import Event, create_service
from imageproxy.testing import LocalPDS, drawn_photos


class Tracing:
    """An observer that writes a span for each stage that takes time, and for what fails."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def on_event(self, event: Event) -> None:
        if event.seconds is None and event.error is None:
            return
        ended_at = time.time_ns()
        started_at = ended_at - int((event.seconds or 0) * 1e9)
        span = self._tracer.start_span(f"imageproxy {event.name}", start_time=started_at)
        span.set_attribute("atproto.did", event.did)
        for name, value in (("atproto.cid", event.cid), ("imageproxy.preset", event.preset)):
            if value is not None:
                span.set_attribute(name, value)
        if event.size_bytes is not None:
            span.set_attribute("imageproxy.size_bytes", event.size_bytes)
        if event.error is not None:
            span.record_exception(event.error)
            span.set_status(Status(StatusCode.ERROR, str(event.error)))
        span.end(end_time=ended_at)


def main() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    tracing = Tracing(provider.get_tracer("imageproxy"))
    photo = drawn_photos()[0]
    with LocalPDS() as pds, create_service(pds.service_config(cache_path="cache"), observers=[tracing]) as images:
        did = pds.create_account()
        cid = pds.add_blob(did, photo.data, content_type=photo.content_type)
        images.get_image("avatar", did, cid)


if __name__ == "__main__":
    main()
