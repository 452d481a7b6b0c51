"""Containers on Docker Engine: a sandbox is a container that holds network and IPC of its Pod, and all others join it."""

from kubelib.runtime.docker.runtime import DockerRuntime as DockerRuntime

__all__ = ["DockerRuntime"]
