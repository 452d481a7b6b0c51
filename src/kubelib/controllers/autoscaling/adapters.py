"""What is said of metrics that only an adapter could tell: there is none here. Pure."""

from kubelib.api.autoscaling_v2 import MetricSpec
from kubelib.api.codec import encode_json, parse_json
from kubelib.api.columns.cells import go_selector_text
from kubelib.controllers.autoscaling.metrics import CannotCompute

NO_CUSTOM = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"


class NeedsAdapter(CannotCompute):
    """A metric that nobody tells: the message of conditions, and `told` where several metrics are spoken of."""

    def __init__(self, message: str, told: str = "") -> None:
        super().__init__(message)
        self.told = told or message


def require_no_adapter(metric: MetricSpec, namespace: str) -> None:
    """Raise `NeedsAdapter` for a metric that is not what containers use."""
    if (pods := metric.pods) is not None:
        raise NeedsAdapter(f"unable to get metric {pods.metric.name}: {NO_CUSTOM}")
    if (of := metric.object) is not None:
        described, name = of.described_object, of.metric.name
        # Kubernetes has the parts of this sentence in this order.
        what = f"unable to get metric {name}: {described.kind} on {namespace} {described.name}/{NO_CUSTOM}"
        averaged = of.target.type == "AverageValue"
        raise NeedsAdapter(what, f"failed to get {name} object metric: {what}" if averaged else "")
    if (external := metric.external) is not None:
        name, selector = external.metric.name, external.metric.selector
        labels = go_selector_text(parse_json(encode_json(selector))) if selector is not None else "nil"
        what = (
            f"unable to get external metric {namespace}/{name}/{labels}: unable to fetch metrics from external"
            f" metrics API: the server could not find the requested resource (get {name}.external.metrics.k8s.io)"
        )
        averaged = external.target.type == "AverageValue"
        which = f"{name} external metric" if averaged else f"external metric {name}"
        raise NeedsAdapter(what, f"failed to get {which}: {what}")
