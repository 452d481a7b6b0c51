"""How a Pod is called: by its hosts file, and by the kernel. Pure."""

from kubelib.api.core.pod import Pod
from kubelib.runtime.base import CannotCreate

LONGEST_HOSTNAME = 63
LONGEST_KERNEL_NAME = 64


def hostname_of(pod: Pod) -> str:
    """Return the name of a Pod that its hosts file leads to its address: what it says itself, or how it is called.

    >>> from kubelib.testing.objects import make_pod
    >>> hostname_of(make_pod("web-1"))
    'web-1'
    """
    name = pod.spec.hostname_override or pod.spec.hostname or pod.metadata.name
    return name[:LONGEST_HOSTNAME].rstrip("-.")


def domain_of(pod: Pod, domain: str) -> str:
    """Return what follows the name of a Pod that has a place in the names of the cluster; nothing for others.

    >>> from kubelib.testing.objects import make_pod
    >>> domain_of(make_pod("web-1", subdomain="web"), "cluster.local")
    'web.default.svc.cluster.local'
    """
    if pod.spec.hostname_override or not pod.spec.subdomain:
        return ""
    return f"{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}"


def kernel_name_of(pod: Pod, domain: str) -> str:
    """Return the name that a Pod's containers have for themselves; `domain` is the cluster's.

    Raises `CannotCreate` if the kernel takes no name of that length.
    """
    name, place = hostname_of(pod), domain_of(pod, domain)
    if not (pod.spec.set_hostname_as_fqdn and place):
        return name
    whole = f"{name}.{place}"
    if len(whole) > LONGEST_KERNEL_NAME:
        raise CannotCreate(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {whole} is too long"
            f" ({LONGEST_KERNEL_NAME} characters is the max, {len(whole)} characters requested)"
        )
    return whole
