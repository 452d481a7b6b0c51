"""Whose turn it is to send among many watches, and sending without a task for each: one change reaches a thousand of them.

A watch that has news says so and is told when its turn has come; in that call it sends what it has, if it can at once. So a change to
what a thousand watch costs a thousand short calls in one turn of the event loop, and no switch between tasks. Only a watch whose
client is slow, or whose events take time to be made, leaves it to its task.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from kubelib.registry.base import DocumentEvent
from kubelib.server.responses import Direct

MANY, COST = 64, 40e-6
"""From how many watches on that send at once they send in rounds, and how many seconds of a round each of them takes."""
SLICE = 250
"""How many watches send before the event loop looks after others."""

Events = tuple[DocumentEvent, ...]
Framed = dict[Events, bytes]
"""What events are on the wire. Watches that report the same in the same form share it."""


class Watch(Protocol):
    """The watch of a registry, as far as it can be read without waiting."""

    notify: Callable[[], None] | None
    """Called whenever there is something new: events, or the end of the watch."""

    def at_once(self) -> Events | None:
        """Return the events that wait; None if they cannot be had without waiting, or if the watch has come to its end."""
        ...


class Turn:
    """A place in the rounds."""

    def __init__(self) -> None:
        self.last = 0
        """The round in which it has last come."""
        self.waiting = False

    def come(self, framed: Framed) -> None:
        """Send; `framed` is what others have sent before in this turn of the event loop."""
        raise NotImplementedError


class Rounds:
    """Whose turn it is to send: in a burst of changes every watch sends once a round, and what has gathered in one write.

    A change that comes alone is sent at once, to however many watches. One that comes while these are still busy with the one
    before waits for the next round: a thousand watches then cost a hundred changes not a hundred thousand writes but a few
    thousand.
    """

    def __init__(self) -> None:
        self._number = 1
        self._begun = 0.0
        self._sent = 0
        self._ready: list[Turn] = []
        self._later: list[Turn] = []

    def want(self, turn: Turn) -> None:
        """Let a turn come as soon as the rounds allow. Wanting it again before it has come changes nothing."""
        if turn.waiting:
            return
        turn.waiting = True
        if turn.last == self._number and self._sent >= MANY:
            loop = asyncio.get_running_loop()
            if self._later or loop.time() < self._ends:
                if not self._later:
                    loop.call_at(self._ends, self._begin_next)
                self._later.append(turn)
                return
        if not self._ready:
            asyncio.get_running_loop().call_soon(self._send)
        self._ready.append(turn)

    @property
    def _ends(self) -> float:
        return self._begun + self._sent * COST

    def _begin_next(self) -> None:
        later, self._later = self._later, []
        if not self._ready:
            asyncio.get_running_loop().call_soon(self._send)
        self._ready += later

    def _send(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._ends:
            self._number += 1
            self._begun, self._sent = now, 0
        turns, self._ready = self._ready[:SLICE], self._ready[SLICE:]
        if self._ready:
            loop.call_soon(self._send)
        self._sent += len(turns)
        framed: Framed = {}
        for turn in turns:
            turn.last = self._number
            turn.waiting = False
            turn.come(framed)


class Stream(Turn):
    """A watch on its way to the client: sends by itself what it can at once, and says when its task is needed."""

    def __init__(
        self,
        watch: Watch,
        lines: Callable[[Events], bytes],
        rounds: Rounds,
        needed: Callable[[], None],
        *,
        plain: bool,
    ) -> None:
        """Make a stream of the `lines` of events; they are `plain` if they are the same for all such streams."""
        super().__init__()
        self._watch = watch
        self._lines = lines
        self._plain = plain
        self._rounds = rounds
        self._needed = needed
        self._direct: Direct | None = None
        self.sending = False
        """Whether the task has taken events that the client may not have got yet: nothing may overtake them."""
        self.failure: Exception | None = None
        """Why events could not be sent, if so. They are gone: the task has to end the watch."""

    def use(self, direct: Direct) -> None:
        """Send with something that sends at once."""
        self._direct = direct

    def open(self) -> None:
        """Begin to send, or go on."""
        self._watch.notify = self.news
        self.news()

    def close(self) -> None:
        """Send nothing any more."""
        self._watch.notify = None
        self._direct = None
        self.sending = True

    def news(self) -> None:
        """Take a turn: there may be something to send."""
        if not self.sending and not self.waiting:
            self._rounds.want(self)

    def come(self, framed: Framed) -> None:
        """Send what waits, or leave it to the task if the client is slow."""
        if self.sending:
            return
        direct = self._direct
        if direct is None or not direct.is_free:
            self._needed()
            return
        events = self._watch.at_once()
        if events is None:
            self._needed()
        elif events:
            try:
                self._pass_on(direct, events, framed)
            except Exception as error:
                # Others have their turn after this one; what goes wrong is for the task of this watch.
                self.sending, self.failure = True, error
                self._needed()

    def _pass_on(self, direct: Direct, events: Events, framed: Framed) -> None:
        piece = framed.get(events) if self._plain else None
        if piece is None:
            piece = direct.frame(self._lines(events))
            if self._plain:
                framed[events] = piece
        direct.send_now(piece)
