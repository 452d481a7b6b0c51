"""The store on an etcd v3 cluster, which several API servers may share."""

from kubelib.store.clusters import ClusterAddress, parse_cluster_url
from kubelib.store.etcd.store import EtcdStore as EtcdStore


def parse_url(url: str) -> ClusterAddress:
    """Read ``etcd://[user:password@]host[:2379],…[/prefix][?ca=FILE&cert=FILE&key=FILE]``. Raises ValueError.

    Further options are ``keep``, the seconds of history that are kept (0 leaves compaction to others), and ``max-txn-ops``, with
    which etcd was started.
    """
    return parse_cluster_url(url, name="etcd", port=2379, settings=("keep", "max-txn-ops"))
