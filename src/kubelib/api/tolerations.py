"""When a toleration puts up with a taint: the same for Pods on nodes and for claims of devices."""

from kubelib.api.core.affinity import Toleration
from kubelib.api.core.node import Taint
from kubelib.api.resource import DeviceTaint, DeviceToleration


def tolerates(toleration: Toleration | DeviceToleration, taint: Taint | DeviceTaint) -> bool:
    """Return whether a toleration puts up with a taint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.operator in ("", "Equal") and toleration.value == taint.value
