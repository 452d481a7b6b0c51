"""Lists come in the order of their keys, whatever has been added and removed in between."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.api.builtin import SCHEME
from kubelib.api.core.config import ConfigMap
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.labels import parse_selector
from kubelib.registry.base import Query
from kubelib.registry.cache import ResourceCache, WatchCache
from kubelib.registry.fields import FieldReader
from kubelib.registry.holdings import PER_LOOK, Holdings
from kubelib.registry.order import FORGET_AFTER, KeyOrder
from kubelib.store import ABSENT, Change, Entry, Revision

keys = st.builds(Key, st.sampled_from(["", "a", "b"]), st.sampled_from("pqrstu"))
steps = st.lists(st.tuples(st.sampled_from(["put", "drop", "list", "select"]), keys), max_size=40)


@settings(max_examples=100, deadline=None)
@given(st.lists(keys, unique=True), steps)
def test_keys_are_those_present_in_order(first: list[Key], steps: list[tuple[str, Key]]) -> None:
    present = dict.fromkeys(first)
    order = KeyOrder(present)
    for what, key in (*steps, ("list", Key("", "p"))):
        match what:
            case "put" if key not in present:
                present[key] = None
                order.add(key)
            case "drop" if key in present:
                del present[key]
                order.drop()
            case "list":
                assert order.keys(present) == sorted(present)
            case "select":
                wanted = [k for k in present if k.name <= key.name]
                assert order.of([*wanted, Key("elsewhere", "p")], present) == sorted(wanted)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["nodes", "configmaps"]), steps)
def test_lists_of_a_cache_have_every_object_once_and_in_order(
    plural: str, steps: list[tuple[str, Key]]
) -> None:
    resource = SCHEME.path("", "v1", plural)
    cache = ResourceCache(resource, WatchCache())
    present: set[Key] = set()
    for number, (what, key) in enumerate((*steps, ("list", Key("a", "p"))), 1):
        at = Revision(number)
        key = Key(key.namespace or "c", key.name) if resource.namespaced else Key("", key.name)
        match what:
            case "put":
                value = b'{"metadata":{"name":"%s","namespace":"%s","labels":{"l":"%s"}}}' % (
                    key.name.encode(),
                    key.namespace.encode(),
                    key.name.encode(),
                )
                cache.apply(key, Change(str(key), at, Entry(str(key), value, at, at), None))
                present.add(key)
            case "drop" if key in present:
                gone = Entry(str(key), b'{"metadata":{"name":"x"}}', ABSENT, at)
                cache.apply(key, Change(str(key), at, None, gone))
                present.remove(key)
            case "list":
                assert [d.key for d in cache.select(Query())] == sorted(present)
            case "select":
                query = Query(key.namespace, parse_selector(f"l in (p,{key.name})"))
                wanted = {k for k in present if k.name in ("p", key.name) and k.namespace == key.namespace}
                assert [d.key for d in cache.select(query)] == sorted(wanted)


def test_an_order_that_nobody_asks_for_does_not_grow_with_what_comes_and_goes() -> None:
    order = KeyOrder([Key("a", "kept")])
    for number in range(FORGET_AFTER + 1):
        assert not order.outgrown
        order.add(Key("a", f"{number}"))
        order.drop()
    assert order.outgrown is False
    order.add(Key("a", "one more"))
    assert order.outgrown


def test_labels_that_many_share_are_looked_for_in_a_small_namespace_among_its_own() -> None:
    held = Holdings(FieldReader(SCHEME.of(ConfigMap)), namespaced=True)
    here = {"a": "web", "b": "db", "c": "web"}
    everywhere = [("here", name, app) for name, app in here.items()]
    everywhere += [("elsewhere", f"{n}", "web") for n in range(PER_LOOK * 4)]
    for namespace, name, app in everywhere:
        metadata = f'{{"name":"{name}","namespace":"{namespace}","labels":{{"app":"{app}"}}}}'
        raw = f'{{"kind":"ConfigMap","apiVersion":"v1","metadata":{metadata}}}'.encode()
        held.put(Key(namespace, name), Document.stored(raw, 1))
    found = held.select(Query("here", parse_selector("app=web")))
    assert [document.key.name for document in found] == ["a", "c"]


def test_nothing_is_kept_of_namespaces_that_are_asked_for_or_were_there() -> None:
    held = Holdings(FieldReader(SCHEME.of(ConfigMap)), namespaced=True)
    for number in range(3):
        assert held.select(Query(namespace=f"nowhere-{number}")) == []
    key = Key("here", "a")
    raw = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"here"}}'
    held.put(key, Document.stored(raw, 1))
    assert [document.key for document in held.select(Query(namespace="here"))] == [key]
    assert set(held._orders) == {"here"}
    held.drop(key)
    assert not held._orders
    assert not held._namespaces
