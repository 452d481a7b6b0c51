"""Policies of the commit point. Others register under ``kubelib.commit_policies``, as a function of the text after the name."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points

from kubelib.api.meta import Key
from kubelib.transactions.base import Claim, Party, Result
from kubelib.transactions.commitpoint import Asking, CommitPolicy, Ground

ENTRY_POINTS = "kubelib.commit_policies"
REMEMBERED = 10_000


class ByPriority:
    """The transaction with the Pod of the highest priority goes first."""

    name = "priority"

    def rank(self, asking: Asking, ground: Ground) -> float:
        """Return less for higher priorities."""
        return -asking.priority


class Precedence:
    """Transactions of some schedulers go before others, in the order in which the schedulers are named."""

    name = "precedence"

    def __init__(self, schedulers: Sequence[str]) -> None:
        """Name schedulers by the ``spec.schedulerName`` of their Pods. Raises ValueError if there is none."""
        if not schedulers:
            raise ValueError("precedence needs names of schedulers, as in precedence=first,second")
        self._place = {scheduler: place for place, scheduler in enumerate(schedulers)}

    def rank(self, asking: Asking, ground: Ground) -> float:
        """Return the best place of those whose Pods are claimed."""
        last = len(self._place)
        return min((self._place.get(scheduler, last) for scheduler in asking.schedulers), default=last)


class FairShares:
    """Who has the smallest dominant share of the cluster, by weight, goes first; and nobody gets more than its limit.

    A limit is a share from 0 to 1: once somebody's Pods take up that much of any resource, its claims are refused.
    """

    name = "fair-shares"

    def __init__(
        self,
        party: Party = "scheduler",
        *,
        weights: Mapping[str, float] | None = None,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        """Share among schedulers or namespaces. Raises ValueError for weights and limits that are not above 0."""
        self._party = party
        self._weights = dict(weights or {})
        self._limits = dict(limits or {})
        for name, value in (*self._weights.items(), *self._limits.items()):
            if not value > 0:
                raise ValueError(f"the weight or limit of {name} is {value:g}: give a number above 0")

    def rank(self, asking: Asking, ground: Ground) -> float:
        """Return the share of the one that has most, of those whose Pods are claimed."""
        return max(
            (
                ground.dominant(self._party, name) / self._weights.get(name, 1.0)
                for name in asking.parties(self._party)
            ),
            default=0.0,
        )

    def refuses(self, asking: Asking, claim: Claim, ground: Ground) -> str:
        """Refuse claims of those who have reached their limit."""
        names = (claim.pod.namespace,) if self._party == "namespace" else asking.schedulers
        for name in names:
            limit = self._limits.get(name)
            if limit is not None and ground.dominant(self._party, name) >= limit:
                return f"{self._party} {name} has its share of {limit:.0%} of the cluster"
        return ""


class Ageing:
    """No Pod starves: those that keep losing get older, and the oldest goes first.

    From `losses` lost transactions in a row on, the commit point is kept free for a Pod for `hold` seconds, so that nobody can be quicker
    while its scheduler looks and decides once more.
    """

    name = "ageing"

    def __init__(self, losses: int = 5, hold: float = 2.0) -> None:
        """Make one. Raises ValueError for numbers that are not above 0."""
        if losses < 1 or not hold > 0:
            raise ValueError(f"ageing after {losses} losses for {hold:g} seconds: give numbers above 0")
        self._losses = losses
        self._hold = hold
        self._lost: OrderedDict[Key, tuple[int, float]] = OrderedDict()

    def age(self, pod: Key) -> int:
        """Return how many transactions a Pod has lost in a row."""
        return self._lost.get(pod, (0, 0.0))[0]

    def rank(self, asking: Asking, ground: Ground) -> float:
        """Return less for older ones; all that are young are equal."""
        oldest = max((self.age(claim.pod) for claim in asking.transaction.claims), default=0)
        return -oldest if oldest >= self._losses else 0

    def decided(self, asking: Asking, result: Result, now: float) -> None:
        """Let those that lost against others get older."""
        for outcome in result.outcomes:
            pod = outcome.claim.pod
            if outcome.cause in ("NoRoom", "Outdated", "Together"):
                self._lost[pod] = self.age(pod) + 1, now
                self._lost.move_to_end(pod)
            else:
                self._lost.pop(pod, None)
        while len(self._lost) > REMEMBERED:
            self._lost.popitem(last=False)

    def held_for(self, now: float) -> tuple[frozenset[Key], float] | None:
        """Keep the commit point free for Pods that have lost too often, a while from when they last did."""
        until, pods = now, []
        for pod, (losses, at) in reversed(self._lost.items()):
            if at + self._hold <= now:
                break
            if losses >= self._losses:
                pods.append(pod)
                until = max(until, at + self._hold)
        return (frozenset(pods), until) if pods else None


def _fair_shares(text: str) -> FairShares:
    """Read ``scheduler`` or ``namespace``, with weights and limits as ``namespace:a=2,b=1:a=50%``."""
    party, _, rest = text.partition(":")
    weights, _, limits = rest.partition(":")
    if party not in ("", "scheduler", "namespace"):
        raise ValueError(f"fair shares are those of a scheduler or a namespace, not of a {party!r}")

    def numbers(pairs: str) -> dict[str, float]:
        found = {}
        for pair in filter(None, pairs.split(",")):
            name, _, value = pair.partition("=")
            try:
                found[name] = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
            except ValueError:
                raise ValueError(
                    f"{pair!r} is not a name with a number, as in team-a=2 or team-a=50%"
                ) from None
        return found

    kind: Party = "namespace" if party == "namespace" else "scheduler"
    return FairShares(kind, weights=numbers(weights), limits=numbers(limits))


def _ageing(text: str) -> Ageing:
    """Read a number of losses and, after a colon, for how many seconds the commit point is kept free then."""
    losses, _, hold = text.partition(":")
    if losses and not losses.isdecimal():
        raise ValueError(f"ageing begins after a number of losses, not {losses!r}")
    try:
        return Ageing(int(losses or 5), float(hold or 2.0))
    except ValueError as error:
        why = f"ageing keeps the commit point free for a number of seconds, not {hold!r}"
        raise ValueError(str(error) if str(error).startswith("ageing") else why) from None


def _by_priority(text: str) -> ByPriority:
    if text:
        raise ValueError("priority takes no argument")
    return ByPriority()


def _precedence(text: str) -> Precedence:
    return Precedence([name for name in text.split(",") if name])


COMMIT_POLICIES: dict[str, Callable[[str], CommitPolicy]] = {
    "priority": _by_priority,
    "precedence": _precedence,
    "fair-shares": _fair_shares,
    "ageing": _ageing,
}


def load_commit_policy(text: str) -> CommitPolicy:
    """Return a policy as ``NAME`` or ``NAME=ARGUMENT`` says it. Raises ValueError that says what would be right."""
    name, _, argument = text.partition("=")
    if name in COMMIT_POLICIES:
        return COMMIT_POLICIES[name](argument)
    installed = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in installed:
        raise ValueError(
            f"no commit policy {name!r}; there are: {', '.join(sorted({*COMMIT_POLICIES, *installed}))}"
        )
    make: Callable[[str], CommitPolicy] = installed[name].load()
    return make(argument)
