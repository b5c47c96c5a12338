"""Metrics for Prometheus. Needs the extra: ``pip install "atproto-imageproxy[prometheus]"``.

================================================  =========================================================
``imageproxy_events_total{event, preset}``        every event of ``imageproxy.events``: hits, misses, ...
``imageproxy_bytes_total{event}``                 bytes served from the cache, fetched, processed, written
``imageproxy_stage_seconds{stage}``               a histogram: hit, look up, resolve, fetch, process, write, and
                                                  flight, which is a miss as a whole
``imageproxy_errors_total{event, error}``         what failed, by the class of the error
================================================  =========================================================

and, once ``watch`` was called, what the service tells of its present state, and its cache of itself:

================================================  =========================================================
``imageproxy_flights``                            images under way
``imageproxy_queued_writes``, ``_bytes``          images waiting to be written, and their bytes
``imageproxy_cache{count}``                       the cache's own counts, such as ``bytes``
================================================  =========================================================

In the multiprocess mode of prometheus_client, the first table works and the second does not, which is a limit of that
mode: https://prometheus.github.io/client_python/multiprocess
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imageproxy.errors import ConfigError
from imageproxy.events import Event, EventName
from imageproxy.service import Service

try:
    import prometheus_client
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "imageproxy.observers.prometheus needs an extra that is not installed: "
        'pip install "atproto-imageproxy[prometheus]"'
    ) from error

__all__ = ["PrometheusObserver"]

_STAGES: dict[EventName, str] = {
    "hit": "hit",
    "miss": "look up",
    "resolved": "resolve",
    "fetched": "fetch",
    "processed": "process",
    "landed": "flight",
    "cache_written": "write",
    "cache_write_failed": "write",
}
# From a hit to a slow PDS.
_BUCKETS = (0.00001, 0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class PrometheusObserver:
    """Counts events for Prometheus. Safe to use from threads; one may observe several services.

    registry: where the metrics are registered; ``None``: prometheus_client's default one.

    DIDs and CIDs are no labels: there are too many of them. Presets are: their names are the app's own.

    Raises ConfigError where the registry has these metrics already: then use that observer for all services.
    """

    def __init__(self, registry: prometheus_client.CollectorRegistry | None = None) -> None:
        self._registry = prometheus_client.REGISTRY if registry is None else registry
        try:
            self._events = prometheus_client.Counter(
                "imageproxy_events", "Events of the image proxy.", ["event", "preset"], registry=self._registry
            )
            self._bytes = prometheus_client.Counter(
                "imageproxy_bytes", "Bytes of the images and blobs of events.", ["event"], registry=self._registry
            )
            self._seconds = prometheus_client.Histogram(
                "imageproxy_stage_seconds",
                "How long a stage took, in seconds.",
                ["stage"],
                buckets=_BUCKETS,
                registry=self._registry,
            )
            self._errors = prometheus_client.Counter(
                "imageproxy_errors", "Errors by class.", ["event", "error"], registry=self._registry
            )
        except ValueError as error:  # "Duplicated timeseries"
            raise ConfigError(
                f"the registry has these metrics already ({error}); let one observer watch all services, or give each "
                "a registry of its own",
                option="registry",
                value=registry,
            ) from error

    def on_event(self, event: Event) -> None:
        """See ``Observer.on_event``."""
        self._events.labels(event.name, event.preset or "").inc()
        if event.size_bytes:
            self._bytes.labels(event.name).inc(event.size_bytes)
        stage = _STAGES.get(event.name)
        if stage is not None and event.seconds is not None:
            self._seconds.labels(stage).observe(event.seconds)
        if event.error is not None:
            self._errors.labels(event.name, type(event.error).__name__).inc()

    def watch(self, service: Service) -> None:
        """Tell the present state of this service, too, read at each scrape. One service for each registry.

        Raises ConfigError where the registry watches one already.
        """
        try:
            self._registry.register(_State(service))
        except ValueError as error:
            raise ConfigError(f"the registry watches a service already: {error}", option="service") from error


class _State(Collector):
    """What a service tells of its present state."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> Iterator[Any]:
        """The families without their values, so that a second one in the same registry is refused."""
        yield GaugeMetricFamily("imageproxy_flights", "Images under way.")

    def collect(self) -> Iterator[Any]:
        """The families with their values now."""
        stats = self._service.stats()
        yield GaugeMetricFamily("imageproxy_flights", "Images under way.", value=stats.flights)
        yield GaugeMetricFamily("imageproxy_queued_writes", "Images waiting to be cached.", value=stats.queued_writes)
        yield GaugeMetricFamily(
            "imageproxy_queued_write_bytes", "Bytes waiting to be cached.", value=stats.queued_write_bytes
        )
        counts = GaugeMetricFamily("imageproxy_cache", "What the cache counts of itself.", labels=["count"])
        for name, value in stats.cache.items():
            counts.add_metric([name], value)
        yield counts
