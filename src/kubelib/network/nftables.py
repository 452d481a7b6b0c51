"""A service proxy in the kernel: rules of nftables send each connection to a Service straight to one of its endpoints.

Nothing of a connection passes through this process, and Pods see who asks. It needs root and the program ``nft``. One table of the family
``ip`` is the proxy's own; what other programs have in nftables is left alone. Only what has changed of a Service is changed in the kernel,
in one transaction. Connections that exist go on when endpoints change. What the kernel cannot do (see `within_reach`) is for a proxy in user space.
"""

import ipaddress
import logging
from collections.abc import Iterator, Mapping, Sequence

import anyio
import anyio.to_thread
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.hosttools import ToolError, is_installed, run_tool
from kubelib.network.conntrack import forget_stale
from kubelib.network.following import AGAIN, ServiceFollower
from kubelib.network.services import ANY_NODE_ADDRESS, Backend, Frontend, Rule
from kubelib.network.tracking import ServiceTracker

log = logging.getLogger("kubelib.network")

MARK = "0x4000"
"""The mark of packets whose source becomes this machine, as kube-proxy has it: their answers have to come back by it."""
TOGETHER = 200
"""How many Services are changed in one transaction."""


class NftablesError(RuntimeError):
    """The kernel, or the lack of a program or of rights, does not let rules be made; the message says why."""


@attrs.frozen(kw_only=True)
class NftablesSettings:
    """Where rules are made, and for whom."""

    table: str = "kubelib"
    """The name of the table; clusters on one machine need several."""
    service_network: str
    """Where Services have their addresses: of this machine, as a network that it takes for its own, or loopback ones."""
    masquerade_all: bool = False
    """Whether Pods see this machine as the source of all connections: needed where they share a bridge that the kernel does not filter."""
    node_port_addresses: tuple[str, ...] = ()
    """Networks of IPv4; ports of the node are at the machine's addresses in these. None: at all but loopback ones."""


def within_reach(rule: Rule, service_network: str) -> bool:
    """Return whether the kernel may lead to a Service: it does not take a connection from elsewhere to a loopback address, or IPv6."""
    backends = rule.backends if rule.outside is None else rule.backends + rule.outside.backends
    if ":" in rule.frontend.address or any(":" in backend.address for backend in backends):
        return False
    # Each proxy asks this of every rule at every change: addresses are looked at as text.
    return service_network.startswith("127.") or not any(b.address.startswith("127.") for b in backends)


