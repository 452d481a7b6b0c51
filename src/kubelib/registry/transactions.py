"""Transactions of schedulers elsewhere: what they send is carried out, answered with what became of it, and not kept."""

from collections.abc import Iterator
from typing import Any, cast

from kubelib.api import codec
from kubelib.api.core.pod import Binding
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, Forbidden, Problem, invalid
from kubelib.api.meta import Key
from kubelib.api.scheme import Tree
from kubelib.api.validation import problems
from kubelib.registry.base import DEFAULT_OPTIONS, User, WriteOptions
from kubelib.registry.binding import land
from kubelib.registry.generic import GenericRegistry
from kubelib.transactions.base import Claim, Commit, Detection, Outcome, Transaction

DETECTIONS: dict[str, Detection] = {"Fine": "fine", "Coarse": "coarse"}
COMMITS: dict[str, Commit] = {"Incremental": "incremental", "AllOrNothing": "all-or-nothing"}
LONGEST_ID = 253
MOST_CLAIMS = 10_000


class Transactions(GenericRegistry):
    """The registry of Transaction, which stores no object."""

    async def create(
        self,
        tree: Tree,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
        options: WriteOptions = DEFAULT_OPTIONS,
    ) -> Document:
        """Carry out a transaction. Besides creating transactions, users must be allowed to bind the Pods that they claim."""
        self._check_fields(tree, options)
        meta, spec = tree.get("metadata") or {}, tree.get("spec") or {}
        found = list(_problems(meta, spec))
        if found:
            raise invalid("Transaction", self.resource.group, meta.get("name") or "", found)
        transaction = _read(meta, spec)
        self._require_allowed(options.user, transaction)
        await self.catch_up()
        pods = self.owner.of(self.owner.scheme.path("", "v1", "pods"))
        refused = await self._refused(pods, transaction, options)
        result = await land(
            pods, transaction, user=options.user.name, dry_run=options.dry_run, refused=refused
        )
        status: Tree = {
            "outcomes": [_shown(outcome) for outcome in result.outcomes],
            "landed": result.landed,
            "conflicts": result.conflicts,
        }
        if result.revision:
            status["resourceVersion"] = str(result.revision)
        if result.repeated:
            status["repeated"] = True
        answer = {"kind": "Transaction", "apiVersion": self.resource.api_version}
        return Document(codec.encode_json({**answer, "metadata": meta, "spec": spec, "status": status}))

    def _require_allowed(self, user: User, transaction: Transaction) -> None:
        allows = self.owner.allows
        for namespace in dict.fromkeys(claim.pod.namespace for claim in transaction.claims):
            if allows is not None and not allows(user, "create", "", "pods", "binding", namespace, ""):
                raise Forbidden(
                    f'transactions.{self.resource.group} is forbidden: User "{user.name}" cannot create resource'
                    f' "pods/binding" in API group "" in the namespace "{namespace}"',
                    group=self.resource.group,
                    kind=self.resource.plural,
                )

    @staticmethod
    async def _refused(
        pods: GenericRegistry, transaction: Transaction, options: WriteOptions
    ) -> dict[Claim, ApiError]:
        """Show each claim to admission as the binding that it is; return those that it refuses."""
        refused: dict[Claim, ApiError] = {}
        if not pods.owner.admission.concerns("create", pods.resource, "binding"):
            return refused
        for claim in transaction.claims:
            meta = {"name": claim.pod.name, "namespace": claim.pod.namespace}
            target = {"kind": "Node", "apiVersion": "v1", "name": claim.node}
            tree: dict[str, Any] = {
                "kind": Binding.kind,
                "apiVersion": "v1",
                "metadata": meta,
                "target": target,
            }
            try:
                await pods.admit("create", claim.pod, tree, None, options, "binding")
            except ApiError as error:
                refused[claim] = error
        return refused


def _read(meta: Tree, spec: Tree) -> Transaction:
    claims = [
        Claim(
            Key(claim["namespace"], claim["name"]),
            claim.get("uid") or "",
            claim["node"],
            int(claim.get("seenResourceVersion") or 0),
        )
        for claim in spec["claims"]
    ]
    return Transaction(
        claims=claims,
        id=meta.get("name") or "",
        scheduler=spec.get("scheduler") or "",
        detection=DETECTIONS[spec.get("detection") or "Fine"],
        commit=COMMITS[spec.get("commit") or "Incremental"],
    )


def _problems(meta: Tree, spec: Tree) -> Iterator[Problem]:
    name = meta.get("name") or ""
    if len(name) > LONGEST_ID:
        yield problems.too_long("metadata.name", LONGEST_ID)
    elif any(not ("!" < letter <= "~") or letter == "/" for letter in name):
        yield problems.invalid("metadata.name", name, "must be printable ASCII without spaces and '/'")
    for field, allowed in (("detection", DETECTIONS), ("commit", COMMITS)):
        value = spec.get(field) or ""
        if value and value not in allowed:
            yield problems.not_supported(f"spec.{field}", value, allowed)
    claims = cast("list[Tree]", spec.get("claims") or [])
    if not claims:
        yield problems.required("spec.claims", "must claim at least one node for a pod")
    if len(claims) > MOST_CLAIMS:
        yield problems.too_many("spec.claims", len(claims), MOST_CLAIMS)
        return
    pods: set[tuple[str, str]] = set()
    for number, claim in enumerate(claims):
        path = f"spec.claims[{number}]"
        for field in ("namespace", "name", "node"):
            if not claim.get(field):
                yield problems.required(f"{path}.{field}")
        pod = (claim.get("namespace") or "", claim.get("name") or "")
        if pod in pods:
            yield problems.duplicate(path, "/".join(pod))
        pods.add(pod)
        seen = claim.get("seenResourceVersion") or ""
        if seen and not (seen.isascii() and seen.isdecimal()):
            yield problems.invalid(f"{path}.seenResourceVersion", seen, "must be a resource version")
        if not seen and spec.get("detection") == "Coarse":
            yield problems.required(f"{path}.seenResourceVersion", "must be given where detection is Coarse")


def _shown(outcome: Outcome) -> Tree:
    if outcome.error is None:
        return {"bound": True}
    shown = {
        "bound": False,
        "cause": outcome.cause,
        "message": str(outcome.error),
        "code": outcome.error.code,
    }
    return {name: value for name, value in shown.items() if value != ""}
