"""Probes and life-cycle hooks: what a node agent does to a container from outside."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.meta import Int64
from kubelib.api.model import Model


class ExecAction(Model):
    """Run a command in the container; exit code 0 is good."""

    __proto__: ClassVar[str] = "1"

    command: tuple[str, ...] = ()


class HTTPHeader(Model):
    """A header that a check sends."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name value"

    name: str = ""
    value: str = ""


class HTTPGetAction(Model):
    """Ask for a path by HTTP; a status from 200 to 399 is good."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "port"

    path: str = ""
    port: int | str = 0
    host: str = ""
    scheme: str = ""
    http_headers: tuple[HTTPHeader, ...] = ()
    protocol: str = ""


class TCPSocketAction(Model):
    """Open a connection; being accepted is good."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "port"

    port: int | str = 0
    host: str = ""


class GRPCAction(Model):
    """Ask a gRPC health service."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "port"

    port: int = 0
    service: str = ""
    mode: str = ""


class ProbeHandler(Model):
    """How a check is made; exactly one is set."""

    __proto__: ClassVar[str] = "1-4"

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None


class Probe(ProbeHandler):
    """A check that is made of a container again and again."""

    __proto__: ClassVar[str] = "2-7"
    __embeds__: ClassVar[Mapping[str, int]] = {"ProbeHandler": 1}

    initial_delay_seconds: int = 0
    timeout_seconds: int = 0
    period_seconds: int = 0
    success_threshold: int = 0
    failure_threshold: int = 0
    termination_grace_period_seconds: Int64 | None = None


class SleepAction(Model):
    """Wait."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "seconds"

    seconds: Int64 = 0


class LifecycleHandler(Model):
    """What is done at a turn in a container's life; exactly one is set."""

    __proto__: ClassVar[str] = "1-4"

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(Model):
    """What is done after a container starts and before it is stopped."""

    __proto__: ClassVar[str] = "1-3"

    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str = ""
