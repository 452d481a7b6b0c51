"""What runtimes promise that can change the limits of what runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from kubelib.runtime.abilities import SupportsResize, SupportsSandboxLimits
from kubelib.runtime.base import Container, NoSuchContainer, Resources, Runtime, SandboxId
from kubelib.runtime.containers import FEWEST_SHARES
from kubelib.runtime.isolation.cgroups import own_paths
from kubelib.runtime.stats.cgroups import ROOT, UNLIMITED, is_unified
from kubelib.testing.runtime.shared import OfRuntimes, Program, containers, ended

KILLED = 128 + 9


class ResizeSuite(OfRuntimes):
    """For runtimes that can change the limits of what runs: `SupportsResize`."""

    limited: Sequence[str] = ("memory", "cpu", "cpu_request")
    """Which limits there are."""

    def limits(self, runtime: Runtime, container: Container) -> Resources:
        """Return the limits that a container has: those of its control group, unless a suite says otherwise."""
        return limits_of_group(container.pid)

    async def test_limits_change_while_a_container_runs(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsResize)
        sizes = [
            Resources(memory=64 << 20, cpu=0.5, cpu_request=0.25),
            Resources(memory=128 << 20, cpu=1.5, cpu_request=0.5),
            Resources(memory=32 << 20, cpu=0.25, cpu_request=0.125),
        ]
        identity = await self.start(runtime, Program(), resources=sizes[0])
        before = (await containers(runtime))[identity]
        for size in sizes:
            await runtime.resize_container(identity, size)
            found = (await containers(runtime))[identity]
            assert (found.state, found.pid, found.started) == ("running", before.pid, before.started)
            has = self.limits(runtime, found)
            for name in self.limited:
                assert getattr(has, name) == getattr(size, name)
        await runtime.resize_container(identity, Resources(cpu_request=0.5))
        assert self.limits(runtime, before).memory == sizes[-1].memory

    async def test_what_has_ended_cannot_be_resized(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsResize)
        identity = await self.start(runtime, Program(seconds=0))
        await ended(runtime, identity)
        with pytest.raises(NoSuchContainer):
            await runtime.resize_container(identity, Resources(memory=64 << 20))


class SandboxLimitSuite(OfRuntimes):
    """For runtimes that can weigh and limit what is in a sandbox: `SupportsSandboxLimits`."""

    def sandbox_limits(self, runtime: Runtime, container: Container) -> Resources:
        """Return the limits that a container's sandbox has: those of the control group above, unless a suite says otherwise."""
        return limits_of_group(container.pid, above=True)

    async def test_containers_have_no_more_together_than_their_sandbox(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsSandboxLimits)
        sandbox = await runtime.run_sandbox(self.sandbox())
        first, second = Resources(memory=128 << 20, cpu=1.5), Resources(memory=32 << 20, cpu=0.5)
        await runtime.limit_sandbox(sandbox, first)
        sleeper = await self.start(runtime, Program())
        assert (
            found := self.sandbox_limits(runtime, (await containers(runtime))[sleeper])
        ).memory == first.memory
        assert found.cpu == first.cpu
        await runtime.limit_sandbox(sandbox, second)
        assert (
            found := self.sandbox_limits(runtime, (await containers(runtime))[sleeper])
        ).memory == second.memory
        assert found.cpu == second.cpu
        words = ("sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x)")
        eater = await self.start(runtime, Program(), name="eater", command=words)
        found_dead = await ended(runtime, eater)
        assert (found_dead.exit_code, found_dead.reason) == (KILLED, "OOMKilled")
        assert (await containers(runtime))[sleeper].state == "running"

    async def test_containers_of_a_sandbox_weigh_together_what_it_says(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsSandboxLimits)
        sandbox = await runtime.run_sandbox(self.sandbox())
        await runtime.limit_sandbox(sandbox, Resources(cpu_request=0.5))
        sleeper = await self.start(runtime, Program(), resources=Resources(cpu_request=0.125))
        found = (await containers(runtime))[sleeper]
        assert self.sandbox_limits(runtime, found) == Resources(cpu_request=0.5)
        for weight, told in ((2.0, 2.0), (0.0, FEWEST_SHARES / 1024)):
            await runtime.limit_sandbox(sandbox, Resources(cpu_request=weight))
            assert self.sandbox_limits(runtime, found).cpu_request == told

    async def test_a_sandbox_that_is_not_there_has_no_limits(self, runtime: Runtime) -> None:
        assert isinstance(runtime, SupportsSandboxLimits)
        with pytest.raises(NoSuchContainer):
            await runtime.limit_sandbox(SandboxId("nobody"), Resources(memory=64 << 20))
        await runtime.limit_sandbox(await runtime.run_sandbox(self.sandbox()), Resources(memory=64 << 20))


def limits_of_group(pid: int, *, above: bool = False) -> Resources:
    """Return the limits of the control groups that a process of this machine is in, or of those above them."""
    return limits_at(own_paths(Path(f"/proc/{pid}/cgroup").read_text()), above=above)


def limits_at(paths: Mapping[str, str], *, above: bool = False) -> Resources:
    """Return the limits of control groups by controller, or of those above them."""

    def numbers(controller: str, name: str) -> list[int]:
        place = (
            ROOT / paths[""].strip("/") if is_unified() else ROOT / controller / paths[controller].strip("/")
        )
        if above:
            place = place.parent
        return [int(word) if word.isdigit() else -1 for word in (place / name).read_text().split()]

    if is_unified():
        [memory], [quota, period], [weight] = (
            numbers("", name) for name in ("memory.max", "cpu.max", "cpu.weight")
        )
        shares = 2 + (weight - 1) * 262142 // 9999
    else:
        [memory], [quota], [period], [shares] = (
            numbers(controller, name)
            for controller, name in (
                ("memory", "memory.limit_in_bytes"),
                ("cpu", "cpu.cfs_quota_us"),
                ("cpu", "cpu.cfs_period_us"),
                ("cpu", "cpu.shares"),
            )
        )
    return Resources(
        memory=memory if 0 <= memory < UNLIMITED else None,
        cpu=quota / period if quota > 0 else None,
        cpu_request=shares / 1024,
    )
