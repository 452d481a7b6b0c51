"""When many watches have something to send: one change at once, a burst of them in rounds. In virtual time."""

from collections.abc import Callable

import anyio
import pytest

from kubelib.api.document import Document
from kubelib.registry.watchers import CachedEvent
from kubelib.server import turns
from kubelib.sim.loop import sim_backend


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return sim_backend()


class Sender(turns.Turn):
    """Wants to send, and notes when its turn has come."""

    def __init__(self, rounds: turns.Rounds) -> None:
        super().__init__()
        self.sent: list[float] = []
        self._rounds = rounds

    def come(self, framed: turns.Framed) -> None:
        self.sent.append(anyio.current_time())

    def want(self) -> None:
        self._rounds.want(self)


async def all_send(senders: list[Sender]) -> list[float]:
    """Let all want to send; return when their turns have come."""
    before = [len(sender.sent) for sender in senders]
    for sender in senders:
        sender.want()
        sender.want()
    with anyio.fail_after(60):
        while any(len(s.sent) == count for s, count in zip(senders, before, strict=True)):
            await anyio.sleep(0.0001)
    assert all(len(s.sent) == count + 1 for s, count in zip(senders, before, strict=True)), "each once"
    return [sender.sent[-1] for sender in senders]


async def test_in_a_burst_all_watches_send_once_a_round() -> None:
    rounds = turns.Rounds()
    senders = [Sender(rounds) for _ in range(1000)]
    began = anyio.current_time()
    assert set(await all_send(senders)) == {began}, "the first change is sent to all of them at once"
    came = await all_send(senders)
    assert min(came) == max(came) == pytest.approx(began + 1000 * turns.COST)
    await anyio.sleep(1)
    later = anyio.current_time()
    assert set(await all_send(senders)) == {later}, "what comes alone again need not wait"


async def test_few_watches_never_wait_for_each_other() -> None:
    rounds = turns.Rounds()
    senders = [Sender(rounds) for _ in range(turns.MANY // 2)]
    for _ in range(2):
        now = anyio.current_time()
        assert set(await all_send(senders)) == {now}


async def test_a_watch_that_has_not_sent_does_not_wait_for_those_that_have() -> None:
    rounds = turns.Rounds()
    await all_send([Sender(rounds) for _ in range(1000)])
    now = anyio.current_time()
    assert await all_send([Sender(rounds)]) == [now]


class Watch:
    """A watch whose events are put in by hand."""

    def __init__(self) -> None:
        self.notify: Callable[[], None] | None = None
        self.events: list[CachedEvent] = []
        self.ended = False

    def at_once(self) -> turns.Events | None:
        if self.ended:
            return None
        events = tuple(self.events)
        self.events.clear()
        return events

    def push(self, event: CachedEvent) -> None:
        self.events.append(event)
        if self.notify is not None:
            self.notify()


class Line:
    """What sends at once, for as long as the client takes it."""

    def __init__(self) -> None:
        self.is_free = True
        self.sent: list[bytes] = []

    def frame(self, body: bytes) -> bytes:
        return b"<%s>" % body

    def send_now(self, framed: bytes) -> None:
        self.sent.append(framed)


def event(name: str) -> CachedEvent:
    return CachedEvent("ADDED", Document(b'{"metadata":{"name":"%s"}}' % name.encode()))


def lines(events: turns.Events) -> bytes:
    return b"".join(event.line for event in events)


class Open:
    """A stream, its watch and its line, and how often its task was needed."""

    def __init__(
        self,
        rounds: turns.Rounds,
        *,
        plain: bool = True,
        write: Callable[[turns.Events], bytes] = lines,
    ) -> None:
        self.watch, self.line, self.needed = Watch(), Line(), 0
        self.stream = turns.Stream(self.watch, write, rounds, self._need, plain=plain)
        self.stream.use(self.line)
        self.stream.open()

    def _need(self) -> None:
        self.needed += 1


async def test_watches_that_report_the_same_in_the_same_form_share_what_is_sent() -> None:
    rounds, seen = turns.Rounds(), event("a")
    plain = [Open(rounds) for _ in range(3)]
    other = Open(rounds, plain=False, write=lambda events: b"row")
    for one in (*plain, other):
        one.watch.push(seen)
    await anyio.sleep(0.1)
    assert {len(one.line.sent) for one in plain} == {1}
    assert len({id(one.line.sent[0]) for one in plain}) == 1
    assert plain[0].line.sent == [b"<%s>" % seen.line]
    assert other.line.sent == [b"<row>"]
    assert not any(one.needed for one in (*plain, other))


async def test_what_gathers_before_a_turn_is_sent_as_one_piece() -> None:
    one = Open(turns.Rounds())
    first, second = event("a"), event("b")
    one.watch.push(first)
    one.watch.push(second)
    await anyio.sleep(0.1)
    assert one.line.sent == [b"<%s%s>" % (first.line, second.line)]


async def test_a_watch_whose_events_cannot_be_written_takes_no_turn_from_others_and_says_why_to_its_task() -> (
    None
):
    def fail(events: turns.Events) -> bytes:
        raise ValueError("no such column")

    rounds, seen = turns.Rounds(), event("a")
    broken = Open(rounds, plain=False, write=fail)
    others = [Open(rounds) for _ in range(3)]
    for number in range(2):
        for one in (broken, *others):
            one.watch.push(seen)
        await anyio.sleep(0.1)
        assert [len(one.line.sent) for one in others] == [number + 1] * 3
    assert (broken.needed, broken.line.sent, str(broken.stream.failure)) == (1, [], "no such column")


async def test_a_slow_client_and_the_end_of_a_watch_are_left_to_the_task() -> None:
    one = Open(turns.Rounds())
    await anyio.sleep(0.1)
    one.line.is_free = False
    one.watch.push(event("a"))
    await anyio.sleep(0.1)
    assert (one.needed, one.line.sent) == (1, [])
    assert len(one.watch.events) == 1, "the task finds what could not be sent"
    one.stream.sending = True
    one.line.is_free = True
    one.watch.push(event("b"))
    await anyio.sleep(0.1)
    assert one.line.sent == [], "nothing overtakes what the task is sending"
    one.stream.sending = False
    one.stream.open()
    await anyio.sleep(0.1)
    assert len(one.line.sent) == 1
    one.watch.ended = True
    one.watch.push(event("c"))
    await anyio.sleep(0.1)
    assert (one.needed, len(one.line.sent)) == (2, 1)


async def test_a_closed_stream_sends_nothing() -> None:
    one = Open(turns.Rounds())
    await anyio.sleep(0.1)
    one.watch.push(event("a"))
    one.stream.close()
    one.watch.push(event("b"))
    await anyio.sleep(0.1)
    assert (one.needed, one.line.sent) == (0, [])
