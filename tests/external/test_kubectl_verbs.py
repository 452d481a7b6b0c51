"""Every verb of kubectl that needs no real container, on a cluster whose nodes only say that they run something."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from kubelib.api.builtin import SCHEME
from kubelib.api.scheme import Resource
from tests.conformance.kinds import SAMPLES
from tests.external.conftest import Cluster, Kubectl, eventually, real_binary

APP = """apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {app: set}}
data: {a: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, labels: {app: set}}
spec:
  replicas: 1
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec: {containers: [{name: c, image: "registry.example/c:1"}]}
"""
MAP = APP.partition("---")[0]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("verbs") / "data"
    running = Cluster(directory, "--listen", "127.0.0.1:0", "--nodes", "2", "--runtime", "fake")
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def kubectl(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    return Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path_factory.mktemp("kubectl"))


class In:
    """kubectl in one namespace."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self.kubectl, self.namespace = kubectl, namespace

    def __call__(self, command: str, *more: str, stdin: str | None = None) -> str:
        return self.kubectl("-n", self.namespace, *command.split(), *more, stdin=stdin)

    def fails(self, command: str, *more: str, stdin: str | None = None) -> str:
        return self.kubectl.fails("-n", self.namespace, *command.split(), *more, stdin=stdin)

    def json(self, command: str) -> dict[str, object]:
        tree: dict[str, object] = json.loads(self(f"{command} -o json"))
        return tree


@pytest.fixture
def k(kubectl: Kubectl, namespace: str) -> In:
    return In(kubectl, namespace)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key, crt = tmp_path / "tls.key", tmp_path / "tls.crt"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {crt} -subj /CN=x -days 2"
    subprocess.run(command.split(), check=True, capture_output=True)
    return key, crt


CREATED = [
    ("clusterrole cr-{n} --verb=get,list --resource=pods", "clusterrole.rbac.authorization.k8s.io/cr-{n}"),
    ("clusterrole agg-{n} --aggregation-rule=a=b", "clusterrole.rbac.authorization.k8s.io/agg-{n}"),
    ("clusterrolebinding crb-{n} --clusterrole=view --user=u", "clusterrolebinding.rbac.authorization.k8s.io/crb-{n}"),
    ("configmap cm --from-literal=a=1", "configmap/cm"),
    ("cronjob cj --image=i --schedule=0/5/*/*/*/* -- date", "cronjob.batch/cj"),
    ("deployment d --image=registry.example/d:1 --replicas=0 --port=80", "deployment.apps/d"),
    ("ingress ing --class=c --rule=foo.com/bar*=svc1:8080,tls=my-cert --default-backend=s:http", "ingress.networking.k8s.io/ing"),
    ("job j --image=i -- true", "job.batch/j"),
    ("job from-cj --from=cronjob/cj", "job.batch/from-cj"),
    ("poddisruptionbudget pdb --selector=app=d --min-available=1", "poddisruptionbudget.policy/pdb"),
    ("priorityclass pc-{n} --value=10 --description=x", "priorityclass.scheduling.k8s.io/pc-{n}"),
    ("role r --verb=get --resource=pods,deployments.apps", "role.rbac.authorization.k8s.io/r"),
    ("rolebinding rb --role=r --serviceaccount=default:default", "rolebinding.rbac.authorization.k8s.io/rb"),
    ("secret generic s --from-literal=a=b", "secret/s"),
    ("secret docker-registry dr --docker-username=u --docker-password=p --docker-server=s", "secret/dr"),
    ("service clusterip sc --tcp=80:8080", "service/sc"),
    ("service externalname se --external-name=foo.com", "service/se"),
    ("service loadbalancer sl --tcp=80", "service/sl"),
    ("service nodeport sn --tcp=80", "service/sn"),
    ("serviceaccount sa", "serviceaccount/sa"),
    ("quota q --hard=cpu=100,pods=20 --scopes=NotTerminating", "resourcequota/q"),
]  # fmt: skip


def test_everything_that_create_knows_is_created(k: In, certificate: tuple[Path, Path]) -> None:
    for command, name in CREATED:
        words = [word.replace("0/5/*/*/*/*", "*/5 * * * *") for word in command.format(n=k.namespace).split()]
        assert k("create", *words) == f"{name.format(n=k.namespace)} created\n"
    key, crt = certificate
    assert k(f"create secret tls tls --cert={crt} --key={key}") == "secret/tls created\n"
    assert k("create token sa --duration=10m").count(".") == 2
    for _, name in CREATED:
        if "{n}" in name:
            k(f"delete {name.format(n=k.namespace)}")


