"""Stores by URL: the scheme chooses the backend, further ones register in the entry point group ``kubelib.stores``."""

from contextlib import AbstractAsyncContextManager
from urllib.parse import parse_qsl, unquote, urlsplit

from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.store.base import ABSENT, Revision, Store
from kubelib.store.clusters import numbers_of

ENTRY_POINTS = "kubelib.stores"


def open_store(
    url: str, *, clock: Clock = SYSTEM_CLOCK, base: Revision = ABSENT
) -> AbstractAsyncContextManager[Store]:
    """Return a context manager that opens the store at `url`: ``memory://``, ``sqlite:///path``, ``etcd://host:2379``,
    ``zookeeper://host:2181`` or a plug-in's.

    ``?history=N`` after a path in sqlite or ZooKeeper is how many changes are kept for watches to continue from, ``?keep=SECONDS`` how long in etcd.

    `base` is the revision that a store begins with where there is none yet. A plug-in is a callable that takes the URL, ``clock=``
    and, where one is wanted, ``base=``, and returns such a context manager. Raises ValueError,
    naming the schemes that there are, for a URL of an unknown one.
    """
    scheme, found, _ = url.partition("://")
    if found and scheme == "memory":
        from kubelib.store.memory import MemoryStore

        return MemoryStore(clock=clock, base=base)
    if found and scheme == "sqlite":
        from kubelib.store.sqlite import SqliteStore

        parts = urlsplit(url)
        path = unquote(parts.netloc + parts.path)
        if not path.strip("/"):
            raise ValueError(
                f"{url!r} names no file: write sqlite:///absolute/path or sqlite://relative/path"
            )
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := given.keys() - {"history"}:
            raise ValueError(f"{url!r} has an unknown option {min(unknown)!r}: there is history")
        return SqliteStore(path, clock=clock, base=base, **numbers_of(repr(url), given))
    if found and scheme == "etcd":
        from kubelib.store.etcd import EtcdStore, parse_url

        return EtcdStore(parse_url(url), base=base)
    if found and scheme == "zookeeper":
        from kubelib.store import zookeeper

        return zookeeper.ZooKeeperStore(zookeeper.parse_url(url), clock=clock, base=base)
    from importlib.metadata import entry_points

    plugins = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if found and scheme in plugins:
        options = {"base": base} if base else {}
        opened: AbstractAsyncContextManager[Store] = plugins[scheme].load()(url, clock=clock, **options)
        return opened
    known = ", ".join(f"{name}://" for name in ("memory", "sqlite", "etcd", "zookeeper", *sorted(plugins)))
    raise ValueError(f"{url!r} is not the URL of a store: it must begin with one of {known}")