class Ruleset:
    """What is in the table: turns what is wanted into the commands that bring it about. Pure."""

    def __init__(self, settings: NftablesSettings) -> None:
        self.settings = settings
        self._chains: dict[Frontend, tuple[str, Rule]] = {}
        self._made = 0

    def begin(self) -> str:
        """Return the commands that make the table, empty, whatever was there before."""
        self._chains.clear()
        table, network = self.settings.table, self.settings.service_network
        if ipaddress.ip_network(network).is_loopback:
            no_node, from_here = "127.0.0.2-127.255.255.255", ""
        else:
            # Answers to 127.0.0.1 would not be let in, and to an address of a Service they would not find the way.
            no_node, from_here = f"127.0.0.0/8, {network}", f"ip saddr {network} masquerade;"
        at = ", ".join(self.settings.node_port_addresses)
        elsewhere = f"\n    ip daddr != {{ {at} }} return;" if at else ""
        return f"""\
add table ip {table}
delete table ip {table}
table ip {table} {{
  map services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map ports {{ type inet_proto . inet_service : verdict; }}
  chain divert {{
    ip daddr . meta l4proto . th dport vmap @services;
    ip daddr {{ {no_node} }} return;{elsewhere}
    fib daddr type local meta l4proto . th dport vmap @ports;
  }}
  chain prerouting {{ type nat hook prerouting priority -100; jump divert; }}
  chain output {{ type nat hook output priority -100; jump divert; }}
  chain postrouting {{
    type nat hook postrouting priority 100;
    meta mark & {MARK} == {MARK} masquerade;
    {from_here}
  }}
}}
"""

    def update(self, wanted: Mapping[Frontend, Rule]) -> Iterator[str]:
        """Yield transactions that make the table say what is wanted; empty where it does. Each is noted when the next is asked for."""
        changes: list[tuple[Frontend, Rule | None]] = [
            (frontend, None) for frontend in self._chains if frontend not in wanted
        ]
        for frontend, rule in wanted.items():
            known = self._chains.get(frontend)
            if known is None or _content(known[1]) != _content(rule):
                changes.append((frontend, rule))
        for at in range(0, len(changes), TOGETHER):
            lines: list[str] = []
            noted: dict[Frontend, tuple[str, Rule] | None] = {}
            for frontend, new in changes[at : at + TOGETHER]:
                known = self._chains.get(frontend)
                if known is None:
                    self._made += 1
                chain, old = known or (f"s{self._made}", None)
                lines += self._change(frontend, chain, old, new)
                noted[frontend] = (chain, new) if new is not None else None
            yield "\n".join(lines) + "\n"
            for frontend, now in noted.items():
                if now is None:
                    del self._chains[frontend]
                else:
                    self._chains[frontend] = now

    def _change(self, frontend: Frontend, chain: str, old: Rule | None, new: Rule | None) -> Iterator[str]:
        table = f"ip {self.settings.table}"
        before, after = _ends(old), _ends(new)
        if old is None:
            yield f"add chain {table} {chain}"
        if new is None:
            yield f"delete element {table} {self._element(frontend)} }}"
        yield f"flush chain {table} {chain}"
        if new is not None:
            for backend in after:
                yield from self._backend(frontend, chain, backend, new, known=backend in before)
            yield from self._service(chain, old, new)
        if old is None:
            yield f"add element {table} {self._element(frontend)} : goto {chain} }}"
        if old is not None and old.outside is not None and (new is None or new.outside is None):
            yield f"delete chain {table} {_inside(chain)}"
        for backend in before:
            if backend not in after:
                name = _name(chain, backend)
                yield f"delete chain {table} {name}"
                yield f"delete set {table} {name}"
        if new is None:
            yield f"delete chain {table} {chain}"

    def _service(self, chain: str, old: Rule | None, new: Rule) -> Iterator[str]:
        """Yield who is let in, and to which endpoints: those from outside to others than those from within, where it is so."""
        table = f"ip {self.settings.table}"
        add = f"add rule {table} {chain}"
        hide = f"meta mark set meta mark or {MARK}"
        if new.sources:
            yield f"{add} ip saddr != {{ {', '.join(new.sources)} }} drop"
        if self.settings.masquerade_all or (new.external and new.outside is None):
            # An endpoint on another machine would answer a client from outside past this one.
            yield f"{add} {hide}"
        if new.outside is None:
            yield from (f"{add} {words}" for words in _choice(chain, new.backends, new.affinity))
            return
        inside = _inside(chain)
        if old is None or old.outside is None:
            yield f"add chain {table} {inside}"
        yield f"flush chain {table} {inside}"
        yield from (
            f"add rule {table} {inside} {words}" for words in _choice(chain, new.backends, new.affinity)
        )
        if new.outside.insiders:
            yield f"{add} ip saddr {{ {', '.join(new.outside.insiders)} }} goto {inside}"
        yield f"{add} fib saddr type local {hide} goto {inside}"
        if new.outside.backends:
            choice = _choice(chain, new.outside.backends, new.affinity)
            yield from (f"{add} {words}" for words in choice)
        else:
            yield f"{add} drop"

    def _backend(
        self, frontend: Frontend, chain: str, backend: Backend, rule: Rule, *, known: bool
    ) -> Iterator[str]:
        """Yield how a connection gets to one endpoint, and how its client is remembered."""
        table, name = f"ip {self.settings.table}", _name(chain, backend)
        if not known:
            yield f"add set {table} {name} {{ type ipv4_addr; flags dynamic, timeout; }}"
            yield f"add chain {table} {name}"
        yield f"flush chain {table} {name}"
        # A Pod that reaches itself would answer itself, past this machine.
        yield f"add rule {table} {name} ip saddr {backend.address} meta mark set meta mark or {MARK}"
        if rule.affinity:
            yield f"add rule {table} {name} update @{name} {{ ip saddr timeout {int(rule.affinity)}s }}"
        protocol = frontend.protocol.lower()
        yield f"add rule {table} {name} meta l4proto {protocol} dnat to {backend.address}:{backend.port}"

    @staticmethod
    def _element(frontend: Frontend) -> str:
        key = f"{frontend.protocol.lower()} . {frontend.port}"
        if frontend.address == ANY_NODE_ADDRESS:
            return f"ports {{ {key}"
        return f"services {{ {frontend.address} . {key}"


