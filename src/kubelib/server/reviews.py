"""Reviews: requests that ask the server for a judgement and store nothing.

What makes a review invalid is that of ``pkg/apis/authorization/validation`` in Kubernetes.
"""

from collections.abc import Iterator
from typing import Any

from kubelib.api.codec import DecodeError, encode_json, typed_check
from kubelib.api.errors import BadRequest, NotAcceptable, Problem, invalid
from kubelib.api.scheme import Resource, Tree
from kubelib.api.times import format_time
from kubelib.api.validation import problems
from kubelib.labels import parse_field_selector
from kubelib.registry.admission.noderestriction import node_of
from kubelib.registry.base import User
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.asking import NODE_NAME
from kubelib.server.authn import API_AUDIENCE, Authenticator
from kubelib.server.authz import Authorizer
from kubelib.server.authz.rbac import RbacAuthorizer
from kubelib.server.bodies import decoded, read_body
from kubelib.server.encodings import accepted_form
from kubelib.server.request import Request
from kubelib.server.requestinfo import RequestInfo
from kubelib.server.responses import Response

_KINDS = {
    "selfsubjectaccessreviews", "subjectaccessreviews", "localsubjectaccessreviews", "selfsubjectrulesreviews",
    "selfsubjectreviews", "tokenreviews",
}  # fmt: skip


class Reviews:
    """Answers the review kinds."""

    def __init__(
        self,
        registries: ResourceRegistries,
        authorizer: Authorizer,
        authenticator: Authenticator,
        rbac: RbacAuthorizer | None,
    ) -> None:
        self._registries = registries
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._rbac = rbac

    def answers(self, info: RequestInfo) -> bool:
        """Return whether a request is for a review."""
        return info.verb == "create" and info.resource in _KINDS and not info.name

    async def answer(self, request: Request, body: bytes) -> Response:
        """Judge. Raises BadRequest for a malformed review."""
        info = request.info
        resource = self._registries.scheme.path(info.group, info.version, info.resource)
        if accepted_form(request, resource).transform:
            raise NotAcceptable(
                f"the resource {resource.group_resource} does not support being converted to a Table"
            )
        tree: Tree = await decoded(body, request, lambda: read_body(body, request, resource))
        try:
            typed_check(tree, resource.cls)
        except DecodeError as error:
            raise BadRequest(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {error}'
            ) from None
        spec: Tree = tree.get("spec") or {}
        user = request.user
        match info.resource:
            case "selfsubjectreviews":
                status: dict[str, Any] = {"userInfo": _user_info(user)}
            case "tokenreviews":
                status = await self._token(spec)
            case "selfsubjectrulesreviews":
                if not spec.get("namespace"):
                    raise BadRequest("no namespace on request")
                status = self._rules(user, spec["namespace"])
            case _:
                meta = tree.setdefault("metadata", {})
                if info.resource == "localsubjectaccessreviews":
                    meta.setdefault("namespace", info.namespace)
                    if meta["namespace"] != info.namespace:
                        raise BadRequest(
                            f"spec.resourceAttributes.namespace must match namespace: {info.namespace}"
                        )
                found = list(_review_problems(resource, tree))
                if found:
                    raise invalid(resource.kind, resource.group, "", found)
                status = self._access(user if info.resource.startswith("self") else _asked_about(spec), spec)
        meta = {"creationTimestamp": None, **(tree.get("metadata") or {})}
        if info.resource == "selfsubjectreviews":
            meta = {"creationTimestamp": format_time(self._registries.clock.now())}
        answer = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
        if info.resource != "selfsubjectreviews":
            answer["spec"] = spec
        return Response(encode_json({**answer, "status": status}), 201)

    def _access(self, user: User, spec: Tree) -> dict[str, Any]:
        decision = self._authorizer.decide(user, _wanted(spec))
        status: dict[str, Any] = {"allowed": decision.allowed}
        if decision.denied:
            status["denied"] = True
        if decision.reason:
            status["reason"] = decision.reason
        return status

    async def _token(self, spec: Tree) -> dict[str, Any]:
        token, audiences = spec.get("token") or "", tuple(spec.get("audiences") or ())
        if not token:
            raise BadRequest("token is required for TokenReview in authentication")
        found = await self._authenticator.review(token, audiences)
        if found is None:
            return {"user": {}, "error": self._authenticator.refusal(token, audiences)}
        user, common = found
        return {
            "authenticated": True,
            "user": _user_info(user),
            "audiences": list(common or (API_AUDIENCE,)),
        }

    def _rules(self, user: User, namespace: str) -> dict[str, Any]:
        rules = self._rbac.rules_in(user, namespace) if self._rbac is not None else []
        # What a node may do depends on its Pods: no list of rules says that.
        incomplete = self._rbac is None or bool(node_of(user))
        return {
            "resourceRules": [rule for rule in rules if rule.get("resources")],
            "nonResourceRules": [rule for rule in rules if rule.get("nonResourceURLs")],
            "incomplete": incomplete,
            **(
                {"evaluationError": "node authorizer does not support user rule resolution"}
                if incomplete
                else {}
            ),
        }