def test_every_kind_is_listed_and_described(k: In) -> None:
    documents, names, later = [], [], []
    for sample in SAMPLES:
        group = sample.root.removeprefix("/apis/").removeprefix("/api/")
        body = json.loads(json.dumps(sample.body).replace("{namespace}", k.namespace))
        name = sample.name if sample.name != "sample" else f"sample-{k.namespace}"
        if sample.plural == "events" and sample.root == "/api/v1":
            continue  # the other form of the same
        if group == "autoscaling/v1" or sample.plural in ("apiservices", "resourcequotas", "nodes"):
            continue
        kind = kind_of(k, sample.plural, group)
        meta = {"name": name, **({"namespace": k.namespace} if sample.namespaced else {})}
        documents.append({"apiVersion": group, "kind": kind, "metadata": meta, **body})
        of_group, _, version = group.partition("/")
        full = f"{sample.plural}.{version}.{of_group}" if version else sample.plural
        names.append(f"{full}/{name}")
        if not sample.namespaced:
            later.append(f"{full}/{name}")
    k("create -f -", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    try:
        described = k("describe", *(name for name in names))
        assert described.count(f"sample-{k.namespace}") >= len(names)
        listed = k("get -o wide", *names)
        assert listed.count(f"sample-{k.namespace}") >= len(names) - 1
        assert len(json.loads(k("get -o json", *names))["items"]) == len(names)
    finally:
        k("delete --wait=false", *later)


_kinds: dict[tuple[str, str], str] = {}


def kind_of(k: In, plural: str, group_version: str) -> str:
    """Return the kind of a resource, as discovery tells it."""
    if not _kinds:
        for root in ("/api/v1", *(f"/apis/{g}" for g in k("api-versions").split() if g != "v1")):
            document = json.loads(k(f"get --raw {root}"))
            for resource in document["resources"]:
                _kinds[resource["name"], document["groupVersion"]] = resource["kind"]
    return _kinds[plural, group_version]


def test_apply_in_all_its_forms(k: In, tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(APP)
    assert k(f"apply -f {file}") == "configmap/a created\ndeployment.apps/d created\n"
    assert "unchanged" in k(f"apply -f {file}")
    assert 'a: "1"' in k("apply view-last-applied cm a")
    k(f"apply set-last-applied -f {file}")
    file.write_text(APP.replace('a: "1"', 'b: "2"'))
    differing = k.kubectl.run("-n", k.namespace, "diff", "-f", str(file))
    assert differing.returncode == 1 and '+  b: "2"' in differing.stdout and '-  a: "1"' in differing.stdout
    assert "configured (server dry run)" in k(f"apply -f {file} --dry-run=server")
    assert k("get cm a -o jsonpath={.data}") == '{"a":"1"}'
    k(f"apply -f {file}")
    assert k("get cm a -o jsonpath={.data}") == '{"b":"2"}'
    # From there to server-side apply, without a conflict and without the old manager.
    assert "serverside-applied" in k(f"apply -f {file} --server-side")
    managers = {
        (e["manager"], e["operation"])
        for e in json.loads(k("get cm a -o json --show-managed-fields"))["metadata"]["managedFields"]
    }
    assert managers == {("kubectl", "Apply"), ("kubectl-last-applied", "Apply")}
    assert "serverside-applied" in k(f"apply -f {file} --server-side")


def test_apply_prunes_by_label_and_by_set(k: In, tmp_path: Path) -> None:
    both, one = tmp_path / "both.yaml", tmp_path / "one.yaml"
    both.write_text(APP)
    one.write_text(MAP)
    k(f"apply -f {both}")
    assert "deployment.apps/d pruned" in k(f"apply -f {one} --prune -l app=set")
    k.kubectl.environment["KUBECTL_APPLYSET"] = "true"
    try:
        k(f"apply -f {both} --prune --applyset=configmaps/set")
        assert "deployment.apps/d pruned" in k(f"apply -f {one} --prune --applyset=configmaps/set")
    finally:
        del k.kubectl.environment["KUBECTL_APPLYSET"]
    assert 'deployments.apps "d" not found' in k.fails("get deploy d")


def test_what_is_edited_and_replaced(k: In, tmp_path: Path) -> None:
    file = tmp_path / "map.yaml"
    file.write_text(MAP)
    k(f"apply -f {file}")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/a: "1"/a: "9"/\' "$1"\n')
    editor.chmod(0o755)
    k.kubectl.environment["KUBE_EDITOR"] = str(editor)
    try:
        assert "configmap/a edited" in k("edit cm a")
        assert "edited" in k("apply edit-last-applied cm a")
    finally:
        del k.kubectl.environment["KUBE_EDITOR"]
    assert k(f"replace -f {file}") == "configmap/a replaced\n"
    assert "configmap/a replaced" in k(f"replace --force -f {file}")
    assert 'configmaps "a" already exists' in k.fails(f"create -f {file}")


def test_a_pod_is_run_exposed_debugged_and_drained(k: In) -> None:
    k("run p --image=registry.example/p:1 --port=80 --labels=app=p --env=A=b")
    assert k("expose pod p --name=e") == "service/e exposed\n"
    assert "condition met" in k("wait --for=condition=Ready pod/p --timeout=120s")
    assert "condition met" in k("wait --for=jsonpath={.status.phase}=Running pod/p --timeout=120s")
    k("debug p --image=registry.example/tool:1 --target=p --profile=general")
    assert k("get pod p -o jsonpath={.spec.ephemeralContainers[0].image}") == "registry.example/tool:1"
    k("debug p --copy-to=copy --image=registry.example/tool:1 --profile=general")
    assert k("get pod copy -o name") == "pod/copy\n"
    node = k("get pod p -o jsonpath={.spec.nodeName}")
    k(f"cordon {node}")
    assert "SchedulingDisabled" in k(f"get node {node}")
    assert "drained" in k(
        f"drain {node} --ignore-daemonsets --force --delete-emptydir-data --pod-selector=app=p --timeout=120s"
    )
    k(f"uncordon {node}")
    assert 'pods "p" not found' in k.fails("get pod p")
    k(f"taint nodes {node} k=v:PreferNoSchedule")
    assert "untainted" in k(f"taint nodes {node} k-")
    k(f"debug node/{node} --image=registry.example/tool:1 --profile=general")
    k("delete pod copy --grace-period=0 --force")
    k("delete pods --all --now")


def test_a_deployment_is_scaled_set_rolled_and_patched(k: In, tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(APP)
    k(f"create -f {file} --save-config")
    assert "successfully rolled out" in k("rollout status deploy/d --timeout=120s")
    assert k("scale deploy d --replicas=2 --current-replicas=1") == "deployment.apps/d scaled\n"
    assert "Expected replicas to be 9, was 2" in k.fails("scale deploy d --replicas=1 --current-replicas=9")
    k("set image deploy/d c=registry.example/c:2")
    k("set env deploy/d A=b")
    k("set resources deploy/d --limits=cpu=200m")
    k("create serviceaccount sa")
    k("set serviceaccount deploy/d sa")
    k("create service clusterip s --tcp=80")
    k("set selector svc/s a=b")
    k("create rolebinding rb --clusterrole=view --user=u")
    k("set subject rolebinding rb --user=v --group=g --serviceaccount=default:s")
    assert k("get rolebinding rb -o jsonpath={.subjects[*].name}") == "u v g s"
    assert k("get svc s -o jsonpath={.spec.selector}") == '{"a":"b"}'
    template = "{.spec.template.spec.serviceAccountName} {.spec.template.spec.containers[0]"
    assert k("get deploy d -o", f"jsonpath={template}['env','resources']}}") == (
        'sa [{"name":"A","value":"b"}] {"limits":{"cpu":"200m"}}'
    )
    assert "A=b" in k("set env deploy/d --list")
    assert "registry.example/c:2" in k("rollout history deploy/d --revision=2")
    k("rollout undo deploy/d --to-revision=1")
    k("rollout pause deploy/d")
    k("rollout resume deploy/d")
    k("rollout restart deploy/d")
    assert (
        k("autoscale deployment d --min=1 --max=3 --cpu=80%")
        == "horizontalpodautoscaler.autoscaling/d autoscaled\n"
    )
    scale = k("get deploy d --subresource=scale")
    assert scale.split()[:4] == ["NAME", "DESIRED", "AVAILABLE", "AGE"] and scale.split()[4:6] == ["d", "2"]
    k('patch deploy d --subresource=scale --type=merge -p {"spec":{"replicas":3}}')
    k('patch deploy d --subresource=status --type=merge -p {"status":{"observedGeneration":1}}')
    k('patch deploy d --type=json -p [{"op":"replace","path":"/spec/replicas","value":0}]')
    k(
        'patch deploy d --type=strategic -p {"spec":{"template":{"spec":{"containers":[{"name":"c","args":["x"]}]}}}}'
    )
    assert k("get deploy d -o jsonpath={.spec.replicas}/{.spec.template.spec.containers[0].args[0]}") == "0/x"
    k("annotate deploy d a=b")
    assert "a: b" in k("get deploy d -o yaml")
    k("label deploy d x=y --overwrite")
    assert "x=y" in k("label deploy d --list")
    k("delete deploy d --cascade=foreground")
    eventually(lambda: not k("get rs -o name"))


def test_get_in_all_its_forms(k: In, tmp_path: Path) -> None:
    for name in "cab":
        k(f"create configmap {name} --from-literal=n={name}")
        k(f"label cm {name} l={name}")
    only = "--field-selector=metadata.name!=kube-root-ca.crt"
    assert k(f"get cm {only} --sort-by=.metadata.name -o name").split() == [
        "configmap/a",
        "configmap/b",
        "configmap/c",
    ]
    assert k(f"get cm {only} -o jsonpath={{.items[*].data.n}}") == "a b c"
    assert k(f"get cm {only} -o custom-columns=N:.metadata.name").split() == ["N", "a", "b", "c"]
    assert k("get cm a -o go-template={{.data.n}}") == "a"
    assert "l=a" in k("get cm --show-labels --chunk-size=1") and "L" in k("get cm -L l")
    assert "managedFields" in k("get cm a -o yaml --show-managed-fields")
    assert k("get cm a b --no-headers").count("\n") == 2
    assert json.loads(k(f"get --raw /api/v1/namespaces/{k.namespace}/configmaps/a"))["data"] == {"n": "a"}
    assert "ADDED" in k("get cm a --watch --output-watch-events --request-timeout=1s")
    assert k("get cm --watch-only --request-timeout=1s") == ""
    assert k("get cm none --ignore-not-found") == ""
    assert "condition met" in k("wait --for=create cm/a --timeout=5s")
    k("delete cm a")
    assert "configmaps" in k.fails("wait --for=condition=X cm/a --timeout=1s")
    k("wait --for=delete cm/a --timeout=5s")
    assert "deleted" in k("delete cm -l l=b")


def test_what_kubectl_tells_of_the_server(k: In, tmp_path: Path) -> None:
    assert "deployments" in k("api-resources --api-group=apps -o wide --sort-by=name")
    assert "apps/v1" in k("api-versions").split()
    assert "is running at" in k("cluster-info")
    k(f"cluster-info dump --namespaces {k.namespace} --output-directory {tmp_path / 'dump'}")
    assert (tmp_path / "dump" / "nodes.json").exists()
    assert k("auth can-i create pods").strip() == "yes"
    assert "selfsubjectreviews.authentication.k8s.io" in k("auth can-i --list")
    assert "kubernetes-admin" in k("auth whoami")
    assert (
        k.kubectl.run("-n", k.namespace, "auth", "can-i", "get", "pods", "--as", "nobody").stdout.strip()
        == "no"
    )
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r", "namespace": k.namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }  # fmt: skip
    assert "reconciled" in k("auth reconcile -f -", stdin=yaml.safe_dump(role))
    assert "Server Version" in k("version")
    assert "clusters" in k("config view")
    assert "ephemeralContainers" in k("explain pods.spec --recursive")
    assert "VERSION:  apps/v1" in k("explain deploy --output=plaintext-openapiv2")
    deep = k("explain deploy --recursive --output=plaintext-openapiv2")
    assert "topologySpreadConstraints\t<[]Object>" in deep
    kinds = [line.split()[-1] for line in k("api-resources --sort-by=kind --no-headers").splitlines()]
    assert kinds == sorted(kinds)
    assert len(kinds) > 50
    assert "targetCPUUtilizationPercentage" in k("explain hpa.spec --api-version=autoscaling/v1")
    assert "readyz check passed" in k("get --raw /readyz?verbose")
    assert "--as-group" in k("options")
    assert "unable to find any kubectl plugins" in k.kubectl.run("plugin", "list").stderr
    (tmp_path / "kustomization.yaml").write_text("resources: [map.yaml]\nnamePrefix: pre-\n")
    (tmp_path / "map.yaml").write_text(MAP)
    assert "name: pre-a" in k(f"kustomize {tmp_path}")
    assert "configmap/pre-a created" in k(f"apply -k {tmp_path}")
    eventually(lambda: k.kubectl.run("top", "nodes").stdout.count("node-") == 2, within=120)


def test_every_kind_is_explained_and_so_are_fields_deep_inside(k: In) -> None:
    def explained(resource: Resource) -> str:
        version = f"{resource.group}/{resource.version}" if resource.group else resource.version
        return k(f"explain {resource.plural} --api-version={version}")

    explainable = [r for r in SCHEME if "list" in r.verbs]
    with ThreadPoolExecutor(4) as pool:
        for resource, page in zip(explainable, pool.map(explained, explainable), strict=True):
            assert f"KIND:       {resource.kind}\nVERSION:    {resource.version}\n" in page
            assert "<no description available>" not in page
            assert page.count("\n  metadata\t<ObjectMeta>") == 1
    protocol = k("explain deployments.spec.template.spec.containers.ports.protocol")
    assert "FIELD: protocol <string>\nENUM:\n    SCTP\n    TCP\n    UDP\n" in protocol
    assert "processes of the node" in k("explain pod.spec.hostPID")
    operator = "pods.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    assert "DoesNotExist" in k(f"explain {operator}.nodeSelectorTerms.matchExpressions.operator")
    assert "jsonPath" in k("explain crd.spec.versions.additionalPrinterColumns")
    assert "ReadWriteOncePod" in k("explain pvc.spec.accessModes")


def test_a_namespace_goes_with_all_that_is_in_it(kubectl: Kubectl) -> None:
    kubectl("create", "namespace", "going")
    kubectl("-n", "going", "create", "configmap", "m")
    kubectl("delete", "namespace", "going", "--timeout=120s")
    assert 'namespaces "going" not found' in kubectl.fails("get", "ns", "going")


def test_what_is_most_likely_not_meant_is_warned_of(k: In) -> None:
    twice = APP.replace(
        "containers: [{name: c,",
        "containers: [{name: c, env: [{name: A, value: one}, {name: A, value: two}],",
    )
    done = k.kubectl.run("-n", k.namespace, "apply", "-f", "-", stdin=twice)
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        'Warning: spec.template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using'
        " apply\n"
    )
    again = k.kubectl.run("-n", k.namespace, "apply", "-f", "-", stdin=twice)
    assert (again.stdout.count("unchanged"), again.stderr) == (2, "")


def test_further_options_of_get_apply_and_delete(k: In, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "app.yaml").write_text(APP)
    assert "deployment.apps/d created" in k(f"apply -R -f {tmp_path}")
    assert k("get deploy d --server-print=false").split()[:3] == ["NAME", "AGE", "d"]
    assert json.loads(k("get cm a -o jsonpath-as-json={.data}")) == [{"a": "1"}]
    odd = f"{MAP}dta: {{}}\n"
    assert 'unknown field "dta"' in k.fails("apply -f -", stdin=odd)
    warned = k.kubectl.run("-n", k.namespace, "apply", "--validate=warn", "-f", "-", stdin=odd)
    assert (warned.returncode, 'Warning: unknown field "dta"' in warned.stderr) == (0, True)
    assert "configured" in k("apply --validate=ignore -f -", stdin=odd.replace('a: "1"', 'a: "2"'))
    assert "NAMESPACE" in k("get cm -A") and k.namespace in k("get cm -A")
    eventually(lambda: k("get rs -o name"))
    k("delete deploy d --cascade=orphan")
    eventually(lambda: k("get rs -o jsonpath={.items[*].metadata.ownerReferences}") == "")
    assert k("get rs -o name").startswith("replicaset.apps/d-")
    k("delete rs -l app=d")
    assert "deleted" in k("delete cm --all --grace-period=0")
    assert "complete" in k("completion bash")
