"""Programs outside the server that decide with it: admission webhooks, and webhooks that convert custom objects."""

from kubelib.registry.webhooks.base import (
    AnswerTooLarge,
    BadAnswer,
    CannotConnect,
    ServiceTarget,
    TimedOut,
    TlsFailed,
    WebhookAddress,
    WebhookCaller,
    WebhookFailed,
)

__all__ = [
    "AnswerTooLarge",
    "BadAnswer",
    "CannotConnect",
    "ServiceTarget",
    "TimedOut",
    "TlsFailed",
    "WebhookAddress",
    "WebhookCaller",
    "WebhookFailed",
]
