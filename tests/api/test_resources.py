"""What ``kubectl api-resources`` shows of a cluster of Kubernetes 1.37: short names, categories, scope."""

from kubelib.api.builtin import SCHEME
from kubelib.api.descriptions.columns import COLUMNS
from kubelib.api.transactions import GROUP as OURS

RESOURCES = """
v1 bindings namespaced
v1 componentstatuses cs
v1 configmaps namespaced cm
v1 endpoints namespaced ep
v1 events namespaced ev
v1 limitranges namespaced limits
v1 namespaces ns
v1 nodes no
v1 persistentvolumeclaims namespaced pvc
v1 persistentvolumes pv
v1 pods namespaced po =all
v1 podtemplates namespaced
v1 replicationcontrollers namespaced rc =all
v1 resourcequotas namespaced quota
v1 secrets namespaced
v1 serviceaccounts namespaced sa
v1 services namespaced svc =all
admissionregistration.k8s.io/v1 mutatingadmissionpolicies =api-extensions
admissionregistration.k8s.io/v1 mutatingadmissionpolicybindings =api-extensions
admissionregistration.k8s.io/v1 mutatingwebhookconfigurations =api-extensions
admissionregistration.k8s.io/v1 validatingadmissionpolicies =api-extensions
admissionregistration.k8s.io/v1 validatingadmissionpolicybindings =api-extensions
admissionregistration.k8s.io/v1 validatingwebhookconfigurations =api-extensions
apiextensions.k8s.io/v1 customresourcedefinitions crd crds =api-extensions
apiregistration.k8s.io/v1 apiservices =api-extensions
apps/v1 controllerrevisions namespaced
apps/v1 daemonsets namespaced ds =all
apps/v1 deployments namespaced deploy =all
apps/v1 replicasets namespaced rs =all
apps/v1 statefulsets namespaced sts =all
authentication.k8s.io/v1 selfsubjectreviews
authentication.k8s.io/v1 tokenreviews
authorization.k8s.io/v1 localsubjectaccessreviews namespaced
authorization.k8s.io/v1 selfsubjectaccessreviews
authorization.k8s.io/v1 selfsubjectrulesreviews
authorization.k8s.io/v1 subjectaccessreviews
autoscaling/v1 horizontalpodautoscalers namespaced hpa =all
autoscaling/v2 horizontalpodautoscalers namespaced hpa =all
batch/v1 cronjobs namespaced cj =all
batch/v1 jobs namespaced =all
certificates.k8s.io/v1 certificatesigningrequests csr
coordination.k8s.io/v1 leases namespaced
discovery.k8s.io/v1 endpointslices namespaced
events.k8s.io/v1 events namespaced ev
flowcontrol.apiserver.k8s.io/v1 flowschemas
flowcontrol.apiserver.k8s.io/v1 prioritylevelconfigurations
networking.k8s.io/v1 ingressclasses
networking.k8s.io/v1 ingresses namespaced ing
networking.k8s.io/v1 ipaddresses ip
networking.k8s.io/v1 networkpolicies namespaced netpol
networking.k8s.io/v1 servicecidrs
node.k8s.io/v1 runtimeclasses
policy/v1 poddisruptionbudgets namespaced pdb
rbac.authorization.k8s.io/v1 clusterrolebindings
rbac.authorization.k8s.io/v1 clusterroles
rbac.authorization.k8s.io/v1 rolebindings namespaced
rbac.authorization.k8s.io/v1 roles namespaced
resource.k8s.io/v1 deviceclasses
resource.k8s.io/v1 resourceclaims namespaced
resource.k8s.io/v1 resourceclaimtemplates namespaced
resource.k8s.io/v1 resourceslices
scheduling.k8s.io/v1 priorityclasses pc
storage.k8s.io/v1 csidrivers
storage.k8s.io/v1 csinodes
storage.k8s.io/v1 csistoragecapacities namespaced
storage.k8s.io/v1 storageclasses sc
storage.k8s.io/v1 volumeattachments
storage.k8s.io/v1 volumeattributesclasses vac
"""
"""Group and version, resource, scope, short names, and categories after an equals sign."""

YOUNG = frozenset({
    "certificates.k8s.io/v1 clustertrustbundles", "certificates.k8s.io/v1 podcertificaterequests",
    "resource.k8s.io/v1 devicetaintrules", "scheduling.k8s.io/v1alpha3 workloads", "scheduling.k8s.io/v1beta1 podgroups",
    "scheduling.k8s.io/v1beta1 compositepodgroups", "scheduling.k8s.io/v1beta1 workloads",
    "storagemigration.k8s.io/v1 storageversionmigrations",
})  # fmt: skip
"""Kinds that are new in their version, and have neither short names nor categories."""