def _asked_about(spec: Tree) -> User:
    extra = spec.get("extra") or {}
    return User(
        spec.get("user") or "",
        tuple(spec.get("groups") or ()),
        spec.get("uid") or "",
        tuple((name.lower(), tuple(extra[name] or ())) for name in sorted(extra)),
    )


def _review_problems(resource: Resource, tree: Tree) -> Iterator[Problem]:
    """Yield what is wrong with an access review."""
    spec: Tree = tree.get("spec") or {}
    local = resource.plural == "localsubjectaccessreviews"
    resources, others = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resources is not None and others is not None:
        yield problems.invalid(
            "spec.nonResourceAttributes", others, "cannot be specified in combination with resourceAttributes"
        )
    if resources is None and others is None:
        yield problems.invalid(
            "spec.resourceAttributes",
            problems.pointer(None),
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )
    if not resource.plural.startswith("self") and not spec.get("user") and not spec.get("groups"):
        yield problems.invalid("spec.user", "", "at least one of user or group must be specified")
    for part in ("fieldSelector", "labelSelector"):
        selector = (resources or {}).get(part)
        path = f"spec.resourceAttributes.{part}"
        if selector is None:
            continue
        raw, requirements = selector.get("rawSelector"), selector.get("requirements")
        if raw and requirements:
            yield problems.invalid(
                f"{path}.rawSelector", raw, "may not specified at the same time as requirements"
            )
        if not raw and not requirements:
            yield problems.required(
                f"{path}.requirements", f"when {path} is specified, requirements or rawSelector is required"
            )
        for at, requirement in enumerate(requirements or ()):
            yield from _requirement_problems(requirement, f"{path}.requirements[{at}]")
    meta = {
        name: value for name, value in (tree.get("metadata") or {}).items() if value not in (None, "", [], {})
    }
    if local:
        if resources is not None and (resources.get("namespace") or "") != meta.get("namespace"):
            yield problems.invalid(
                "spec.resourceAttributes.namespace",
                resources.get("namespace") or "",
                "must match metadata.namespace",
            )
        if others is not None:
            yield problems.invalid("spec.nonResourceAttributes", others, "disallowed on this kind of request")
        meta.pop("namespace", None)
    meta.pop("managedFields", None)
    if meta:
        why = "must be empty except for namespace" if local else "must be empty"
        labelled = {
            name: dict(sorted(value.items())) if isinstance(value, dict) else value
            for name, value in meta.items()
        }  # as Go prints maps
        yield problems.invalid("metadata", labelled, why)


def _requirement_problems(requirement: Tree, path: str) -> Iterator[Problem]:
    """Yield what is wrong with a requirement; operators that nobody knows yet are those of newer clients."""
    operator, values = requirement.get("operator") or "", requirement.get("values")
    if not requirement.get("key"):
        yield problems.required(f"{path}.key", "must be specified")
    if operator in ("In", "NotIn") and not values:
        yield problems.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    if operator in ("Exists", "DoesNotExist") and values:
        yield problems.forbidden(
            f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        )


def _wanted(spec: Tree) -> RequestInfo:
    attributes = spec.get("resourceAttributes")
    if isinstance(attributes, dict):
        return RequestInfo(
            attributes.get("verb") or "",
            "",
            attributes.get("group") or "",
            attributes.get("version") or "",
            attributes.get("namespace") or "",
            attributes.get("resource") or "",
            attributes.get("subresource") or "",
            attributes.get("name") or "",
            on_node=_node_asked_about(attributes.get("fieldSelector") or {}),
        )
    plain = spec.get("nonResourceAttributes") or {}
    return RequestInfo(plain.get("verb") or "", plain.get("path") or "")


def _node_asked_about(selector: Tree) -> str:
    """Return the node to which the fields of an access review limit it; what cannot be read limits nothing."""
    for requirement in selector.get("requirements") or ():
        values: list[str] = requirement.get("values") or []
        if requirement.get("key") == NODE_NAME and requirement.get("operator") == "In" and len(values) == 1:
            return values[0]
    try:
        return parse_field_selector(selector.get("rawSelector") or "").exact(NODE_NAME) or ""
    except ValueError:
        return ""


def _user_info(user: User) -> dict[str, Any]:
    info: dict[str, Any] = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {name: list(values) for name, values in user.extra}
    return info
