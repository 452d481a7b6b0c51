"""Devices that Pods claim: classes, claims and what drivers offer (dynamic resource allocation)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from kubelib.api.core.references import NodeSelector
from kubelib.api.machinery import Condition
from kubelib.api.merging import Merging, by, keyed_by
from kubelib.api.meta import Int64, Object, ObjectMeta, Quantity, Time
from kubelib.api.model import Model


class CELDeviceSelector(Model):
    """Selects devices by an expression."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "expression"

    expression: str = ""


class DeviceSelector(Model):
    """Selects devices; exactly one field is set."""

    __proto__: ClassVar[str] = "1"

    cel: CELDeviceSelector | None = None


class OpaqueDeviceConfiguration(Model):
    """Parameters in a form that only the driver understands."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "driver parameters"

    driver: str = ""
    parameters: Any = None


class DeviceConfiguration(Model):
    """Parameters for a driver; exactly one field is set."""

    __proto__: ClassVar[str] = "1"

    opaque: OpaqueDeviceConfiguration | None = None


class DeviceClassConfiguration(DeviceConfiguration):
    """Parameters for every device of a class."""

    __embeds__: ClassVar[Mapping[str, int]] = {"DeviceConfiguration": 1}


class DeviceClaimConfiguration(DeviceConfiguration):
    """Parameters for the devices of some requests."""

    __proto__: ClassVar[str] = "1"
    __embeds__: ClassVar[Mapping[str, int]] = {"DeviceConfiguration": 2}

    requests: tuple[str, ...] = ()


class DeviceAllocationConfiguration(DeviceConfiguration):
    """Parameters for allocated devices, and whether the class or the claim has set them."""

    __proto__: ClassVar[str] = "1-2"
    __embeds__: ClassVar[Mapping[str, int]] = {"DeviceConfiguration": 3}
    __required__: ClassVar[str] = "source"

    source: str = ""
    requests: tuple[str, ...] = ()


class DeviceClassSpec(Model):
    """What can be allocated, and how it is configured."""

    __proto__: ClassVar[str] = "1-2 4"

    selectors: tuple[DeviceSelector, ...] = ()
    config: tuple[DeviceClassConfiguration, ...] = ()
    extended_resource_name: str | None = None


class DeviceClass(Object):
    """A kind of device that claims can ask for."""

    api_version: ClassVar[str] = "resource.k8s.io/v1"
    kind: ClassVar[str] = "DeviceClass"
    __proto__: ClassVar[str] = "2"
    __required__: ClassVar[str] = "spec"

    spec: DeviceClassSpec = DeviceClassSpec()


class DeviceToleration(Model):
    """Lets a request have devices with a taint."""

    __proto__: ClassVar[str] = "1-5"

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: Int64 | None = None


class CapacityRequirements(Model):
    """How much of a device's capacity a request needs."""

    __proto__: ClassVar[str] = "1"

    requests: Mapping[str, Quantity] = {}


class ExactDeviceRequest(Model):
    """Devices of one class, all alike."""

    __proto__: ClassVar[str] = "1-7"
    __required__: ClassVar[str] = "deviceClassName"

    device_class_name: str = ""
    selectors: tuple[DeviceSelector, ...] = ()
    allocation_mode: str = ""
    count: Int64 = 0
    admin_access: bool | None = None
    tolerations: tuple[DeviceToleration, ...] = ()
    capacity: CapacityRequirements | None = None


class DeviceSubRequest(Model):
    """One alternative of a request."""

    __proto__: ClassVar[str] = "1-7"
    __required__: ClassVar[str] = "name deviceClassName"

    name: str = ""
    device_class_name: str = ""
    selectors: tuple[DeviceSelector, ...] = ()
    allocation_mode: str = ""
    count: Int64 = 0
    tolerations: tuple[DeviceToleration, ...] = ()
    capacity: CapacityRequirements | None = None