def _content(rule: Rule) -> tuple[object, ...]:
    return rule.backends, rule.affinity, rule.external, rule.outside, rule.sources


def _ends(rule: Rule | None) -> Sequence[Backend]:
    """Return all endpoints that a rule leads to, each once."""
    if rule is None:
        return ()
    if rule.outside is None:
        return rule.backends
    return tuple(dict.fromkeys((*rule.backends, *rule.outside.backends)))


def _name(chain: str, backend: Backend) -> str:
    return f"{chain}-{backend.address}/{backend.port}"


def _inside(chain: str) -> str:
    """Return the name of the chain for clients from within."""
    return f"{chain}-inside"


def _choice(chain: str, backends: Sequence[Backend], affinity: float) -> Iterator[str]:
    """Yield how an endpoint is chosen: the one that a client has had, otherwise any."""
    names = [_name(chain, backend) for backend in backends]
    if affinity:
        yield from (f"ip saddr @{name} goto {name}" for name in names)
    if len(names) == 1:
        yield f"goto {names[0]}"
    else:
        choices = ", ".join(f"{number} : goto {name}" for number, name in enumerate(names))
        yield f"numgen random mod {len(names)} vmap {{ {choices} }}"


def run_nft(script: str) -> None:
    """Carry out commands as one transaction. Raises `NftablesError`."""
    if not is_installed("nft"):
        raise NftablesError("there is no program nft: install the package nftables")
    try:
        run_tool(["nft", "-f", "-"], script, timeout=60)
    except ToolError as error:
        raise NftablesError(f"nft: {str(error).splitlines()[0].removeprefix('nft: ')}") from error


class NftablesProxy(ServiceFollower):
    """A component: keeps the rules of all Services in the kernel while it runs, and takes them out when it ends."""

    def __init__(
        self,
        tracker: ServiceTracker,
        *,
        settings: NftablesSettings,
        name: str = "kube-proxy",
    ) -> None:
        super().__init__(
            tracker,
            node_address=ANY_NODE_ADDRESS,
            name=name,
            concerns=lambda rule: within_reach(rule, settings.service_network),
        )
        self._rules = Ruleset(settings)
        self._begun = False
        self._serving: dict[Frontend, frozenset[Backend]] = {}
        """Of each Service by UDP, the endpoints that served when clients of others were last forgotten."""
        self._told = False
        """Whether it has been said that clients of endpoints that have gone are not forgotten."""

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once the Services that there are can be reached, or it is said why they cannot."""
        table = self._rules.settings.table
        try:
            await super().run(task_status=task_status)
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    await anyio.to_thread.run_sync(remove, table)
                except NftablesError as error:
                    log.warning("rules of Services are left behind: %s", error)

    @property
    def healthy(self) -> bool:
        """Whether the kernel took the rules when it was last asked."""
        return self._begun

    async def _update(self, group: TaskGroup) -> None:
        wanted = self.wanted()
        try:
            if not self._begun:
                await anyio.to_thread.run_sync(run_nft, self._rules.begin())
                self._begun = True
            for script in self._rules.update(wanted):
                await anyio.to_thread.run_sync(run_nft, script)
            await self._forget_clients(wanted)
        except NftablesError as error:
            # What is in the kernel is not known any more: it is made anew.
            self._begun = False
            log.warning("Services cannot be reached, trying again in %d s: %s", AGAIN, error)
            group.start_soon(self._look_again)

    async def _forget_clients(self, wanted: Mapping[Frontend, Rule]) -> None:
        """Send clients by UDP whose endpoints have gone to others, as kube-proxy does; those by TCP notice it themselves."""
        serving = {frontend: rule.serving for frontend, rule in wanted.items() if rule.serving}
        if serving == self._serving:
            return
        try:
            await anyio.to_thread.run_sync(forget_stale, [wanted[frontend] for frontend in serving])
            self._serving = serving
        except OSError as error:
            if not self._told:
                self._told = True
                log.warning("clients by UDP stay with endpoints that have gone: %s", error.strerror or error)


def check(table: str = "kubelib") -> None:
    """See whether rules can be made here. Raises `NftablesError`."""
    remove(f"{table}-check")


def remove(table: str) -> None:
    """Take a table out of the kernel with all that is in it, if it is there. Raises `NftablesError`."""
    run_nft(f"add table ip {table}\ndelete table ip {table}\n")
