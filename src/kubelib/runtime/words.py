"""How the kubelet writes things in what it tells."""

import json

from kubelib.api.core.pod import Pod


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