class DeviceRequest(Model):
    """Devices that a claim needs: exactly these, or the first available alternative."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "name"

    name: str = ""
    exactly: ExactDeviceRequest | None = None
    first_available: tuple[DeviceSubRequest, ...] = ()


class DeviceConstraint(Model):
    """What the devices of several requests must have in common, or differ in."""

    __proto__: ClassVar[str] = "1-3"

    requests: tuple[str, ...] = ()
    match_attribute: str | None = None
    distinct_attribute: str | None = None


class DeviceClaim(Model):
    """The devices that a claim asks for."""

    __proto__: ClassVar[str] = "1-3"

    requests: tuple[DeviceRequest, ...] = ()
    constraints: tuple[DeviceConstraint, ...] = ()
    config: tuple[DeviceClaimConfiguration, ...] = ()


class ResourceClaimSpec(Model):
    """What is wanted of a ResourceClaim."""

    __proto__: ClassVar[str] = "1"

    devices: DeviceClaim = DeviceClaim()


class DeviceRequestAllocationResult(Model):
    """A device that was allocated for a request."""

    __proto__: ClassVar[str] = "1-10"
    __required__: ClassVar[str] = "request driver pool device"

    request: str = ""
    driver: str = ""
    pool: str = ""
    device: str = ""
    admin_access: bool | None = None
    tolerations: tuple[DeviceToleration, ...] = ()
    binding_conditions: tuple[str, ...] = ()
    binding_failure_conditions: tuple[str, ...] = ()
    share_id: str | None = None
    consumed_capacity: Mapping[str, Quantity] = {}


class DeviceAllocationResult(Model):
    """The devices that were allocated, and their parameters."""

    __proto__: ClassVar[str] = "1-2"

    results: tuple[DeviceRequestAllocationResult, ...] = ()
    config: tuple[DeviceAllocationConfiguration, ...] = ()


class AllocationResult(Model):
    """What a claim was given, and where it can be used."""

    __proto__: ClassVar[str] = "1 3 5"

    devices: DeviceAllocationResult = DeviceAllocationResult()
    node_selector: NodeSelector | None = None
    allocation_timestamp: Time | None = None


class ResourceClaimConsumerReference(Model):
    """Who may use a claim."""

    __proto__: ClassVar[str] = "1 3-5"
    __required__: ClassVar[str] = "resource name uid"

    api_group: str = ""
    resource: str = ""
    name: str = ""
    uid: str = ""


class NetworkDeviceData(Model):
    """The network interface that a device is."""

    __proto__: ClassVar[str] = "1-3"

    interface_name: str = ""
    ips: tuple[str, ...] = ()
    hardware_address: str = ""


class AllocatedDeviceStatus(Model):
    """What a driver reports of an allocated device."""

    __proto__: ClassVar[str] = "1-3 7 4-6"
    __required__: ClassVar[str] = "driver pool device"
    __merge__: ClassVar[Merging] = {"conditions": keyed_by("type")}

    driver: str = ""
    pool: str = ""
    device: str = ""
    share_id: str | None = None
    conditions: tuple[Condition, ...] = ()
    data: Any = None
    network_data: NetworkDeviceData | None = None


class ResourceClaimStatus(Model):
    """What a ResourceClaim was given, and who may use it."""

    __proto__: ClassVar[str] = "1-2 4"
    __merge__: ClassVar[Merging] = {
        "reservedFor": by("uid"),
        "devices": keyed_by("driver", "device", "pool", "shareID"),
    }

    allocation: AllocationResult | None = None
    reserved_for: tuple[ResourceClaimConsumerReference, ...] = ()
    devices: tuple[AllocatedDeviceStatus, ...] = ()


class ResourceClaim(Object):
    """Asks for devices, for the use of Pods."""

    api_version: ClassVar[str] = "resource.k8s.io/v1"
    kind: ClassVar[str] = "ResourceClaim"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: ResourceClaimSpec = ResourceClaimSpec()
    status: ResourceClaimStatus = ResourceClaimStatus()


class ResourceClaimTemplateSpec(Model):
    """The metadata and the spec of claims that are made from a template."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "spec"

    metadata: ObjectMeta = ObjectMeta()
    spec: ResourceClaimSpec = ResourceClaimSpec()


class ResourceClaimTemplate(Object):
    """Makes a ResourceClaim for each Pod that names it."""

    api_version: ClassVar[str] = "resource.k8s.io/v1"
    kind: ClassVar[str] = "ResourceClaimTemplate"
    __proto__: ClassVar[str] = "2"
    __required__: ClassVar[str] = "spec"

    spec: ResourceClaimTemplateSpec = ResourceClaimTemplateSpec()


