"""What aggregation is about: a group and version of the API that another server answers for, and how it knows who asks."""

import base64
import binascii
import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from kubelib.api.apiregistration import APIService
from kubelib.api.document import Document
from kubelib.api.errors import ServiceUnavailable
from kubelib.registry.base import User
from kubelib.server.responses import Headers

AVAILABLE = "Available"
_PLAIN = re.compile(r"[\x20-\x7e\x80-\U0010ffff]*")


@attrs.frozen
class FrontProxy:
    """The client certificate by which other servers know that it is this server that tells them who asks."""

    cert: Path
    key: Path


@attrs.frozen
class Remote:
    """A group and version that another server answers for."""

    name: str
    """Of the APIService: ``version.group``."""
    group: str
    version: str
    namespace: str
    service: str
    port: int
    ca: bytes = attrs.field(repr=False)
    insecure: bool
    available: bool

    @classmethod
    def of(cls, document: Document) -> "Remote | None":
        """Return what an APIService says of another server; None if it is about this one."""
        api = document.view(APIService)
        spec, service = api.spec, api.spec.service
        if service is None:
            return None
        try:
            ca = base64.b64decode(spec.ca_bundle or "", validate=True)
        except (binascii.Error, ValueError):
            ca = b""
        return cls(
            document.meta.name,
            spec.group,
            spec.version,
            service.namespace,
            service.name,
            service.port or 443,
            ca,
            spec.insecure_skip_tls_verify,
            any(c.type == AVAILABLE and c.status == "True" for c in api.status.conditions),
        )

    @property
    def host(self) -> str:
        """The name that its certificate must have."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def path(self) -> str:
        """Where it answers for the group and version."""
        return f"/apis/{self.group}/{self.version}"

    def context(self, front_proxy: FrontProxy | None) -> ssl.SSLContext:
        """Return whom to trust, and who we are. Raises ServiceUnavailable for a CA bundle that is none."""
        try:
            context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
        except (ssl.SSLError, UnicodeDecodeError, ValueError):
            raise ServiceUnavailable(
                "error trying to reach service: the caBundle is no certificate"
            ) from None
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.hostname_checks_common_name = False
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if front_proxy is not None:
            context.load_cert_chain(front_proxy.cert, front_proxy.key)
        return context


def identity_headers(user: User) -> Headers:
    """Return who asks, as the headers of an authenticating proxy."""
    headers = [(b"x-remote-user", _value(user.name))]
    if user.uid:
        headers.append((b"x-remote-uid", _value(user.uid)))
    headers += [(b"x-remote-group", _value(group)) for group in user.groups]
    for key, values in user.extra:
        name = b"x-remote-extra-" + quote(key.lower(), safe="").encode()
        headers += [(name, _value(value)) for value in values]
    return headers


def _value(text: str) -> bytes:
    return (text if _PLAIN.fullmatch(text) else quote(text)).strip().encode()


def registration(group: str, version: str, *, managed: str, priorities: tuple[int, int]) -> dict[str, Any]:
    """Return the APIService of a group and version that this server answers for."""
    return {
        "kind": "APIService",
        "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": f"{version}.{group}", "labels": {MANAGED: managed}},
        "spec": {
            **({"group": group} if group else {}),
            "version": version,
            "groupPriorityMinimum": priorities[0],
            "versionPriority": priorities[1],
        },
    }


MANAGED = "kube-aggregator.kubernetes.io/automanaged"
ON_START, ALWAYS = "onstart", "true"
CUSTOM_PRIORITIES = (1000, 100)
EXTENSION_PRIORITIES = {"metrics.k8s.io": (100, 100)}
"""Those of a group that only an extension may have, as metrics-server registers it."""
BUILTIN_GROUPS = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600,
    "autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
    "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "storagemigration.k8s.io": 16800, "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600, "coordination.k8s.io": 16500,
    "node.k8s.io": 16300, "discovery.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100, "resource.k8s.io": 16200,
    "apiregistration.k8s.io": 18000, "scheduling.kubelib.dev": 16000,
}  # fmt: skip
"""The priorities of Kubernetes' own groups, and of ours."""
_VERSIONS = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21}


def builtin_priorities(group: str, version: str) -> tuple[int, int]:
    """Return the priorities of a group and of a version in it as kube-apiserver has them, those of custom kinds for others."""
    if group not in BUILTIN_GROUPS:
        return EXTENSION_PRIORITIES.get(group, CUSTOM_PRIORITIES)
    usual = 15 if re.fullmatch(r"v\d+", version) else 9 if "beta" in version else 1
    return BUILTIN_GROUPS[group], _VERSIONS.get((group, version), usual)


def version_order(version: str) -> tuple[int, int, int, str]:
    """Return a key that sorts versions as Kubernetes does: v2, v1, v1beta2, v1beta1, v1alpha1, then others by name."""
    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if found is None:
        return (3, 0, 0, version)
    rank = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (rank, -int(found[1]), -int(found[3] or 0), version)
