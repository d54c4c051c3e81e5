"""The service's metrics for Prometheus.

If several processes serve, each keeps its counters in a file in a shared folder, and any of them
reports the sums.
"""

import os
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's own variable. It must be set before the first import."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Counters:
    """Requests, their seconds, images, and the queue."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "firstlight_requests",
            "Requests by route and status.",
            ["route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "firstlight_request_seconds",
            "From the header of a request to the end of its response.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._images = Counter(
            "firstlight_images", "Images answered.", ["run"], registry=self._registry
        )
        # Looking up a counter by its labels takes as long as counting.
        self._requests_of = cache(self._requests.labels)
        self._seconds_of = cache(self._seconds.labels)
        self._queue = Gauge(
            "firstlight_waiting_images",
            "Images queued.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def queued(self, images: int) -> None:
        """Set the number of images in the queue."""
        self._queue.set(images)

    def answered(self, run: str, images: int) -> None:
        """Count images that a run answered."""
        self._images.labels(run).inc(images)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a finished request."""
        self._requests_of(route, status).inc()
        self._seconds_of(route).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)