class ResourcePool(Model):
    """The pool that a slice is a part of."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "name generation resourceSliceCount"

    name: str = ""
    generation: Int64 = 0
    resource_slice_count: Int64 = 0


class DeviceAttribute(Model):
    """A fact about a device; exactly one field is set."""

    __proto__: ClassVar[str] = "2-5"

    int_: Int64 | None = None
    bool_: bool | None = None
    string: str | None = None
    version: str | None = None


class CapacityRequestPolicyRange(Model):
    """Amounts that may be asked for: from a least to a greatest, in steps."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "min"

    min: Quantity = ""
    max: Quantity = ""
    step: Quantity = ""


class CapacityRequestPolicy(Model):
    """Which amounts of a capacity may be asked for."""

    __proto__: ClassVar[str] = "1 3-4"

    default: Quantity = ""
    valid_values: tuple[Quantity, ...] = ()
    valid_range: CapacityRequestPolicyRange | None = None


class DeviceCapacity(Model):
    """How much of something a device has."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "value"

    value: Quantity = ""
    request_policy: CapacityRequestPolicy | None = None


class Counter(Model):
    """An amount that devices share."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "value"

    value: Quantity = ""


class CounterSet(Model):
    """Amounts that the devices of a pool share, by name."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name counters"

    name: str = ""
    counters: Mapping[str, Counter] = {}


class DeviceCounterConsumption(Model):
    """What a device takes from a set of counters."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "counterSet counters"

    counter_set: str = ""
    counters: Mapping[str, Counter] = {}


class DeviceTaint(Model):
    """Keeps claims that do not tolerate it away from a device."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "key effect"

    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: Time | None = None


class Device(Model):
    """One device that a driver offers."""

    __proto__: ClassVar[str] = "1-12"
    __required__: ClassVar[str] = "name"

    name: str = ""
    attributes: Mapping[str, DeviceAttribute] = {}
    capacity: Mapping[str, DeviceCapacity] = {}
    consumes_counters: tuple[DeviceCounterConsumption, ...] = ()
    node_name: str | None = None
    node_selector: NodeSelector | None = None
    all_nodes: bool | None = None
    taints: tuple[DeviceTaint, ...] = ()
    binds_to_node: bool | None = None
    binding_conditions: tuple[str, ...] = ()
    binding_failure_conditions: tuple[str, ...] = ()
    allow_multiple_allocations: bool | None = None


class ResourceSliceSpec(Model):
    """What a driver offers, and where."""

    __proto__: ClassVar[str] = "1-8"
    __required__: ClassVar[str] = "driver pool"

    driver: str = ""
    pool: ResourcePool = ResourcePool()
    node_name: str | None = None
    node_selector: NodeSelector | None = None
    all_nodes: bool | None = None
    devices: tuple[Device, ...] = ()
    per_device_node_selection: bool | None = None
    shared_counters: tuple[CounterSet, ...] = ()


class ResourceSlice(Object):
    """A part of the devices that a driver offers."""

    api_version: ClassVar[str] = "resource.k8s.io/v1"
    kind: ClassVar[str] = "ResourceSlice"
    __proto__: ClassVar[str] = "2"
    __required__: ClassVar[str] = "spec"

    spec: ResourceSliceSpec = ResourceSliceSpec()


class DeviceTaintSelector(Model):
    """Selects devices by what they are called; an empty one selects all."""

    __proto__: ClassVar[str] = "2-4"

    driver: str | None = None
    pool: str | None = None
    device: str | None = None


class DeviceTaintRuleSpec(Model):
    """Which devices are tainted, and how."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "taint"

    device_selector: DeviceTaintSelector | None = None
    taint: DeviceTaint = DeviceTaint()


class DeviceTaintRuleStatus(Model):
    """What came of a taint."""

    __proto__: ClassVar[str] = "1"
    __merge__: ClassVar[Merging] = {"conditions": keyed_by("type")}

    conditions: tuple[Condition, ...] = ()


class DeviceTaintRule(Object):
    """Taints devices as if their driver had done so."""

    api_version: ClassVar[str] = "resource.k8s.io/v1"
    kind: ClassVar[str] = "DeviceTaintRule"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: DeviceTaintRuleSpec = DeviceTaintRuleSpec()
    status: DeviceTaintRuleStatus = DeviceTaintRuleStatus()
