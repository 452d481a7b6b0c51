"""The store on a ZooKeeper ensemble, which several API servers may share."""

from kubelib.store.clusters import ClusterAddress, parse_cluster_url
from kubelib.store.zookeeper.store import ZooKeeperStore as ZooKeeperStore


def parse_url(url: str) -> ClusterAddress:
    """Read ``zookeeper://[user:password@]host[:2181],…[/chroot][?ca=FILE&cert=FILE&key=FILE]``. Raises ValueError.

    A further option is ``history``, how many changes are kept.
    """
    return parse_cluster_url(url, name="ZooKeeper", port=2181, settings=("history",))
