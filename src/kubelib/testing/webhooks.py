"""Webhooks in the test's own process: an HTTPS server that answers with Python functions, and their configuration."""

import base64
import inspect
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import anyio.to_thread
import attrs

from kubelib.api.errors import ApiError, BadRequest, NotFound
from kubelib.server.responses import Receive, Response, Scope, Send, error_response, send_response

Tree = dict[str, Any]
Review = Callable[[Tree], Any]
"""Takes a review, such as an AdmissionReview or a ConversionReview, and returns its ``response``; may be asynchronous."""

log = logging.getLogger("kubelib.testing")


def allowed(*warnings: str) -> Tree:
    """Return the response that lets a request through."""
    return {"allowed": True, **({"warnings": list(warnings)} if warnings else {})}


def denied(message: str, *, code: int = 403, reason: str = "Forbidden") -> Tree:
    """Return the response that refuses a request."""
    return {"allowed": False, "status": {"message": message, "code": code, "reason": reason}}


def mutated(review: Mapping[str, Any], change: Callable[[Tree], None]) -> Tree:
    """Return the response that changes the object of an AdmissionReview: `change` is called with a copy of it.

    The JSON patch replaces whole top-level fields.
    """
    before = review["request"].get("object") or {}
    after = deepcopy(before)
    change(after)
    patch: list[Tree] = [{"op": "remove", "path": f"/{name}"} for name in before if name not in after]
    patch += [
        {"op": "replace" if name in before else "add", "path": f"/{name}", "value": value}
        for name, value in after.items()
        if name not in before or before[name] != value
    ]
    encoded = base64.b64encode(json.dumps(patch).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


class WebhookApp:
    """An ASGI application: one path for each webhook."""

    def __init__(self) -> None:
        self.reviews: dict[str, Review] = {}
        """By path."""
        self.asked: dict[str, list[Tree]] = {}
        """The reviews that each path has been asked for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one review."""
        try:
            response = Response(await self._answer(scope["path"], await _body(receive)))
        except ApiError as error:
            response = error_response(error)
        except Exception as error:
            # Real webhooks answer so as well: what then happens to the request is for its failure policy to say.
            log.exception("the webhook at %s failed", scope["path"])
            response = Response(f"{type(error).__name__}: {error}".encode(), 500, b"text/plain")
        await send_response(send, response)

    async def _answer(self, path: str, body: bytes) -> bytes:
        review = self.reviews.get(path)
        if review is None:
            raise NotFound(f"there is no webhook at {path}")
        tree = json.loads(body)
        if not isinstance(tree, dict) or not isinstance(tree.get("request"), dict):
            raise BadRequest("this is no review")
        self.asked[path].append(deepcopy(tree))
        if inspect.iscoroutinefunction(review):
            response = await review(tree)
        else:
            response = await anyio.to_thread.run_sync(review, tree)
        answer: Tree = {
            "apiVersion": tree.get("apiVersion"),
            "kind": tree.get("kind"),
            "response": {**response, "uid": tree["request"].get("uid")},
        }
        encoded: bytes = json.dumps(answer).encode()
        return encoded


async def _body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return b"".join(chunks)


@attrs.frozen(kw_only=True)
class Webhook:
    """A webhook that is being served."""

    url: str
    ca_bundle: str
    """The certificate that it is trusted by, as configurations hold it."""
    asked: Sequence[Tree]
    """The reviews that it has been asked for, the latest last."""

    @property
    def client_config(self) -> Tree:
        """What a configuration, or the conversion of a CustomResourceDefinition, says under ``clientConfig``."""
        return {"url": self.url, "caBundle": self.ca_bundle}


EVERYTHING = (
    {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"], "scope": "*"},
)


def configuration(
    webhook: Webhook, *, name: str, mutating: bool, rules: Sequence[Mapping[str, Any]], **fields: Any
) -> Tree:
    """Return the configuration that has the API server call a webhook."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{'Mutating' if mutating else 'Validating'}WebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": name,
                "clientConfig": webhook.client_config,
                "rules": [dict(rule) for rule in rules],
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 10,
                **fields,
            }
        ],
    }


def on(
    resources: str, *operations: str, group: str = "", version: str = "*", scope: str = "*"
) -> Mapping[str, Any]:
    """Return a rule: ``on("pods", "CREATE")``, ``on("widgets", "CREATE", "UPDATE", group="example.com")``."""
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "resources": resources.split(),
        "operations": list(operations) or ["*"],
        "scope": scope,
    }
