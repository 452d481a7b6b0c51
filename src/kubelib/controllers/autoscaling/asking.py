"""What Pods use, as the group ``metrics.k8s.io`` of the API tells it: served by our API server, or by a metrics server beside it."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from kubelib.api.codec import DecodeError, parse_json
from kubelib.api.errors import ApiError, NotFound
from kubelib.api.quantity import QuantityError, parse_quantity
from kubelib.api.times import parse_duration, parse_time
from kubelib.controllers.autoscaling.metrics import NO_METRICS, MetricsUnavailable, Usage
from kubelib.labels import Selector

Ask = Callable[[str, Mapping[str, str]], Awaitable[bytes]]
"""GETs a path with a query; raises ApiError."""

_UNABLE = "unable to fetch metrics from resource metrics API"


class AskedMetrics:
    """A `kubelib.controllers.autoscaling.PodMetrics` that asks for the ``PodMetrics`` of the API whenever it is asked."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

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
        except (DecodeError, QuantityError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise MetricsUnavailable(f"{_UNABLE}: the answer makes no sense: {error}") from None
        if not found:
            raise MetricsUnavailable("no metrics returned from resource metrics API")
        return found


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
