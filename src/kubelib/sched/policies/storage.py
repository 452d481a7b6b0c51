"""Filters about volumes. All look at what is known of storage besides rows, and concern only Pods that have some."""

from collections.abc import Iterator, Sequence, Set

import attrs
import numpy as np

from kubelib.api.claiming import NO_PROVISIONER, SELECTED_NODE, class_of, requested
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.references import NodeSelectorRequirement, NodeSelectorTerm
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Key
from kubelib.sched.base import BoolColumn, Happening, Rows
from kubelib.sched.nodes import NodeTable
from kubelib.sched.nodeselectors import named, term_matches
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.filters import LABELS

STORAGE: frozenset[Happening] = LABELS | {"own claim", "supply"}
STORAGE_OR_ROOM: frozenset[Happening] = STORAGE | {"pod gone"}

ZONES = {
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
"""Labels that say where a volume or node is, and what each is called today."""


def reaches(volume: PersistentVolume, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
    """Return which nodes a volume can be reached from."""
    affinity = volume.spec.node_affinity
    if affinity is None or affinity.required is None:
        return True
    one_does: BoolColumn | bool = False
    for term in affinity.required.node_selector_terms:
        one_does = term_matches(term, nodes, rows) | one_does
    return one_does


@attrs.define
class Arrangement:
    """How late claims would get their volumes, node by node."""

    fits: BoolColumn
    short: BoolColumn
    """Where somebody would make a volume, if there were enough storage."""
    given: list[tuple[PersistentVolumeClaim, PersistentVolume, BoolColumn]]
    """Volumes that there are, for which claim, and where."""


def arrange(pod: PodInfo, nodes: NodeTable, rows: Rows) -> Arrangement:
    """Find a volume for each late claim of a Pod, small claims first, or somebody who would make one."""
    fits = np.ones(len(nodes.present[rows]), bool)
    arrangement = Arrangement(fits, np.zeros(len(fits), bool), [])
    for claim in sorted(nodes.volumes.wanted(pod).late, key=lambda c: (requested(c).amount, c.metadata.name)):
        selected = claim.metadata.annotations.get(SELECTED_NODE, "")
        if selected:
            fits &= named((selected,), nodes, rows)
            continue
        lacking, kept = fits.copy(), False
        for volume in nodes.volumes.candidates(claim):
            kept = kept or nodes.volumes.is_kept(volume)
            here = lacking & reaches(volume, nodes, rows)
            for _, other, there in arrangement.given:
                if other is volume:
                    here &= ~there
            if here.any():
                arrangement.given.append((claim, volume, here))
                lacking &= ~here
            if not lacking.any():
                break
        else:
            made = ~lacking | (False if kept else _can_be_made(claim, nodes, rows))
            space = ~lacking | _has_space(claim, nodes, rows)
            arrangement.short |= fits & made & ~space
            fits &= made & space
    return arrangement


def _can_be_made(claim: PersistentVolumeClaim, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
    storage_class = nodes.volumes.classes.get(class_of(claim))
    if storage_class is None or storage_class.provisioner in ("", NO_PROVISIONER):
        return False
    if not storage_class.allowed_topologies:
        return True
    one_does: BoolColumn | bool = False
    for term in storage_class.allowed_topologies:
        all_do: BoolColumn | bool = True
        for requirement in term.match_label_expressions:
            all_do = nodes.label(requirement.key).among(requirement.values, rows) & all_do
        one_does = all_do | one_does
    return one_does


def _has_space(claim: PersistentVolumeClaim, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
    """Return from where enough storage for a claim can be reached, as far as its driver keeps count of it."""
    offers = offers_for(claim, nodes)
    if offers is None:
        return True
    topologies = [topology for topology, _ in offers]
    result: BoolColumn | bool = False
    # Most say one value of one label, that of a node or a zone: all of them are looked for at once.
    places: dict[str, set[str | None]] = {}
    for topology in topologies:
        if len(topology.match_labels) == 1 and not topology.match_expressions:
            ((key, value),) = topology.match_labels.items()
            places.setdefault(key, set()).add(value)
        else:
            result = selects(topology, nodes, rows) | result
    for key, values in places.items():
        result = nodes.label(key).judge(values.__contains__, rows) | result
    return result


def offers_for(claim: PersistentVolumeClaim, nodes: NodeTable) -> Sequence[tuple[LabelSelector, int]] | None:
    """Return for which nodes there is enough storage for a claim, and how much in all; None if nobody keeps count of it."""
    storage_class = nodes.volumes.classes.get(class_of(claim))
    if storage_class is None or "storage" not in claim.spec.resources.requests:
        return None
    return nodes.volumes.capacities.offers(storage_class, requested(claim).value())


def selects(selector: LabelSelector, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
    """Return which nodes a selector of labels matches; an empty one matches all."""
    wanted = [
        NodeSelectorRequirement(key=key, operator="In", values=(value,))
        for key, value in selector.match_labels.items()
    ]
    wanted += [
        NodeSelectorRequirement(key=e.key, operator=e.operator, values=e.values)
        for e in selector.match_expressions
    ]
    return term_matches(NodeSelectorTerm(match_expressions=tuple(wanted)), nodes, rows) if wanted else True


class FindsVolumes:
    """The Pod's claims have volumes that the node reaches, or can get some there."""

    name = "VolumeBinding"
    retry_on = STORAGE

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Only Pods with claims are concerned."""
        return bool(pod.claims)

    def refuses(self, pod: PodInfo, nodes: NodeTable) -> str:
        """Return why no node at all will do."""
        return nodes.volumes.wanted(pod).outright

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        wanted = nodes.volumes.wanted(pod)
        if wanted.outright:
            return False
        result: BoolColumn | bool = True
        for volume in wanted.bound:
            result = (volume is not None and reaches(volume, nodes, rows)) & result
        if wanted.late:
            result = arrange(pod, nodes, rows).fits & result
        return result

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Name what is wrong."""
        wanted, alone = nodes.volumes.wanted(pod), np.array([row])
        if wanted.outright:
            return (wanted.outright,)
        reasons = []
        if any(v is None for v in wanted.bound):
            reasons.append("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
        if not all(np.all(reaches(v, nodes, alone)) for v in wanted.bound if v is not None):
            reasons.append("node(s) didn't match PersistentVolume's node affinity")
        arrangement = arrange(pod, nodes, alone)
        if arrangement.short.any():
            reasons.append("node(s) did not have enough free storage")
        elif not arrangement.fits.all():
            reasons.append("node(s) didn't find available persistent volumes to bind")
        return reasons


class IsInVolumeZone:
    """The node is in the zone and region that the labels of the Pod's volumes name."""

    name = "VolumeZone"
    retry_on = STORAGE

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Only Pods with claims are concerned."""
        return bool(pod.claims)

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        result: BoolColumn | bool = True
        for key, values in self._places(pod, nodes):
            somewhere = ~nodes.label(key).among((None,), rows)
            here = nodes.label(key).among(values, rows)
            if ZONES[key] != key:
                here = here | (~somewhere & nodes.label(ZONES[key]).among(values, rows))
            result = here & result
        # Nodes that say nothing of where they are are taken to be anywhere.
        return result if result is True else result | self._are_nowhere(nodes, rows)

    def _places(self, pod: PodInfo, nodes: NodeTable) -> Iterator[tuple[str, Sequence[str]]]:
        for volume in nodes.volumes.wanted(pod).bound:
            for key, value in volume.metadata.labels.items() if volume is not None else ():
                if key in ZONES:
                    yield key, [part.strip() for part in value.split("__")]

    def _are_nowhere(self, nodes: NodeTable, rows: Rows) -> BoolColumn:
        nowhere = np.ones(len(nodes.present[rows]), bool)
        for key in ZONES:
            nowhere &= nodes.label(key).among((None,), rows)
        return nowhere

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say so."""
        return ("node(s) had no available volume zone",)


class KeepsVolumeLimits:
    """The node may have as many volumes of each driver as it would have with the Pod: CSINode says how many.

    Those count that Pods there use, and those that are attached to it without one. Drivers that say so must be there at all.
    """

    name = "NodeVolumeLimits"
    retry_on = STORAGE_OR_ROOM

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Only Pods with claims are concerned, where there are limits or drivers that must be there."""
        return bool(pod.claims) and bool(nodes.volumes.limits or nodes.volumes.indispensable)

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        wanted = nodes.volumes.handles(pod)
        needed = wanted.keys() & nodes.volumes.indispensable
        if not (needed or nodes.volumes.limits):
            return True
        return np.array(
            [
                self._runs(needed, nodes, row) and self._has_place(wanted, nodes, row)
                for row in nodes.indices(rows)
            ],
            bool,
        )

    def _runs(self, drivers: Set[str], nodes: NodeTable, row: int) -> bool:
        return not drivers or drivers <= nodes.volumes.drivers.get(nodes.names[row], frozenset())

    def _has_place(self, wanted: dict[str, set[str]], nodes: NodeTable, row: int) -> bool:
        limits = nodes.volumes.limits.get(nodes.names[row])
        if limits is None or not any(driver in limits for driver in wanted):
            return True
        there = nodes.volumes.attached(nodes.names[row])
        for other in nodes.pods_on(row):
            if other.claims:
                for driver, handles in nodes.volumes.handles(other).items():
                    there.setdefault(driver, set()).update(handles)
        for driver, handles in wanted.items():
            attached = there.get(driver, set())
            if driver in limits and not handles <= attached and len(attached | handles) > limits[driver]:
                return False
        return True

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Name what is wrong."""
        needed = nodes.volumes.handles(pod).keys() & nodes.volumes.indispensable
        for driver in sorted(needed - nodes.volumes.drivers.get(nodes.names[row], frozenset())):
            return (f"{driver} CSI driver is not installed on the node",)
        return ("node(s) exceed max volume count",)


class SharesVolumes:
    """Nobody uses a volume of the Pod's in a way that leaves no place for another user."""

    name = "VolumeRestrictions"
    retry_on = STORAGE_OR_ROOM

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Only Pods with claims or disks are concerned."""
        return bool(pod.claims or pod.disks)

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        if self._is_alone_in_use(pod, nodes):
            return False
        taken = nodes.volumes.rows_without(pod.disks)
        if not taken:
            return True
        free = np.ones(nodes.size, bool)
        free[list(taken)] = False
        return free[rows]

    def _is_alone_in_use(self, pod: PodInfo, nodes: NodeTable) -> bool:
        for name, _ in pod.claims:
            key = Key(pod.namespace, name)
            claim = nodes.volumes.claim(key) if nodes.volumes.is_used(key) else None
            if claim is not None and "ReadWriteOncePod" in claim.spec.access_modes:
                return True
        return False

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Name what is wrong."""
        if row in nodes.volumes.rows_without(pod.disks):
            return ("node(s) had no available disk",)
        return (
            "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod",
        )
