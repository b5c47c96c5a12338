"""What Prometheus is told. Needs the extra ``prometheus``."""

from __future__ import annotations

import prometheus_client
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from imageproxy.observers.prometheus import PrometheusObserver

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The service's metrics, those of its requests, and those of the process.

    ==================================================  =====================================================
    ``imageproxy_http_requests_total{status}``          answers by status; 499: the client had left
    ``imageproxy_http_request_seconds``                 a histogram: from the request to the answer's last byte
    ``imageproxy_...``                                  see ``imageproxy.observers.prometheus``
    ``process_...``, ``python_info``                    see prometheus_client
    ==================================================  =====================================================
    """

    def __init__(self) -> None:
        registry = prometheus_client.CollectorRegistry()
        self.observer = PrometheusObserver(registry)
        """To be given to the service."""
        self._registry = registry
        self._requests = prometheus_client.Counter(
            "imageproxy_http_requests", "Answers by status.", ["status"], registry=registry
        )
        self._seconds = prometheus_client.Histogram(
            "imageproxy_http_request_seconds", "How long answers took, in seconds.", buckets=_BUCKETS, registry=registry
        )
        prometheus_client.ProcessCollector(registry=registry)
        prometheus_client.PlatformCollector(registry=registry)

    def count(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus's own format. Asks the cache for its counts, so it may block."""
        return generate_latest(self._registry)
