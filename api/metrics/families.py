"""Declared metrics with their values, as prometheus_client takes them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from models.declarations.metrics import COUNTED, Counter, Gauge


def gauge(metric: Gauge, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(metric.name, metric.help, value=value)


def labelled_gauge(metric: Gauge, values: Iterable[tuple[Sequence[str], float]], labels: Sequence[str] = ()) -> Metric:
    """A gauge by the values of its labels, or of others where only a scrape knows which there are."""
    family = GaugeMetricFamily(metric.name, metric.help, labels=labels or metric.labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def counter(metric: Counter, values: Iterable[tuple[str | None, float]]) -> Metric:
    """A counter by the values of its label; its one value under None where it has no label."""
    family = CounterMetricFamily(
        metric.name.removesuffix("_total"), metric.help, labels=[metric.label] if metric.label else []
    )
    for label_value, value in values:
        family.add_metric([] if label_value is None else [label_value], value)
    return family


def counted_families(fields: Mapping[str, float]) -> Iterator[Metric]:
    """What processes have counted, out of the fields of the state Redis."""
    for metric in COUNTED:
        if isinstance(metric, Counter):
            yield counter(metric, metric.read(fields))
        else:
            buckets, total = metric.read(fields)
            family = HistogramMetricFamily(metric.name, metric.help, labels=[])
            family.add_metric([], buckets, total)
            yield family
