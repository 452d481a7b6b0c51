"""AdmissionReview: the question that a webhook is asked, and what makes its answer one that can be used."""

import base64
import binascii
from typing import Any

import attrs
import msgspec

from kubelib.api.checking import json_type
from kubelib.api.codec import encode_json
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission.base import Attributes
from kubelib.registry.admission.matching import namespace_of
from kubelib.registry.admission.webhooks.base import CallFailed, Invocation

GROUP = "admission.k8s.io"
_OPTIONS = {"create": "CreateOptions", "update": "UpdateOptions", "delete": "DeleteOptions"}
MOST_REVIEWED = 256
"""Warnings and annotations of one answer that are looked at."""


def question(
    invocation: Invocation, attributes: Attributes, uid: str, tree: Tree | None, old: Tree | None
) -> bytes:
    """Return the AdmissionReview for a write; its documents are in the form that the webhook wants."""
    request: Tree = {
        "uid": uid,
        **request_of(invocation.form, attributes, tree),
        "object": tree,
        "oldObject": old,
    }
    return encode_json(
        {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{invocation.hook.version}", "request": request}
    )


def request_of(form: Resource, attributes: Attributes, tree: Tree | None) -> Tree:
    """Return what is known of a request beside its documents, as webhooks and expressions see it."""
    asked = attributes.options.requested or attributes.resource
    kind = _kind(form, attributes, tree)
    request: Tree = {
        "kind": kind,
        "resource": {"group": form.group, "version": form.version, "resource": form.plural},
    }
    if attributes.subresource:
        request["subResource"] = attributes.subresource
    request["requestKind"] = kind if form is asked else _kind(asked, attributes, tree)
    request["requestResource"] = {"group": asked.group, "version": asked.version, "resource": asked.plural}
    if attributes.subresource:
        request["requestSubResource"] = attributes.subresource
    if attributes.key.name and not attributes.options.unnamed:
        request["name"] = attributes.key.name
    if namespace := namespace_of(attributes):
        request["namespace"] = namespace
    request |= {
        "operation": attributes.verb.upper(),
        "userInfo": _user(attributes),
        "dryRun": attributes.dry_run,
        "options": _options(attributes),
    }
    return request


def _kind(form: Resource, attributes: Attributes, tree: Tree | None) -> Tree:
    """Return the kind of what is written: of some subresources another than the resource's."""
    if (
        attributes.subresource
        and tree is not None
        and tree.get("kind") not in (None, attributes.resource.kind)
    ):
        group, _, version = str(tree.get("apiVersion") or "").rpartition("/")
        return {"group": group, "version": version, "kind": tree["kind"]}
    return {"group": form.group, "version": form.version, "kind": form.kind}


def _user(attributes: Attributes) -> Tree:
    user = attributes.user
    info: Tree = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {name: list(values) for name, values in user.extra}
    return info


def _options(attributes: Attributes) -> Tree | None:
    kind = _OPTIONS.get(attributes.verb)
    if kind is None:
        return None
    options = attributes.options
    tree: Tree = {"kind": kind, "apiVersion": "meta.k8s.io/v1", **attributes.given}
    if options.dry_run:
        tree["dryRun"] = ["All"]
    return tree if attributes.verb == "delete" else {**tree, **options.given}


class _Response(msgspec.Struct, rename="camel"):
    uid: str | None = None
    allowed: bool | None = None
    status: dict[str, Any] | None = None
    patch: str | None = None
    patch_type: str | None = None
    audit_annotations: dict[str, str] | None = None
    warnings: list[str] | None = None


class _Review(msgspec.Struct, rename="camel"):
    kind: str | None = None
    api_version: str | None = None
    response: _Response | None = None


_decode = msgspec.json.Decoder(_Review).decode
_decode_any = msgspec.json.Decoder().decode


@attrs.frozen
class Answer:
    """What a webhook has decided."""

    allowed: bool
    status: dict[str, Any] | None
    patch: list[Any]
    """The operations of a JSON patch; empty for none."""
    warnings: tuple[str, ...]
    annotations: dict[str, str]


def answer_of(body: bytes, version: str, uid: str, *, mutating: bool) -> Answer:
    """Read the answer to the question with `uid`. Raises CallFailed for one that cannot be used."""
    try:
        review = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = str(error) or type(error).__name__
        raise CallFailed(
            f"failed to call webhook: couldn't get version/kind; json parse error: {why}"
        ) from None
    response = review.response
    if response is None:
        raise _unusable("webhook response was absent")
    if version == "v1":
        if (response.uid or "") != uid:
            raise _unusable(f'expected response.uid="{uid}", got "{response.uid or ""}"')
        group, _, given = (review.api_version or "").rpartition("/")
        if (group, given, review.kind) != (GROUP, version, "AdmissionReview"):
            found = f"{group}/{given}, Kind={review.kind or ''}"
            raise _unusable(
                f"expected webhook response of {GROUP}/{version}, Kind=AdmissionReview, got {found}"
            )
    patch = _patch(response, version) if mutating else _no_patch(response, version)
    return Answer(
        bool(response.allowed),
        response.status,
        patch if response.allowed else [],
        tuple((response.warnings or [])[:MOST_REVIEWED]),
        dict(list((response.audit_annotations or {}).items())[:MOST_REVIEWED]),
    )


def _unusable(why: str) -> CallFailed:
    return CallFailed(f"received invalid webhook response: {why}")


def _no_patch(response: _Response, version: str) -> list[Any]:
    if version == "v1":
        if response.patch:
            raise _unusable("validating webhook may not return response.patch")
        if response.patch_type is not None:
            raise _unusable("validating webhook may not return response.patchType")
    return []


def _patch(response: _Response, version: str) -> list[Any]:
    if version == "v1":
        if response.patch and response.patch_type is None:
            raise _unusable("webhook returned response.patch but not response.patchType")
        if not response.patch and response.patch_type is not None:
            raise _unusable("webhook returned response.patchType but not response.patch")
        if response.patch_type == "":
            raise _unusable('webhook returned invalid response.patchType of ""')
        if response.allowed and response.patch and response.patch_type != "JSONPatch":
            raise CallFailed(f'unsupported patch type "{response.patch_type}"')
    if not response.patch:
        return []
    try:
        operations = _decode_any(base64.b64decode(response.patch, validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise CallFailed(f"received undecodable patch in webhook response: {error}") from None
    if operations is None:
        return []
    if not isinstance(operations, list):
        why = f"json: cannot unmarshal {json_type(operations)} into Go value of type jsonpatch.Patch"
        raise CallFailed(f"received undecodable patch in webhook response: {why}")
    return operations
