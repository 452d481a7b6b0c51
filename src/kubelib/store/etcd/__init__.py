"""The store on an etcd v3 cluster, which several API servers may share."""

from kubelib.store.clusters import ClusterAddress, parse_cluster_url
from kubelib.store.etcd.store import EtcdStore as EtcdStore


def parse_url(url: str) -> ClusterAddress:
    """Read ``etcd://[user:password@]host[:2379],…[/prefix][?ca=FILE&cert=FILE&key=FILE]``. Raises ValueError."""
    return parse_cluster_url(url, name="etcd", port=2379)
