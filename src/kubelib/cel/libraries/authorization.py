"""Kubernetes' library of authorization checks: ``authorizer.group('apps').resource('deployments').check('create').allowed()``."""

from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from kubelib.cel import types
from kubelib.cel.base import EvaluationError
from kubelib.cel.library import Library
from kubelib.cel.types import Type
from kubelib.cel.values import Opaque

AUTHORIZER = types.opaque("kubernetes.authorization.Authorizer")
PATH_CHECK = types.opaque("kubernetes.authorization.PathCheck")
GROUP_CHECK = types.opaque("kubernetes.authorization.GroupCheck")
RESOURCE_CHECK = types.opaque("kubernetes.authorization.ResourceCheck")
DECISION = types.opaque("kubernetes.authorization.Decision")


@attrs.frozen(kw_only=True)
class Question:
    """What somebody wants to do."""

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    service_account: str = ""
    """``namespace:name`` when it is not the user of the request who asks."""
    field_selector: str = ""
    label_selector: str = ""


@attrs.frozen
class Answer:
    """Whether it is allowed, and why."""

    allowed: bool
    reason: str = ""
    error: str = ""


Ask = Callable[[Question], Answer]


@attrs.frozen(eq=False)
class Authorizer(Opaque):
    """Answers for the user of a request, or for a service account."""

    cel_type: ClassVar[Type] = AUTHORIZER
    ask: Ask
    question: Question = Question()


@attrs.frozen(eq=False)
class PathCheck(Authorizer):
    """About a path that is no resource."""

    cel_type: ClassVar[Type] = PATH_CHECK


@attrs.frozen(eq=False)
class GroupCheck(Authorizer):
    """About an API group."""

    cel_type: ClassVar[Type] = GROUP_CHECK


@attrs.frozen(eq=False)
class ResourceCheck(Authorizer):
    """About a resource."""

    cel_type: ClassVar[Type] = RESOURCE_CHECK


@attrs.frozen
class Decision(Opaque):
    """An answer."""

    cel_type: ClassVar[Type] = DECISION
    answer: Answer


AUTHORIZATION = Library()
AUTHORIZATION.types.update(
    {type_.name: type_ for type_ in (AUTHORIZER, PATH_CHECK, GROUP_CHECK, RESOURCE_CHECK, DECISION)}
)
_add = AUTHORIZATION.add
_CHECK_COST = 350_000
_A = "kubernetes.authorization"


def _with(kind: type[Authorizer], field: str) -> Callable[[Authorizer, str], Authorizer]:
    return lambda before, value: kind(before.ask, attrs.evolve(before.question, **{field: value}))


def _path(before: Authorizer, path: str) -> PathCheck:
    if not path:
        raise EvaluationError("path must not be empty")
    return PathCheck(before.ask, attrs.evolve(before.question, path=path))


def _service_account(before: Authorizer, namespace: str, name: str) -> Authorizer:
    from kubelib.cel.libraries.formats import CHECKS

    if CHECKS["dns1123Subdomain"](name):
        raise EvaluationError(f"Invalid service account name: {CHECKS['dns1123Subdomain'](name)[0]}")
    if CHECKS["dns1123Label"](namespace):
        raise EvaluationError(f"Invalid service account namespace: {CHECKS['dns1123Label'](namespace)[0]}")
    return Authorizer(before.ask, attrs.evolve(before.question, service_account=f"{namespace}:{name}"))


def _check(before: Authorizer, verb: str) -> Decision:
    return Decision(before.ask(attrs.evolve(before.question, verb=verb)))


def _estimate(_: Any) -> Any:
    from kubelib.cel.base import Cost
    from kubelib.cel.estimate import CallEstimate

    return CallEstimate(Cost(_CHECK_COST, _CHECK_COST))


_add(f"{_A}.Authorizer.path(string) {_A}.PathCheck", _path)
_add(f"{_A}.Authorizer.group(string) {_A}.GroupCheck", _with(GroupCheck, "group"))
_add(f"{_A}.Authorizer.serviceAccount(string, string) {_A}.Authorizer", _service_account)
_add(f"{_A}.GroupCheck.resource(string) {_A}.ResourceCheck", _with(ResourceCheck, "resource"))
_add(f"{_A}.ResourceCheck.subresource(string) {_A}.ResourceCheck", _with(ResourceCheck, "subresource"))
_add(f"{_A}.ResourceCheck.namespace(string) {_A}.ResourceCheck", _with(ResourceCheck, "namespace"))
_add(f"{_A}.ResourceCheck.name(string) {_A}.ResourceCheck", _with(ResourceCheck, "name"))
_add(f"{_A}.ResourceCheck.fieldSelector(string) {_A}.ResourceCheck", _with(ResourceCheck, "field_selector"))
_add(f"{_A}.ResourceCheck.labelSelector(string) {_A}.ResourceCheck", _with(ResourceCheck, "label_selector"))
_add(f"{_A}.PathCheck.check(string) {_A}.Decision", _check, cost=_CHECK_COST, estimate=_estimate)
_add(f"{_A}.ResourceCheck.check(string) {_A}.Decision", _check, cost=_CHECK_COST, estimate=_estimate)
_add(f"{_A}.Decision.allowed() bool", lambda decision: decision.answer.allowed)
_add(f"{_A}.Decision.reason() string", lambda decision: decision.answer.reason)
_add(f"{_A}.Decision.errored() bool", lambda decision: bool(decision.answer.error))
_add(f"{_A}.Decision.error() string", lambda decision: decision.answer.error)
