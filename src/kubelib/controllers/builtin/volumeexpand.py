"""Claims that ask for more than they have are told that somebody else has to give it: no storage here grows by itself."""

from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.api.quantity import parse_quantity
from kubelib.clock import Clock
from kubelib.controllers import volumes as binding
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, nothing
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.informers import SharedInformers

NAME = "persistentvolume-expander-controller"
SOURCE = "volume_expand"


def wants_more(claim: PersistentVolumeClaim) -> bool:
    """Return whether a bound claim asks for more than it has."""
    if claim.status.phase != "Bound":
        return False
    has = claim.status.capacity.get("storage")
    return has is None or binding.requested(claim).amount > parse_quantity(has).amount


class ExpandingClaims:
    """A `Reconciler` of claims."""

    def __init__(self, informers: SharedInformers, recorder: Recorder) -> None:
        self._claims = informers.of(PersistentVolumeClaim).cache
        self._recorder = recorder

    async def reconcile(self, key: Key) -> After | None:
        """Tell of one claim."""
        claim = self._claims.view(key)
        if claim is not None and wants_more(claim):
            what = "waiting for an external controller to expand this PVC"
            self._recorder.normal(claim, "ExternalExpanding", what)
        return None


def volume_expand_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller."""
    own = recorder.source(SOURCE)
    claims = informers.of(PersistentVolumeClaim)
    controller = Controller(NAME, ExpandingClaims(informers, own), [(claims, nothing)], recorder=own)

    def changed(old: Document | None, new: Document | None) -> None:
        # It is told once: when the wish grows, not whenever anything else changes.
        if new is None:
            return
        wish = new.view(PersistentVolumeClaim).spec.resources
        if old is None or old.view(PersistentVolumeClaim).spec.resources != wish:
            controller.queue.add(new.key)

    claims.subscribe(changed)
    return controller
