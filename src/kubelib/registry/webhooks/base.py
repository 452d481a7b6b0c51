"""How webhooks are called: the one thing that admission and conversion ask of whoever opens connections.

WebhookFailed
    CannotConnect   TlsFailed   TimedOut   BadAnswer   AnswerTooLarge

The registry opens no connections itself: what composes an API server gives `kubelib.registry.ResourceRegistries.webhooks` a
`WebhookCaller`, such as `kubelib.client.webhooks.HttpWebhooks`.
"""

import base64
import binascii
from typing import Protocol

import attrs

from kubelib.api.scheme import Tree

DEFAULT_PORT = 443


@attrs.frozen
class ServiceTarget:
    """A Service in the cluster, and where on it."""

    namespace: str
    name: str
    port: int = DEFAULT_PORT
    path: str = "/"

    @property
    def host(self) -> str:
        """The name that its certificate must have: ``name.namespace.svc``."""
        return f"{self.name}.{self.namespace}.svc"


@attrs.frozen
class WebhookAddress:
    """How a webhook is reached: ``clientConfig`` of a webhook configuration or of a conversion."""

    url: str = ""
    service: ServiceTarget | None = None
    """Where it is when there is no `url`."""
    ca: bytes = attrs.field(default=b"", repr=False)
    """The certificates in PEM that the server's must lead to; empty for those of the machine."""

    @classmethod
    def of(cls, config: Tree) -> "WebhookAddress":
        """Return the address that a ``clientConfig`` document names. Raises ValueError for a CA that is no base64."""
        try:
            ca = base64.b64decode(config.get("caBundle") or "", validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("caBundle is not base64") from None
        service = config.get("service")
        if service is None:
            return cls(url=config.get("url") or "", ca=ca)
        path = service.get("path") or "/"
        return cls(
            service=ServiceTarget(
                service.get("namespace") or "",
                service.get("name") or "",
                service.get("port") or DEFAULT_PORT,
                path if path.startswith("/") else f"/{path}",
            ),
            ca=ca,
        )

    @property
    def location(self) -> str:
        """The URL that is asked, as errors show it: of a Service by its name."""
        service = self.service
        return self.url if service is None else f"https://{service.host}:{service.port}{service.path}"


class WebhookFailed(Exception):
    """A webhook could not be asked, or did not answer as it should; the text says why: ``Post "https://…": connection refused``."""

    def __init__(self, why: str, *, timed_out: bool = False) -> None:
        super().__init__(why)
        self.timed_out = timed_out
        """Whether it did not answer in time."""


class CannotConnect(WebhookFailed):
    """Nobody answers there, the Service does not exist or has no endpoints, or the connection was lost before an answer."""


class TlsFailed(WebhookFailed):
    """It is not who it should be, or does not speak TLS."""


class TimedOut(WebhookFailed):
    """It did not answer in time."""

    def __init__(self, why: str, *, timed_out: bool = True) -> None:
        super().__init__(why, timed_out=timed_out)


class BadAnswer(WebhookFailed):
    """It answered with something other than success, or not in HTTP."""

    def __init__(self, why: str, status: int = 0) -> None:
        super().__init__(why)
        self.status = status
        """The status of HTTP; 0 when it was no HTTP."""


class AnswerTooLarge(WebhookFailed):
    """Its answer does not end within what is read of one."""


class WebhookCaller(Protocol):
    """Posts JSON to webhooks, over HTTPS with the certificates that their configuration trusts.

    Calls do not wait for each other, and none outlives its time.
    """

    async def call(self, config: Tree, body: bytes, *, timeout: float) -> bytes:
        """Post `body` to the webhook and return the body of its answer, which has status 200.

        `config` is a ``WebhookClientConfig`` as in the configuration: ``url``, or ``service`` with namespace, name, path
        (default ``/``) and port (default 443), and ``caBundle``. `timeout` is in seconds, from now to the last byte of the
        answer, and told to the webhook as ``?timeout=…s``. Raises WebhookFailed.
        """
        ...
