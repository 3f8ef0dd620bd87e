"""What Prometheus sees. Each app has a registry of its own, so that two in one process do not mix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from nextlabel.backend.service.ports import Status

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The counters of the HTTP edge; of a loop also its figures, read from ``status`` when somebody looks."""

    def __init__(self, status: Callable[[], Status] | None = None) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "nextlabel_request_seconds",
            "Time from a request's arrival to the end of its answer.",
            ("route", "status"),
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self.events = Counter(
            "nextlabel_webhook_events",
            "Webhook events by what became of them.",
            ("action", "outcome"),
            registry=self.registry,
        )
        self.predictions = Counter(
            "nextlabel_predictions", "Suggestions answered to live calls.", ("route",), registry=self.registry
        )
        if status is not None:
            self.registry.register(_Loop(status))


class _Loop(Collector):
    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def describe(self) -> list[Metric]:
        return []  # without it, registering would already ask for a status

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        compared = status.comparison
        yield CounterMetricFamily("nextlabel_log_rows", "Rows of the annotation log.", value=status.log_head)
        gauges: list[tuple[str, str, float | None]] = [
            (
                "nextlabel_generation_log_head",
                "Log row up to which the published queue knows.",
                status.generation_log_head,
            ),
            ("nextlabel_ready", "1 once the first queue is on the platform.", not status.not_ready),
            ("nextlabel_poll_age_seconds", "Since the last look at the platform ended.", status.poll_age_s),
            ("nextlabel_queue_age_seconds", "Since this process last published a queue.", status.queue_age_s),
            (
                "nextlabel_label_waiting_seconds",
                "Since the oldest answer came in that no queue knows yet; 0 without one.",
                status.waiting_s,
            ),
            ("nextlabel_records", "Records in the store.", status.records),
            ("nextlabel_records_pushed", "Records that the platform holds.", status.pushed),
            ("nextlabel_records_labelled", "Records labelled.", status.labelled),
            ("nextlabel_audit_labelled", "Labelled records of the audit slice.", status.audit_labelled),
            ("nextlabel_leader", "1 if this process runs the loop.", status.leader),
            (
                "nextlabel_lease_left_seconds",
                "Until the lease of whoever leads is over, unless it is renewed; 0 if nobody leads.",
                status.lease.get("left_s", 0.0),
            ),
            ("nextlabel_lease_since_timestamp_seconds", "When whoever leads began to.", _since(status)),
            ("nextlabel_platform_up", "1 if the platform answered last time.", status.platform_reachable),
            ("nextlabel_label_to_queue_p50_seconds", "From label to new queue, median.", status.label_to_queue_p50),
            ("nextlabel_label_to_queue_p95_seconds", "The same, 95th percentile.", status.label_to_queue_p95),
            ("nextlabel_audit_accuracy", "Accuracy on the audit slice.", status.audit.get("accuracy")),
            (
                "nextlabel_held_out_accuracy",
                "Accuracy on answers from before the first start that are kept from training.",
                status.held_out.get("accuracy"),
            ),
            ("nextlabel_compared_age_seconds", "Since log and platform were compared.", compared.get("age_s")),
            ("nextlabel_compared_answers", "Answers on the platform then.", compared.get("answers")),
            ("nextlabel_compared_found", "Log rows that were found by that comparison.", compared.get("found")),
            ("nextlabel_withheld", "Answers and records told as gone instead of believed.", compared.get("withheld")),
        ]
        for name, text, value in gauges:
            if value is not None:
                yield GaugeMetricFamily(name, text, value=float(value))
        if waits := dict(status.label_to_queue):
            total = waits.pop("sum")
            yield HistogramMetricFamily(
                "nextlabel_label_to_queue_seconds",
                "From label to the first queue that knows it, of all labels since the start.",
                buckets=list(waits.items()),
                sum_value=total,
            )
        told = GaugeMetricFamily("nextlabel_notices", "What was set aside, or has happened, by kind.", labels=["kind"])
        for kind, count in status.notice_counts.items():
            told.add_metric([kind], count)
        yield told
        yield InfoMetricFamily("nextlabel_lease", "Who leads.", value={"owner": status.lease.get("owner", "")})
        yield InfoMetricFamily(
            "nextlabel_serving",
            "What is being served.",
            value={"model_version": status.model_version, "generation": status.generation},
        )


def _since(status: Status) -> float | None:
    return datetime.fromisoformat(status.lease["since"]).timestamp() if status.lease else None
