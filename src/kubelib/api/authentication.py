"""Who a caller is."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.meta import Int64, Object, Time
from kubelib.api.model import Model


class TokenReviewSpec(Model):
    """What is wanted of a TokenReview."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "token"

    token: str = ""
    audiences: tuple[str, ...] = ()


class UserInfo(Model):
    """A caller: name, groups and whatever else the authenticator knows."""

    __proto__: ClassVar[str] = "1-4"

    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = {}


class TokenReviewStatus(Model):
    """What is observed of a TokenReview."""

    __proto__: ClassVar[str] = "1-4"

    authenticated: bool = False
    user: UserInfo = UserInfo()
    error: str = ""
    audiences: tuple[str, ...] = ()


class TokenReview(Object):
    """Asks whether a token is good, and whose it is."""

    api_version: ClassVar[str] = "authentication.k8s.io/v1"
    kind: ClassVar[str] = "TokenReview"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: TokenReviewSpec = TokenReviewSpec()
    status: TokenReviewStatus = TokenReviewStatus()


class BoundObjectReference(Model):
    """The object with which a token dies."""

    __proto__: ClassVar[str] = "1-4"

    kind: str = ""
    api_version: str = ""
    name: str = ""
    uid: str = ""


class TokenRequestSpec(Model):
    """What is wanted of a TokenRequest."""

    __proto__: ClassVar[str] = "1 3-5"

    audiences: tuple[str, ...] = ()
    bound_object_ref: BoundObjectReference | None = None
    expiration_seconds: Int64 | None = None
    attestations: Mapping[str, tuple[str, ...]] = {}


class TokenRequestStatus(Model):
    """What is observed of a TokenRequest."""

    __proto__: ClassVar[str] = "1-2"

    token: str = ""
    expiration_timestamp: Time | None = None


class TokenRequest(Object):
    """Asks for a token of a service account."""

    api_version: ClassVar[str] = "authentication.k8s.io/v1"
    kind: ClassVar[str] = "TokenRequest"
    __proto__: ClassVar[str] = "2-3"

    spec: TokenRequestSpec = TokenRequestSpec()
    status: TokenRequestStatus = TokenRequestStatus()


class SelfSubjectReviewStatus(Model):
    """What is observed of a SelfSubjectReview."""

    __proto__: ClassVar[str] = "1"

    user_info: UserInfo = UserInfo()


class SelfSubjectReview(Object):
    """Tells callers who they are."""

    api_version: ClassVar[str] = "authentication.k8s.io/v1"
    kind: ClassVar[str] = "SelfSubjectReview"
    __proto__: ClassVar[str] = "2"

    status: SelfSubjectReviewStatus = SelfSubjectReviewStatus()
