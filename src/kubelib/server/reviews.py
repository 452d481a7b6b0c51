"""Reviews: requests that ask the server for a judgement and store nothing."""

from typing import Any

from kubelib.api.codec import encode_json
from kubelib.api.scheme import Tree
from kubelib.registry.base import User
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.authz import Authorizer
from kubelib.server.authz.rbac import MASTERS, RbacAuthorizer
from kubelib.server.request import RequestInfo
from kubelib.server.responses import Response
from kubelib.server.verbs import Request, read_body

_KINDS = {
    "selfsubjectaccessreviews", "subjectaccessreviews", "localsubjectaccessreviews", "selfsubjectrulesreviews",
    "selfsubjectreviews",
}  # fmt: skip
_EVERYTHING = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]


class Reviews:
    """Answers the review kinds."""

    def __init__(self, registries: ResourceRegistries, authorizer: Authorizer) -> None:
        self._registries = registries
        self._authorizer = authorizer

    def answers(self, info: RequestInfo) -> bool:
        """Return whether a request is for a review."""
        return info.verb == "create" and info.resource in _KINDS and not info.name

    async def answer(self, request: Request, body: bytes) -> Response:
        """Judge. Raises BadRequest for a malformed review."""
        info = request.info
        resource = self._registries.scheme.path(info.group, info.version, info.resource)
        tree = read_body(body, request, resource)
        spec: Tree = tree.get("spec") or {}
        user = request.user
        match info.resource:
            case "selfsubjectreviews":
                status: dict[str, Any] = {"userInfo": _user_info(user)}
            case "selfsubjectrulesreviews":
                status = self._rules(user, spec.get("namespace") or "default")
            case _:
                if info.resource != "selfsubjectaccessreviews":
                    user = User(spec.get("user") or "", tuple(spec.get("groups") or ()))
                wanted = _wanted(spec)
                allowed = self._authorizer.allows(user, wanted)
                status = {"allowed": allowed}
                if not allowed:
                    status["reason"] = ""
        answer = {
            "kind": resource.kind,
            "apiVersion": resource.api_version,
            "metadata": tree.get("metadata") or {},
            "spec": spec,
            "status": status,
        }
        return Response(encode_json(answer), 201)

    def _rules(self, user: User, namespace: str) -> dict[str, Any]:
        rules: list[Any] = []
        if MASTERS in user.groups:
            rules = list(_EVERYTHING)
        elif isinstance(self._authorizer, RbacAuthorizer):
            rules = [rule for of, rule in self._authorizer.rules(user) if of in ("", namespace)]
        return {
            "resourceRules": [rule for rule in rules if rule.get("resources")],
            "nonResourceRules": [rule for rule in rules if rule.get("nonResourceURLs")],
            "incomplete": False,
        }


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
        )
    plain = spec.get("nonResourceAttributes") or {}
    return RequestInfo(plain.get("verb") or "", plain.get("path") or "")


def _user_info(user: User) -> dict[str, Any]:
    info: dict[str, Any] = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {name: list(values) for name, values in user.extra}
    return info
