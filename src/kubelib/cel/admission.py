"""What expressions of admission may use: the object, the request, parameters, the namespace, the authorizer, and variables.

Match conditions of webhooks and the expressions of admission policies share it; the names are those of Kubernetes.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kubelib.cel import types
from kubelib.cel.base import CelError, Expression
from kubelib.cel.environment import Environment
from kubelib.cel.libraries.authorization import AUTHORIZER, RESOURCE_CHECK
from kubelib.cel.types import DYN, STRING, Field, Type, list_of, map_of, object_of


def _record(name: str, /, **fields: Type) -> Type:
    known = {field: Field(field, type_) for field, type_ in fields.items()}
    return object_of(name, lambda: known)


_KIND = _record("kubernetes.GroupVersionKind", group=STRING, version=STRING, kind=STRING)
_RESOURCE = _record("kubernetes.GroupVersionResource", group=STRING, version=STRING, resource=STRING)
_USER = _record(
    "kubernetes.UserInfo",
    username=STRING,
    uid=STRING,
    groups=list_of(STRING),
    extra=map_of(STRING, list_of(STRING)),
)
REQUEST = _record(
    "kubernetes.AdmissionRequest",
    kind=_KIND,
    resource=_RESOURCE,
    subResource=STRING,
    requestKind=_KIND,
    requestResource=_RESOURCE,
    requestSubResource=STRING,
    name=STRING,
    namespace=STRING,
    operation=STRING,
    userInfo=_USER,
    dryRun=types.BOOL,
    options=DYN,
)
NAMESPACE = _record(
    "kubernetes.Namespace",
    metadata=_record(
        "kubernetes.NamespaceMetadata",
        name=STRING,
        generateName=STRING,
        namespace=STRING,
        labels=map_of(STRING, STRING),
        annotations=map_of(STRING, STRING),
        UID=STRING,
        creationTimestamp=types.TIMESTAMP,
        deletionGracePeriodSeconds=types.INT,
        deletionTimestamp=types.TIMESTAMP,
        generation=types.INT,
        resourceVersion=STRING,
        finalizers=list_of(STRING),
    ),
    spec=_record("kubernetes.NamespaceSpec", finalizers=list_of(STRING)),
    status=_record("kubernetes.NamespaceStatus", phase=STRING),
)
TEXT_OR_NULL = (STRING, types.NULL)


def environment(
    *,
    params: Type | None = None,
    authorizer: bool = True,
    namespace: bool = True,
    object_type: Type = DYN,
    variables: Mapping[str, Type] | None = None,
    messages: Callable[[str], Type | None] | None = None,
) -> Environment:
    """Return the variables of an expression of admission.

    `params` is None where a policy has none, and then nothing may refer to them; `variables` are the ones of the policy, by name.
    """
    known: dict[str, Type] = {"object": object_type, "oldObject": object_type, "request": REQUEST}
    if params is not None:
        known["params"] = params
    if namespace:
        known["namespaceObject"] = NAMESPACE
    if authorizer:
        known |= {"authorizer": AUTHORIZER, "authorizer.requestResource": RESOURCE_CHECK}
    if variables is not None:
        fields = {name: Field(name, type_) for name, type_ in variables.items()}
        known["variables"] = object_of("kubernetes.variables", lambda: fields)
    return Environment(known, messages)


def compile_variables(
    variables: Iterable[tuple[str, str]], make: Callable[[Mapping[str, Type]], Environment]
) -> tuple[dict[str, Expression], dict[str, Type], dict[int, str]]:
    """Compile variables in their order, each seeing those before it; return them, their types, and what is wrong by place.

    `make` returns the environment in which there are the variables that it is given.
    """
    compiled: dict[str, Expression] = {}
    known: dict[str, Type] = {}
    wrong: dict[int, str] = {}
    for at, (name, text) in enumerate(variables):
        try:
            expression = make(known).compile(text, result=None)
        except CelError as error:
            wrong[at] = str(error)
            known = {**known, name: DYN}
            continue
        compiled[name] = expression
        known = {**known, name: expression.result}
    return compiled, known, wrong


class Variables(dict[str, Any]):
    """The variables of one evaluation: worked out when somebody asks for them, and once."""

    def __init__(self, evaluate: Callable[[str], Any], names: Iterable[str]) -> None:
        super().__init__()
        self._evaluate = evaluate
        self._names = frozenset(names)

    kind = "map"

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __missing__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        value = self[name] = self._evaluate(name)
        return value
