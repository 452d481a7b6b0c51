"""The plug-ins of one API server in their order, and which of them a write meets."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeAlias

import attrs

from kubelib.api.errors import conflict
from kubelib.api.scheme import Resource
from kubelib.exposition import Histogram
from kubelib.registry.admission.base import (
    Admission,
    Attributes,
    Operations,
    SupportsBinding,
    SupportsMutation,
    SupportsReservation,
    SupportsValidation,
    Verb,
)
from kubelib.registry.admission.figures import AdmissionFigures, Step
from kubelib.store import Operation, RevisionMismatch

TRIES = 32
"""How often a write begins anew because what it is charged to has changed meanwhile."""


_Call: TypeAlias = tuple[str, Callable[[Attributes], Awaitable[None]], Histogram]
"""The name of a plug-in, how it is asked, and where it is counted how long that takes."""


@attrs.frozen
class _Steps:
    mutating: "tuple[_Call, ...]"
    validating: "tuple[_Call, ...]"
    reserving: tuple[SupportsReservation, ...]


class AdmissionChain:
    """Plug-ins in the order in which they are asked."""

    def __init__(self, plugins: Sequence[Admission] = ()) -> None:
        self.plugins = tuple(plugins)
        self._steps: dict[tuple[str, str, str, str], _Steps] = {}
        self._binding: tuple[SupportsBinding, ...] | None = None
        self.figures = AdmissionFigures()

    def add(self, plugin: Admission) -> None:
        """Ask one more plug-in, after all others; one of the same name is replaced."""
        self.plugins = (*(p for p in self.plugins if p.name != plugin.name), plugin)
        self.forget()

    def forget(self) -> None:
        """Ask every plug-in anew which writes it handles."""
        self._steps.clear()
        self._binding = None

    def _of(self, verb: Verb, resource: Resource, subresource: str) -> _Steps:
        key = (verb, resource.api_version, resource.plural, subresource)
        steps = self._steps.get(key)
        if steps is None:
            wanted = [p for p in self.plugins if p.handles(verb, resource, subresource)]
            steps = self._steps[key] = _Steps(
                tuple(
                    (p.name, p.mutate, self.figures.of(p.name, verb, "admit"))
                    for p in wanted
                    if isinstance(p, SupportsMutation)
                ),
                tuple(
                    (p.name, p.validate, self.figures.of(p.name, verb, "validate"))
                    for p in wanted
                    if isinstance(p, SupportsValidation)
                ),
                tuple(p for p in wanted if isinstance(p, SupportsReservation)),
            )
        return steps

    @property
    def binding(self) -> tuple[SupportsBinding, ...]:
        """The plug-ins that change Pods as they are bound."""
        if self._binding is None:
            self._binding = tuple(p for p in self.plugins if isinstance(p, SupportsBinding))
        return self._binding

    def concerns(self, verb: Verb, resource: Resource, subresource: str = "") -> bool:
        """Return whether any plug-in wants to see such writes."""
        steps = self._of(verb, resource, subresource)
        return bool(steps.mutating or steps.validating or steps.reserving)

    def changes(self, verb: Verb, resource: Resource, subresource: str = "") -> bool:
        """Return whether any plug-in may change such documents."""
        return bool(self._of(verb, resource, subresource).mutating)

    async def admit(self, attributes: Attributes) -> None:
        """Let the plug-ins change the document, then refuse it. Raises ApiError."""
        await self.mutate(attributes)
        await self.validate(attributes)

    async def mutate(self, attributes: Attributes) -> None:
        """Let the plug-ins change the document; once more, if one of them wants what the others make of its changes."""
        calls = self._of(attributes.verb, attributes.resource, attributes.subresource).mutating
        if calls:
            await self._asked(calls, attributes, "admit")

    async def validate(self, attributes: Attributes) -> None:
        """Let the plug-ins refuse the document."""
        calls = self._of(attributes.verb, attributes.resource, attributes.subresource).validating
        if calls:
            await self._asked(calls, attributes, "validate")

    async def _asked(self, calls: Sequence[_Call], attributes: Attributes, step: Step) -> None:
        """Ask plug-ins one after the other, and count how long each and all took."""
        # A dozen durations for each write: they must cost next to nothing.
        now = asyncio.get_running_loop().time
        began = last = now()
        name = ""
        try:
            for call in calls:
                name, ask, durations = call
                await ask(attributes)
                durations.add(-last + (last := now()))
            if step == "admit" and attributes.reinvocation.wanted:
                attributes.reinvocation.again = True
                for call in calls:
                    name, ask, durations = call
                    await ask(attributes)
                    durations.add(-last + (last := now()))
        except Exception:
            ended = now()
            self.figures.of(name, attributes.verb, step, rejected=True).add(ended - last)
            self.figures.of("", attributes.verb, step, rejected=True).add(ended - began)
            raise
        self.figures.of("", attributes.verb, step).add(last - began)

    async def commit(
        self,
        attributes: Attributes,
        commit: Callable[..., Awaitable[object]],
        operations: Sequence[Operation],
    ) -> None:
        """Call ``commit(*operations, …)`` with what the plug-ins reserve. For a dry run, only ask whether they would.

        Raises RevisionMismatch when an operation of the write itself fails.
        """
        plugins = self._of(attributes.verb, attributes.resource, attributes.subresource).reserving
        for _ in range(TRIES):
            contexts = [c for plugin in plugins if (c := plugin.reserve(attributes)) is not None]
            if not contexts:
                if not attributes.dry_run:
                    await commit(*operations)
                return
            async with AsyncExitStack() as stack:
                reserved: Operations = []
                for context in contexts:
                    reserved += await stack.enter_async_context(context)
                if attributes.dry_run:
                    return
                try:
                    await commit(*operations, *reserved)
                except RevisionMismatch as mismatch:
                    if not any(operation.key == mismatch.key for operation in reserved):
                        raise
                else:
                    return
        raise conflict(attributes.resource.group_resource, attributes.key.name)
