"""Containers on Podman: a Pod is a pod of Podman's, whose infra container holds what the others share."""

from kubelib.runtime.podman.runtime import PodmanRuntime as PodmanRuntime

__all__ = ["PodmanRuntime"]
