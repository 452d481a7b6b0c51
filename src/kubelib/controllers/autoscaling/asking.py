"""Metrics as the API tells them: what Pods use (``metrics.k8s.io``), and what adapters know, each in a group of its own."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import anyio

from kubelib.api.codec import DecodeError, parse_json
from kubelib.api.errors import ApiError, NotFound
from kubelib.api.quantity import QuantityError, parse_quantity
from kubelib.api.times import parse_duration, parse_time
from kubelib.controllers.autoscaling.metrics import NO_METRICS, MetricsUnavailable, Usage
from kubelib.labels import Selector

T = TypeVar("T")
Ask = Callable[[str, Mapping[str, str]], Awaitable[bytes]]
"""GETs a path with a query; raises ApiError."""

_UNABLE = "unable to fetch metrics from resource metrics API"


_CUSTOM, _EXTERNAL = "custom.metrics.k8s.io", "external.metrics.k8s.io"
_KNOWN = ("v1beta2", "v1beta1")
"""The versions of the custom metrics that are understood."""
REMEMBERED = 15.0
"""For how many seconds the version that is served is remembered."""
_NONSENSE = (DecodeError, QuantityError, LookupError, TypeError, ValueError, AttributeError)


class AskedMetrics:
    """A `kubelib.controllers.autoscaling.PodMetrics`, with what adapters know, that asks the API whenever it is asked."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._version = ("", 0.0)

    async def usage(self, namespace: str, selector: Selector) -> Mapping[str, Usage]:
        """Return what the Pods of a namespace use, by their name. Raises `MetricsUnavailable`."""
        path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"
        try:
            tree = parse_json(await self._ask(path, {"labelSelector": str(selector)}))
            found = {item["metadata"]["name"]: _usage(item) for item in tree["items"] or ()}
        except NotFound:
            raise MetricsUnavailable(f"{_UNABLE}: {NO_METRICS}") from None
        except ApiError as error:
            raise MetricsUnavailable(f"{_UNABLE}: {error} (get pods.metrics.k8s.io)") from None
        except _NONSENSE as error:
            raise MetricsUnavailable(f"{_UNABLE}: the answer makes no sense: {error}") from None
        if not found:
            raise MetricsUnavailable("no metrics returned from resource metrics API")
        return found

    async def of_pods(
        self, namespace: str, metric: str, pods: Selector, selector: Selector | None
    ) -> Mapping[str, int]:
        """Return a metric of Pods, in thousandths, by their name. Raises `MetricsUnavailable`."""
        path = f"namespaces/{namespace}/pods/*/{metric}"
        query = {"labelSelector": str(pods), "metricLabelSelector": str(selector or "")}
        found = await self._custom(path, query, lambda item: (item["describedObject"]["name"], _value(item)))
        if not found:
            raise MetricsUnavailable("no metrics returned from custom metrics API")
        return dict(found)

    async def of_object(
        self, namespace: str, metric: str, resource: str, name: str, selector: Selector | None
    ) -> int:
        """Return a metric of one object, or of the namespace, in thousandths. Raises `MetricsUnavailable`."""
        of = f"{resource}/{name}" if resource else "metrics"
        query = {"metricLabelSelector": str(selector or "")}
        found = await self._custom(f"namespaces/{namespace}/{of}/{metric}", query, _value)
        if len(found) != 1:
            what = (
                f"the custom metrics API server returned {len(found)} results when we asked for exactly one"
            )
            raise MetricsUnavailable(f"unable to fetch metrics from custom metrics API: {what}")
        return found[0]

    async def external(self, namespace: str, metric: str, selector: Selector | None) -> Sequence[int]:
        """Return the values of a metric from outside, in thousandths. Raises `MetricsUnavailable`."""
        unable = "unable to fetch metrics from external metrics API"
        path = f"/apis/{_EXTERNAL}/v1beta1/namespaces/{namespace}/{metric}"
        found = await self._items(
            path, {"labelSelector": str(selector or "")}, unable, f"{metric}.{_EXTERNAL}", _value
        )
        if not found:
            raise MetricsUnavailable("no metrics returned from external metrics API")
        return found

    async def _custom(self, path: str, query: Mapping[str, str], read: Callable[[Any], T]) -> list[T]:
        unable = "unable to fetch metrics from custom metrics API"
        version, until = self._version
        if anyio.current_time() >= until:
            version = await self._served(unable)
            self._version = version, anyio.current_time() + REMEMBERED
        resource = path.split("/")[2]
        return await self._items(
            f"/apis/{_CUSTOM}/{version}/{path}", query, unable, f"{resource}.{_CUSTOM}", read
        )

    async def _served(self, unable: str) -> str:
        """Return the version in which custom metrics are served, the one that the server prefers if it is understood."""
        try:
            tree = parse_json(await self._ask(f"/apis/{_CUSTOM}", {}))
            versions = [tree["preferredVersion"]["version"], *(v["version"] for v in tree["versions"])]
        except NotFound:
            raise MetricsUnavailable(f"{unable}: no custom metrics API ({_CUSTOM}) registered") from None
        except ApiError as error:
            raise MetricsUnavailable(f"{unable}: {error}") from None
        except _NONSENSE as error:
            raise MetricsUnavailable(f"{unable}: the answer makes no sense: {error}") from None
        for version in versions:
            if version in _KNOWN:
                return str(version)
        raise MetricsUnavailable(f"{unable}: no known available metric versions found")

    async def _items(
        self, path: str, query: Mapping[str, str], unable: str, resource: str, read: Callable[[Any], T]
    ) -> list[T]:
        try:
            answer = await self._ask(path, {key: value for key, value in query.items() if value})
            return [read(item) for item in parse_json(answer)["items"] or ()]
        except NotFound as error:
            # Where nobody answers for the path there is no more to say; an adapter says what it does not know.
            known = error.reason == "NotFound" and "404 page not found" not in str(error)
            why = (
                str(error) if known else f"the server could not find the requested resource (get {resource})"
            )
            raise MetricsUnavailable(f"{unable}: {why}") from None
        except ApiError as error:
            raise MetricsUnavailable(f"{unable}: {error}") from None
        except _NONSENSE as error:
            raise MetricsUnavailable(f"{unable}: the answer makes no sense: {error}") from None


def _value(item: Any) -> int:
    return parse_quantity(item["value"]).milli()


def _usage(item: Any) -> Usage:
    containers = {
        container["name"]: {
            resource: parse_quantity(amount).milli() for resource, amount in container["usage"].items()
        }
        for container in item["containers"]
    }
    at, window = item.get("timestamp"), item.get("window")
    since = parse_time(at) - timedelta(seconds=parse_duration(window)) if at and window else None
    return Usage(containers, since)
