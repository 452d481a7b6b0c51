"""How a Pod's containers resolve names: the hosts file that the node keeps for it, and its DNS configuration.

All but `dns_of_host` is pure.
"""

from collections.abc import Iterable
from pathlib import Path

from kubelib.api.core.pod import HostAlias, Pod
from kubelib.runtime.base import Dns
from kubelib.runtime.hostnames import domain_of, hostname_of

RESOLV_CONF = Path("/etc/resolv.conf")
MOST_SERVERS, MOST_SEARCHES, LONGEST_SEARCHES, LONGEST_SEARCH = 3, 32, 2048, 253
"""What resolvers can do with: how many servers and domains to search, and how long these are together and each."""
NO_CLUSTER_DNS = (
    'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy.'
    ' Falling back to "Default" policy.'
)
_HEADER = "# Kubernetes-managed hosts file.\n"
_LOCAL = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\n"
    "fe00::2\tip6-allrouters\n"
)


def hosts_file(pod: Pod, address: str, *, domain: str, host: str) -> str:
    """Return ``/etc/hosts`` of a Pod; `domain` is the cluster's, `host` the node's own file, which Pods on its network keep."""
    if pod.spec.host_network:
        text = "# Kubernetes-managed hosts file (host network).\n" + host
    else:
        name = hostname_of(pod)
        place = domain_of(pod, domain)
        names = f"{name}.{place}\t{name}" if place else name
        text = f"{_HEADER}{_LOCAL}{address}\t{names}\n"
    return text + _aliases(pod.spec.host_aliases)


def _aliases(aliases: Iterable[HostAlias]) -> str:
    lines = ["\t".join((alias.ip, *alias.hostnames)) for alias in aliases]
    return "\n# Entries added by HostAliases.\n" + "\n".join(lines) + "\n" if lines else ""


def parse_resolv_conf(text: str) -> Dns:
    """Return what a ``resolv.conf`` says.

    >>> parse_resolv_conf("search a.example b.example\\nnameserver 192.0.2.1 # ours\\noptions ndots:2")
    Dns(servers=('192.0.2.1',), searches=('a.example', 'b.example'), options=('ndots:2',))
    """
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        match line.partition("#")[0].partition(";")[0].split():
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *names]:
                searches = tuple(name.removesuffix(".") or name for name in names)
            case ["options", *words]:
                options = tuple(words)
    return Dns(servers=tuple(servers), searches=searches, options=options)


def dns_of_host() -> Dns:
    """Return how this machine resolves names; nothing if it does not say."""
    try:
        return parse_resolv_conf(RESOLV_CONF.read_text())
    except OSError:
        return Dns()


def _by_cluster(pod: Pod) -> bool:
    """Return whether a Pod is to ask the cluster's servers."""
    policy = pod.spec.dns_policy
    return policy == "ClusterFirstWithHostNet" or (
        policy in ("", "ClusterFirst") and not pod.spec.host_network
    )


def lacks_dns(pod: Pod, cluster: Iterable[str]) -> bool:
    """Return whether a Pod is to ask the cluster's servers, and there are none."""
    return _by_cluster(pod) and not tuple(cluster)


def dns_of(pod: Pod, *, host: Dns, cluster: Iterable[str], domain: str) -> Dns:
    """Return how a Pod resolves names, by its policy; `cluster` are the addresses of the cluster's DNS, if it has any."""
    spec = pod.spec
    servers = tuple(cluster)
    if spec.dns_policy == "None":
        base = Dns()
    elif _by_cluster(pod) and servers:
        own = (f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain)
        base = Dns(servers=servers, searches=_once((*own, *host.searches)), options=("ndots:5",))
    elif spec.dns_config is None:
        return Dns()  # the runtime does as the host does
    else:
        base = host
    config = spec.dns_config
    if config is None:
        return base
    given = {
        option.name: f"{option.name}:{option.value}" if option.value else option.name
        for option in config.options
    }
    kept = [option for option in base.options if option.partition(":")[0] not in given]
    return Dns(
        servers=_once((*base.servers, *config.nameservers)),
        searches=_once((*base.searches, *config.searches)),
        options=(*kept, *given.values()),
    )


def within_limits(dns: Dns) -> tuple[Dns, list[str]]:
    """Return what resolvers can do with of a configuration, and in the kubelet's words what was left out."""
    servers, told = tuple(dns.servers)[:MOST_SERVERS], []
    if len(servers) < len(dns.servers):
        told.append(
            "Nameserver limits were exceeded, some nameservers have been omitted,"
            f" the applied nameserver line is: {' '.join(servers)}"
        )
    searches = [name for name in tuple(dns.searches)[:MOST_SEARCHES] if len(name) <= LONGEST_SEARCH]
    while len(" ".join(searches)) > LONGEST_SEARCHES:
        searches.pop()
    if len(searches) < len(dns.searches):
        told.append(
            "Search Line limits were exceeded, some search paths have been omitted,"
            f" the applied search line is: {' '.join(searches)}"
        )
    return Dns(servers=servers, searches=tuple(searches), options=dns.options), told


def _once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
