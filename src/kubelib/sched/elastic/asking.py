"""Asking a provider for nodes, each once: what was asked for keeps its name until it is known what became of it."""

import logging
from collections.abc import Mapping, Sequence
from random import Random

import anyio
import attrs

from kubelib.sched.elastic.base import NodeProvider, ProvidedNode, ProviderError
from kubelib.sched.elastic.settings import ElasticSettings

log = logging.getLogger("kubelib.sched.elastic")


@attrs.define
class _Trouble:
    failures: int = 0
    until: float = float("-inf")


class Asking:
    """Remembers what was asked for and which templates are avoided because they could not be had."""

    def __init__(self, provider: NodeProvider, random: Random, settings: ElasticSettings) -> None:
        self._provider = provider
        self._random = random
        self._settings = settings
        self._open: dict[str, str] = {}
        """Names whose fate is not known, and their templates: the provider did not answer."""
        self._since: dict[str, float] = {}
        self._troubles: dict[str, _Trouble] = {}

    def note(self, provided: Sequence[ProvidedNode]) -> None:
        """Learn which nodes there are."""
        now, names = anyio.current_time(), {node.name for node in provided}
        self._since = {name: self._since.get(name, now) for name in names}
        self._open = {name: template for name, template in self._open.items() if name not in names}

    def all(self, provided: Sequence[ProvidedNode]) -> list[ProvidedNode]:
        """Return the nodes that there are, and those that there may be."""
        return [*provided, *(ProvidedNode(name, template) for name, template in self._open.items())]

    def late(self, provided: Sequence[ProvidedNode], ready: set[str]) -> list[ProvidedNode]:
        """Return the nodes that are not ready though they have had the time."""
        end = anyio.current_time() - self._settings.provision_time
        for name in ready:
            self._since.pop(name, None)  # it came: if it fails later, that is another matter
        return [n for n in provided if n.name not in ready and self._since.get(n.name, end + 1) <= end]

    def may(self, template: str) -> bool:
        """Return whether a template is not avoided now."""
        trouble = self._troubles.get(template)
        return trouble is None or anyio.current_time() >= trouble.until

    def failed(self, template: str) -> None:
        """Avoid a template for a while, longer each time."""
        trouble = self._troubles.setdefault(template, _Trouble())
        pause = self._settings.backoff.delay(trouble.failures, self._random)
        trouble.failures += 1
        trouble.until = anyio.current_time() + pause

    async def ask(self, wanted: Mapping[str, int]) -> None:
        """Ask for so many nodes of each template, and again for those whose fate is not known."""
        names: dict[str, list[str]] = {}
        for name, template in self._open.items():
            names.setdefault(template, []).append(name)
        for template, count in wanted.items():
            fresh = [f"{template}-{self._random.getrandbits(40):010x}" for _ in range(count)]
            names.setdefault(template, []).extend(fresh)
        for template, some in names.items():
            if self.may(template):
                await self._ask_one(template, some)

    async def _ask_one(self, template: str, names: Sequence[str]) -> None:
        self._open.update(dict.fromkeys(names, template))
        try:
            with anyio.fail_after(self._settings.request_timeout):
                given = set(await self._provider.add(template, names))
        except ProviderError as error:
            log.warning("no nodes of the template %s: %s", template, error)
            given = set()
        except Exception as error:
            # Perhaps they come, perhaps not: the names stay, and are asked for again.
            log.warning("it is not known whether nodes of the template %s come: %r", template, error)
            self.failed(template)
            return
        for name in names:
            del self._open[name]  # from now on the provider lists those that come
        if given >= set(names):
            self._troubles.pop(template, None)
        else:
            self.failed(template)
