"""What ``kubectl get`` shows: the printed columns of the built-in kinds, cell by cell as kube-apiserver computes them."""

from kubelib.api.columns.cells import (
    AGE,
    DEFAULT,
    NAME,
    NONE,
    age_of,
    at,
    field,
    label_selector_text,
    labels_text,
)
from kubelib.api.columns.devices import (
    DEVICE_CLASS,
    RESOURCE_CLAIM,
    RESOURCE_CLAIM_TEMPLATE,
    RESOURCE_SLICE,
)
from kubelib.api.columns.extensions import (
    ADMISSION_POLICY,
    ADMISSION_POLICY_BINDING,
    API_SERVICE,
    CERTIFICATE_SIGNING_REQUEST,
    CUSTOM_RESOURCE_DEFINITION,
    FLOW_SCHEMA,
    MUTATING_POLICY,
    PRIORITY_LEVEL,
    RUNTIME_CLASS,
    WEBHOOK_CONFIGURATION,
)
from kubelib.api.columns.nodes import NAMESPACE, NODE
from kubelib.api.columns.pods import POD, POD_TEMPLATE, pod_summary
from kubelib.api.columns.policies import (
    COMPONENT_STATUS,
    CONFIG_MAP,
    EVENT,
    LEASE,
    LIMIT_RANGE,
    PDB,
    PRIORITY_CLASS,
    RESOURCE_QUOTA,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE_ACCOUNT,
)
from kubelib.api.columns.services import (
    ENDPOINT_SLICE,
    ENDPOINTS,
    INGRESS,
    INGRESS_CLASS,
    IP_ADDRESS,
    NETWORK_POLICY,
    SERVICE,
    SERVICE_CIDR,
)
from kubelib.api.columns.storage import (
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
    VOLUME_ATTRIBUTES_CLASS,
)
from kubelib.api.columns.workloads import (
    CONTROLLER_REVISION,
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    JOB,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SCALE,
    STATEFUL_SET,
)

__all__ = [
    "ADMISSION_POLICY", "ADMISSION_POLICY_BINDING", "AGE", "API_SERVICE", "CERTIFICATE_SIGNING_REQUEST",
    "COMPONENT_STATUS", "CONFIG_MAP", "CONTROLLER_REVISION", "CRON_JOB", "CSI_DRIVER", "CSI_NODE", "CSI_STORAGE_CAPACITY",
    "CUSTOM_RESOURCE_DEFINITION", "DAEMON_SET",
    "DEFAULT", "DEPLOYMENT", "DEVICE_CLASS", "ENDPOINTS", "ENDPOINT_SLICE", "EVENT", "FLOW_SCHEMA", "HORIZONTAL_POD_AUTOSCALER",
    "INGRESS", "INGRESS_CLASS", "IP_ADDRESS", "JOB", "LEASE", "LIMIT_RANGE", "MUTATING_POLICY", "NAME", "NAMESPACE", "NETWORK_POLICY",
    "NODE", "NONE", "PDB", "PERSISTENT_VOLUME", "PERSISTENT_VOLUME_CLAIM", "POD", "POD_TEMPLATE", "PRIORITY_CLASS",
    "PRIORITY_LEVEL", "REPLICATION_CONTROLLER", "REPLICA_SET", "RESOURCE_CLAIM", "RESOURCE_CLAIM_TEMPLATE", "RESOURCE_QUOTA", "RESOURCE_SLICE", "ROLE", "ROLE_BINDING",
    "RUNTIME_CLASS", "SCALE", "SECRET", "SERVICE", "SERVICE_ACCOUNT", "SERVICE_CIDR", "STATEFUL_SET", "STORAGE_CLASS",
    "VOLUME_ATTACHMENT", "VOLUME_ATTRIBUTES_CLASS", "WEBHOOK_CONFIGURATION", "age_of", "at", "field",
    "label_selector_text", "labels_text", "pod_summary",
]  # fmt: skip