HEADINGS = """
apiservices: Name, Service, Available, Age
certificatesigningrequests: Name, Age, SignerName, Requestor, RequestedDuration, Condition
clustertrustbundles: Name, SignerName
componentstatuses: Name, Status, Message, Error
configmaps: Name, Data, Age
controllerrevisions: Name, Controller, Revision, Age
cronjobs: Name, Schedule, Timezone, Suspend, Active, Last Schedule, Age, Containers+, Images+, Selector+
csidrivers: Name, AttachRequired, PodInfoOnMount, StorageCapacity, TokenRequests, RequiresRepublish, Modes, Age
csinodes: Name, Drivers, Age
csistoragecapacities: Name, StorageClassName, Capacity
daemonsets: Name, Desired, Current, Ready, Up-to-date, Available, Node Selector, Age, Containers+, Images+, Selector+
deployments: Name, Ready, Up-to-date, Available, Age, Containers+, Images+, Selector+
endpoints: Name, Endpoints, Age
endpointslices: Name, AddressType, Ports, Endpoints, Age
events: Last Seen, Type, Reason, Object, Subobject+, Source+, Message, First Seen+, Count+, Name+
flowschemas: Name, PriorityLevel, MatchingPrecedence, DistinguisherMethod, Age, MissingPL
horizontalpodautoscalers: Name, Reference, Targets, MinPods, MaxPods, Replicas, Age
ingressclasses: Name, Controller, Parameters, Age
ingresses: Name, Class, Hosts, Address, Ports, Age
ipaddresses: Name, ParentRef
jobs: Name, Status, Completions, Duration, Age, Containers+, Images+, Selector+
leases: Name, Holder, Age
limitranges roles clusterroles customresourcedefinitions: Name, Created At
mutatingadmissionpolicies: Name, Mutations, ParamKind, Age
mutatingwebhookconfigurations validatingwebhookconfigurations: Name, Webhooks, Age
namespaces: Name, Status, Age
networkpolicies: Name, Pod-Selector, Age
nodes: Name, Status, Roles, Age, Version, Internal-IP+, External-IP+, OS-Image+, Kernel-Version+, Container-Runtime+
persistentvolumeclaims: Name, Status, Volume, Capacity, Access Modes, StorageClass, VolumeAttributesClass, Age, VolumeMode+
persistentvolumes: Name, Capacity, Access Modes, Reclaim Policy, Status, Claim, StorageClass, VolumeAttributesClass, Reason, Age, VolumeMode+
podcertificaterequests: Name, PodName, ServiceAccountName, NodeName, SignerName, State, Age
poddisruptionbudgets: Name, Min Available, Max Unavailable, Allowed Disruptions, Age
pods: Name, Ready, Status, Restarts, Age, IP+, Node+, Nominated Node+, Readiness Gates+
podtemplates: Name, Containers, Images, Pod Labels
priorityclasses: Name, Value, Global-Default, Age, PreemptionPolicy
prioritylevelconfigurations: Name, Type, NominalConcurrencyShares, Queues, HandSize, QueueLengthLimit, Age
replicationcontrollers replicasets: Name, Desired, Current, Ready, Age, Containers+, Images+, Selector+
resourceclaims: Name, State, Age
resourcequotas: Name, Request, Limit, Age
resourceslices: Name, Node, Driver, Pool, Age
rolebindings clusterrolebindings: Name, Role, Age, Users+, Groups+, ServiceAccounts+
runtimeclasses: Name, Handler, Age
secrets: Name, Type, Data, Age
serviceaccounts: Name, Secrets, Age
servicecidrs: Name, CIDRs, Age
services: Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector+
statefulsets: Name, Ready, Age, Containers+, Images+
storageclasses: Name, Provisioner, ReclaimPolicy, VolumeBindingMode, AllowVolumeExpansion, Age
storageversionmigrations: Name, Resource
validatingadmissionpolicies: Name, Validations, ParamKind, Age
validatingadmissionpolicybindings mutatingadmissionpolicybindings: Name, PolicyName, ParamRef, Age
volumeattachments: Name, Attacher, PV, Node, Attached, Age
volumeattributesclasses: Name, DriverName, Age
"""
"""Resources with the headings that kubectl prints; a plus sign marks those of ``-o wide``. Others have Name and Age."""


def test_resources_have_the_columns_of_kubectl() -> None:
    wanted = {
        plural: headings
        for plurals, _, headings in (line.partition(": ") for line in HEADINGS.strip().splitlines())
        for plural in plurals.split()
    }
    for resource in SCHEME:
        headings = ", ".join(column.name + "+" * column.wide for column in resource.columns)
        assert headings == wanted.get(resource.plural, "Name, Age"), resource.plural


def test_resources_are_named_and_grouped_as_in_kubernetes() -> None:
    shown = []
    for resource in SCHEME:
        if resource.group == OURS or f"{resource.api_version} {resource.plural}" in YOUNG:
            continue
        words = [resource.api_version, resource.plural, *(["namespaced"] if resource.namespaced else [])]
        shown.append(" ".join([*words, *resource.short_names, *(f"={name}" for name in resource.categories)]))
    assert sorted(shown) == sorted(RESOURCES.strip().splitlines())
    young = [r for r in SCHEME if f"{r.api_version} {r.plural}" in YOUNG]
    assert not any(r.short_names or r.categories for r in young)


def test_no_two_resources_have_the_same_short_name() -> None:
    owners: dict[str, set[str]] = {}
    for resource in SCHEME:
        for name in resource.short_names:
            owners.setdefault(name, set()).add(resource.plural)
    assert [name for name, plurals in owners.items() if len(plurals) > 1] == []


def test_every_column_says_more_than_its_heading() -> None:
    headings = {c.name for r in SCHEME if r.group != OURS for c in r.columns if not c.description}
    assert headings - set(COLUMNS) == set()
    assert set(COLUMNS) <= headings
    assert all(text.endswith(".") and " " in text for text in COLUMNS.values())
