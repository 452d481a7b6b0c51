"""The filter about devices. It looks at what is known of claims to them besides rows, and concerns only Pods that have some."""

from collections.abc import Sequence

from kubelib.sched.base import BoolColumn, Happening, Rows
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.filters import selector_matches

LACKING = "cannot allocate all claims"
ELSEWHERE = "resourceclaim not available on the node"


class HasDevices:
    """The Pod's claims have been given devices, and these can be used on the node."""

    name = "DynamicResources"
    retry_on: frozenset[Happening] = frozenset({"node", "devices"})

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Only Pods with claims to devices are concerned."""
        return bool(pod.devices)

    def refuses(self, pod: PodInfo, nodes: NodeTable) -> str:
        """Return why no node at all will do."""
        return nodes.devices.needs(pod).outright

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        needs = nodes.devices.needs(pod)
        if needs.outright or needs.lacking:
            return False
        result: BoolColumn | bool = True
        for selector in needs.where:
            result = selector_matches(selector, nodes, rows) & result
        return result

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Name what is wrong."""
        needs = nodes.devices.needs(pod)
        return (needs.outright or (LACKING if needs.lacking else ELSEWHERE),)
