"""Lists by fields are what a look at every object would find, whatever has changed in between; watches go on alike."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.api.builtin import SCHEME
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.labels import parse_field_selector, parse_selector
from kubelib.registry.base import Query
from kubelib.registry.cache import ResourceCache, WatchCache
from kubelib.store import Change, Entry, Revision

keys = st.builds(Key, st.sampled_from("ab"), st.sampled_from("pqrs"))
nodes, phases = st.sampled_from(["", "n", "m"]), st.sampled_from(["", "Running", "Failed"])
SELECTORS = (
    "spec.nodeName=n",
    "spec.nodeName=",
    "spec.nodeName!=n",
    "spec.nodeName=n,status.phase=Running",
    "spec.nodeName=n,spec.nodeName=m",
    "status.phase!=Failed,status.phase!=Running",
    "metadata.name=p",
    "metadata.name=p,spec.nodeName=m",
    "metadata.namespace=a,metadata.name!=q",
)
queries = st.builds(
    lambda namespace, labels, fields: Query(namespace, parse_selector(labels), parse_field_selector(fields)),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "l=p", "l notin (p)", "l in (p,q,r)"]),
    st.sampled_from(SELECTORS),
)
steps = st.lists(st.one_of(st.tuples(keys, nodes, phases), keys, queries), max_size=30)


def _pod(key: Key, node: str, phase: str) -> bytes:
    return (
        b'{"metadata":{"name":"%s","namespace":"%s","labels":{"l":"%s"}},"spec":{"nodeName":"%s"},"status":{"phase":"%s"}}'
        % tuple(text.encode() for text in (key.name, key.namespace, key.name, node, phase))
    )


@settings(max_examples=100, deadline=None)
@given(steps, queries)
def test_what_is_selected_by_fields_is_what_a_look_at_every_object_finds(
    steps: list[tuple[Key, str, str] | Key | Query], last: Query
) -> None:
    cache = ResourceCache(SCHEME.of(Pod), WatchCache())
    stored: dict[Key, Entry] = {}
    seen = cache.watch(last, since=0)
    matched: dict[Key, str] = {}
    for number, step in enumerate((*steps, last), 1):
        at = Revision(number)
        match step:
            case Query():
                wanted = sorted(d.key for d in cache.all() if cache.matches(d, step))
                assert [d.key for d in cache.select(step)] == wanted
            case Key():
                if (gone := stored.pop(step, None)) is not None:
                    cache.apply(step, Change(gone.key, at, None, gone))
            case (key, node, phase):
                entry = Entry(str(key), _pod(key, node, phase), at, at)
                cache.apply(key, Change(entry.key, at, entry, stored.get(key)))
                stored[key] = entry
    # Who watches from the beginning is told the same afterwards as whoever was there, and both come to what is listed.
    later = cache.watch(last, since=0)
    events = seen.take_nowait()
    told = [(event.type, event.document.raw) for event in events]
    assert [(event.type, event.document.raw) for event in later.take_nowait()] == told
    for event in events:
        if event.type == "DELETED":
            del matched[event.document.key]
        else:
            matched[event.document.key] = event.type
    assert sorted(matched) == [d.key for d in cache.select(last)]


def test_a_reload_forgets_what_the_index_knew() -> None:
    cache = ResourceCache(SCHEME.of(Pod), WatchCache())
    here, there = Key("a", "p"), Key("a", "q")
    on_n = Query(fields=parse_field_selector("spec.nodeName=n"))
    cache.load(here, Entry(str(here), _pod(here, "n", ""), Revision(1), Revision(1)))
    assert [d.key for d in cache.select(on_n)] == [here]
    cache.reload({there: Entry(str(there), _pod(there, "n", ""), Revision(2), Revision(2))})
    assert [d.key for d in cache.select(on_n)] == [there]
