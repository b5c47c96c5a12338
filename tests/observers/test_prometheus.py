"""The observer for Prometheus, read as Prometheus reads it."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from imageproxy import ConfigError, DiskCache, PDSNotFoundError
from imageproxy.observers.prometheus import PrometheusObserver
from imageproxy.testing import FAKE_IMAGE, FakeFetcher, fake_service

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = "bafkreimadeup0"


def scrape(registry: CollectorRegistry) -> dict[tuple[str, tuple[str, ...]], float]:
    """The samples by name and values of the labels."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_events_stages_bytes_and_errors_are_counted(tmp_path) -> None:  # type: ignore[no-untyped-def]
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    fetcher = FakeFetcher({CID: FAKE_IMAGE})
    with fake_service(fetcher=fetcher, cache=DiskCache(tmp_path), observers=[observer]) as images:
        observer.watch(images)
        images.get_image("avatar", DID, CID)
        assert images.flush(10)
        images.get_image("avatar", DID, CID)
        with pytest.raises(PDSNotFoundError):
            images.get_image("banner", DID, "bafkreimadeup1")
        samples = scrape(registry)
    assert samples["imageproxy_events_total", ("hit", "avatar")] == 1
    assert samples["imageproxy_events_total", ("miss", "avatar")] == 1
    assert samples["imageproxy_events_total", ("failed", "banner")] == 1
    assert samples["imageproxy_errors_total", ("PDSNotFoundError", "failed")] == 1
    assert samples["imageproxy_bytes_total", ("fetched",)] == len(FAKE_IMAGE)
    for stage, times in (("resolve", 2), ("fetch", 1), ("process", 1), ("write", 1)):
        assert samples["imageproxy_stage_seconds_count", (stage,)] == times, stage
    assert samples["imageproxy_flights", ()] == 0
    assert samples["imageproxy_queued_writes", ()] == samples["imageproxy_queued_write_bytes", ()] == 0
    assert samples["imageproxy_cache", ("bytes",)] > 0


def test_one_observer_may_observe_several_services() -> None:
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    for _ in range(2):
        with fake_service(observers=[observer]) as images:
            images.get_image("avatar", DID, CID)
    assert scrape(registry)["imageproxy_events_total", ("miss", "avatar")] == 2


def test_a_second_observer_or_service_in_a_registry_is_refused() -> None:
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    with pytest.raises(ConfigError, match="one observer"):
        PrometheusObserver(registry)
    with fake_service() as images:
        observer.watch(images)
        with pytest.raises(ConfigError, match="already"):
            observer.watch(images)
