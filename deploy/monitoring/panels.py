"""What dashboards are made of: panels with queries, and the forms that queries have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """An expression of PromQL, and how Grafana calls its series."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph over time."""

    title: str
    unit: str
    """As Grafana calls it."""
    queries: tuple[Query, ...]
    meaning: str = ""
    is_rare: bool = False
    """Whether there is nothing to show until something has gone wrong, or is seldom used."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Panels about one subject."""

    name: str
    title: str
    panels: tuple[Panel, ...]


_RATE = "[$__rate_interval]"


def rate(series: str, *by: str, selector: str = "") -> str:
    """Return the sum of a counter's rates, by labels."""
    grouping = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouping} (rate({series}{selector}{_RATE}))"


def quantile(share: float, histogram: str, *by: str, selector: str = "") -> str:
    """Return a quantile of a histogram, by labels."""
    return (
        f"histogram_quantile({share}, {rate(f'{histogram}_bucket', *by, 'le', selector=selector)})"
    )


def rare(expression: str) -> str:
    """Return 0 where an expression has no series yet."""
    return f"{expression} or vector(0)"


def one(
    title: str,
    unit: str,
    expression: str,
    legend: str,
    meaning: str = "",
    *,
    is_rare: bool = False,
) -> Panel:
    """Return a panel with one query."""
    return Panel(title, unit, (Query(expression, legend),), meaning, is_rare)


def quantiles(title: str, histogram: str, *by: str, selector: str = "") -> Panel:
    """Return a panel with the median and two high quantiles of a histogram of seconds."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    return Panel(
        title,
        "s",
        tuple(
            Query(quantile(share, histogram, *by, selector=selector), f"p{share * 100:g} {legend}")
            for share in (0.5, 0.95, 0.99)
        ),
    )
