"""API services: groups and versions, and the servers that answer for them."""

from typing import ClassVar

from kubelib.api.merging import BY_TYPE, Merging
from kubelib.api.meta import Base64, Object, Time
from kubelib.api.model import Model


class ServiceReference(Model):
    """A Service that answers, at a port."""

    __proto__: ClassVar[str] = "1-3"

    namespace: str = ""
    name: str = ""
    port: int | None = None


class APIServiceSpec(Model):
    """What is wanted of an APIService."""

    __proto__: ClassVar[str] = "1-5 7-8"
    __required__: ClassVar[str] = "groupPriorityMinimum versionPriority"

    service: ServiceReference | None = None
    group: str = ""
    version: str = ""
    insecure_skip_tls_verify: bool = False
    ca_bundle: Base64 = ""
    group_priority_minimum: int = 0
    version_priority: int = 0


class APIServiceCondition(Model):
    """One aspect of the state of an APIService."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "type status"

    type: str = ""
    status: str = ""
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class APIServiceStatus(Model):
    """What is observed of an APIService."""

    __proto__: ClassVar[str] = "1"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    conditions: tuple[APIServiceCondition, ...] = ()


class APIService(Object):
    """A group and version of the API, and who answers for it."""

    api_version: ClassVar[str] = "apiregistration.k8s.io/v1"
    kind: ClassVar[str] = "APIService"
    __proto__: ClassVar[str] = "2-3"

    spec: APIServiceSpec = APIServiceSpec()
    status: APIServiceStatus = APIServiceStatus()
