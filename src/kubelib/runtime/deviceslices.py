"""What a node's drivers have, shown in ResourceSlices for those who place Pods."""

import logging
from collections.abc import Iterator, Sequence

import anyio

from kubelib.api.core.node import Node
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key, ObjectMeta, OwnerReference
from kubelib.api.model import replace
from kubelib.api.resource import Device, ResourcePool, ResourceSlice, ResourceSliceSpec
from kubelib.client.base import Client
from kubelib.labels import parse_field_selector
from kubelib.registry.base import Query
from kubelib.runtime.base import DeviceDriver

log = logging.getLogger("kubelib.runtime")

LOOK_AGAIN = 60.0
"""Seconds after which drivers are asked again what they have."""
MOST_IN_SLICE = 64
"""How many devices a slice may hold, whatever they are like."""


class DeviceSlices:
    """Keeps the slices of one node's drivers: a pool for each driver, named as the node."""

    def __init__(self, client: Client, node: str, drivers: Sequence[DeviceDriver]) -> None:
        self._client = client
        self._node = node
        self._drivers = drivers
        self._shown: dict[str, list[Device]] = {}

    async def run(self) -> None:
        """Show what there is, and what has changed, until cancelled."""
        while True:
            for driver in self._drivers:
                try:
                    devices = list(driver.devices())
                    if self._shown.get(driver.name) != devices:
                        await self._show(driver.name, devices)
                        self._shown[driver.name] = devices
                except (ApiError, OSError) as error:
                    log.warning("devices of driver %s cannot be shown: %s", driver.name, error)
                except Exception:
                    # A driver must not take its node with it.
                    log.exception("devices of driver %s cannot be shown", driver.name)
            await anyio.sleep(LOOK_AGAIN)

    async def _show(self, driver: str, devices: list[Device]) -> None:
        slices = self._client.resource(ResourceSlice)
        fields = parse_field_selector(f"spec.nodeName={self._node},spec.driver={driver}")
        there = {item.metadata.name: item for item in (await slices.list(Query(fields=fields))).items}
        generation = max((item.spec.pool.generation for item in there.values()), default=0)
        wanted = dict(self._slices(driver, devices, generation))
        same = {name: item.spec for name, item in there.items()}
        if same == wanted:
            return
        # Those who allocate look only at the newest generation of a pool, and only once it is complete.
        wanted = dict(self._slices(driver, devices, generation + 1))
        node = await self._client.resource(Node).get(Key("", self._node))
        owner = OwnerReference(
            api_version="v1", kind="Node", name=self._node, uid=node.metadata.uid, controller=True
        )
        for name, spec in wanted.items():
            if (old := there.pop(name, None)) is not None:
                await slices.update(replace(old, spec=spec))
            else:
                meta = ObjectMeta(name=name, owner_references=(owner,))
                await slices.create(ResourceSlice(metadata=meta, spec=spec))
        for name in there:
            await slices.delete(Key("", name))

    def _slices(
        self, driver: str, devices: list[Device], generation: int
    ) -> Iterator[tuple[str, ResourceSliceSpec]]:
        starts = range(0, max(len(devices), 1), MOST_IN_SLICE)
        parts = [tuple(devices[at : at + MOST_IN_SLICE]) for at in starts]
        pool = ResourcePool(name=self._node, generation=generation, resource_slice_count=len(parts))
        for at, part in enumerate(parts):
            name = f"{self._node}-{driver}-{at}"
            yield name, ResourceSliceSpec(driver=driver, pool=pool, node_name=self._node, devices=part)
