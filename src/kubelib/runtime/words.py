"""How the kubelet writes things in what it tells."""

import json

from kubelib.api.core.pod import Pod
from kubelib.api.core.references import ObjectReference


def quoted(text: str) -> str:
    r"""Return a text in quotes, with what would end them escaped.

    >>> quoted('a "b"\n')
    '"a \\"b\\"\\n"'
    """
    return json.dumps(text, ensure_ascii=False)


def in_full(pod: Pod) -> str:
    """Return which Pod it is: its name, namespace and uid."""
    meta = pod.metadata
    return f"{meta.name}_{meta.namespace}({meta.uid})"


def lasted(seconds: float) -> str:
    """Return how long something took, to the millisecond, as Go writes durations.

    >>> lasted(0), lasted(0.0421), lasted(1.5), lasted(62), lasted(3600.25)
    ('0s', '42ms', '1.5s', '1m2s', '1h0m0.25s')
    """
    whole, part = divmod(round(seconds * 1000), 1000)
    if not whole:
        return f"{part}ms" if part else "0s"
    minutes, rest = divmod(whole, 60)
    text = f"{rest}.{part:03}".rstrip("0").rstrip(".") if part else str(rest)
    if not minutes:
        return f"{text}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}s" if hours else f"{minutes}m{text}s"


def container_of(pod: Pod, name: str) -> ObjectReference:
    """Return a reference to a container of a Pod: Events about containers say by the field path which one they mean."""
    kinds = {
        "containers": pod.spec.containers,
        "initContainers": pod.spec.init_containers,
        "ephemeralContainers": pod.spec.ephemeral_containers,
    }
    field = next((kind for kind, found in kinds.items() if any(c.name == name for c in found)), "")
    meta = pod.metadata
    return ObjectReference(
        kind=pod.kind,
        api_version=pod.api_version,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        field_path=f"spec.{field}{{{name}}}" if field else "",
    )
