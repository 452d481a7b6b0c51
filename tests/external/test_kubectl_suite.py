"""What Kubernetes' own tests of kubectl ask of an API server and controllers without kubelets, as far as no other module asks it.

Each row is a command, and what is asked of its output (both streams): that it `is` a text, `has` or `lacks` it, has all its `words`, has it `soon`, or that
the command `fails` with it. A name after ``@`` is that of a manifest. The rows of a topic share a namespace, whose name ``NS`` stands for.
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.external.conftest import Cluster, Kubectl, eventually, real_binary

Row = tuple[str, str, str]


def pod(name: str, more: str = "") -> str:
    return f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}{more}}}, spec: {{containers: [{{name: c, image: i}}]}}}}\n"


def settings(data: str, more: str = "") -> str:
    return f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: settings{more}}}, data: {data}}}\n"


def workload(kind: str, name: str, image: str, *, label: str = "a", more: str = "", spec: str = "") -> str:
    return (
        f"{{apiVersion: apps/v1, kind: {kind}, metadata: {{name: {name}{more}}}, spec: {{selector: {{matchLabels: {{app: {label}}}}}{spec},"
        f" template: {{metadata: {{labels: {{app: {label}}}}}, spec: {{containers: [{{name: c, image: '{image}'}}]}}}}}}}}\n"
    )


def definition(
    plural: str, kind: str, *, scope: str = "Namespaced", more: str = "", versions: str = ""
) -> str:
    version = (
        "served: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}"
    )
    return (
        f"{{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {{name: {plural}.suite.example}}, spec: {{"
        f"group: suite.example, scope: {scope}, names: {{plural: {plural}, kind: {kind}{more}}},"
        f" versions: [{{name: v1, storage: true, {version}}}{versions.replace('VERSION', version)}]}}}}\n"
    )


MANIFESTS = {
    "pod": pod("p", ", labels: {app: p}"),
    "pods": pod("one", ", labels: {group: g}") + "---\n" + pod("two", ", labels: {group: g}"),
    "relabelled": pod("p", ", labels: {app: q}"),
    "malformed": pod("p").replace("kind", "ind"),
    "mixed": pod("a") + "---\n" + pod("B") + "---\n" + pod("c"),
    "ahead": pod("p", ", namespace: NS-later") + "---\n{apiVersion: v1, kind: Namespace, metadata: {name: NS-later}}\n",
    "bogus": settings("{}") + "---\n{apiVersion: suite.example/v1, kind: Bogus, metadata: {name: b}}\n",
    "custom": "{apiVersion: suite.example/v1, kind: Gadget, metadata: {name: g}}\n---\n" + definition("gadgets", "Gadget"),
    "service": "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}\n",
    "fixed": "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {clusterIP: None, ports: [{port: 80}]}}\n",
    "status": "{apiVersion: v1, kind: Pod, metadata: {name: p}, status: {conditions: [{type: example.com/Seen, status: 'True'}]}}\n",
    "pruned-a": pod("a", ", labels: {prune: group}"),
    "pruned-b": pod("b", ", namespace: NS-other, labels: {prune: group}"),
    "pruned-s": "{apiVersion: v1, kind: Service, metadata: {name: s, labels: {prune: group}}, spec: {ports: [{port: 80}]}}\n",
    "settings": settings("{key: value, legacy: unused}"),
    "settings-2": settings("{key: value, newer: used}"),
    "settings-3": settings("{key: value, newest: used}"),
    "settings-4": settings("{key: changed}", ", annotations: {note: new}"),
    "nulls": workload("Deployment", "nulls", "i").replace("image: 'i'", "image: i, terminationMessagePolicy: null, resources: {requests: {memory: 64Mi, cpu: null}}"),
    "rolling": workload("Deployment", "d", "i:1", spec=", replicas: 2"),
    "rolling-2": workload("Deployment", "d", "i:2", spec=", replicas: 2"),
    "bad-selector": workload("Deployment", "d", "i:2", label="b", more=", resourceVersion: '99'").replace("labels: {app: b}", "labels: {app: c}"),
    "daemons": workload("DaemonSet", "d", "i:1"),
    "daemons-2": workload("DaemonSet", "d", "i:2"),
    "stateful": workload("StatefulSet", "s", "i:1", spec=", replicas: 0, serviceName: s"),
    "replicas": workload("ReplicaSet", "r", "i:1", spec=", replicas: 2"),
    "claim": "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}\n",
    "short": definition("samples", "Sample", more=", singular: sample, shortNames: [pod]"),
    "singular": definition("samples", "Sample", more=", singular: pod"),
    "sample": "{apiVersion: suite.example/v1, kind: Sample, metadata: {name: sample-of-ours}, spec: {a: b}, gone: soon}\n",
    "sample-2": "{apiVersion: suite.example/v1, kind: Sample, metadata: {name: sample-of-ours}, spec: {a: c, d: e}}\n",
    "old-version": definition("olds", "Old", versions=", {name: v1beta1, storage: false, deprecated: true, VERSION}"),
    "wide": definition("scopes", "Scope", scope="Cluster"),
    "narrow": definition("scopes", "Scope"),
    "scope": "{apiVersion: suite.example/v1, kind: Scope, metadata: {name: s}}\n",
    "bound-1": pod("one", ", labels: {e: f, of: drain}").replace("spec: {", "spec: {nodeName: bare, "),
    "bound-2": pod("two", ", labels: {c: d, of: drain}").replace("spec: {", "spec: {nodeName: bare, "),
    "bare": "{apiVersion: v1, kind: Node, metadata: {name: bare, annotations: {keep: managers}}, status: {capacity: {memory: 1Gi}}}\n",
    "bare-again": "{apiVersion: v1, kind: Node, metadata: {name: bare, resourceVersion: '0', annotations: {keep: again}}}\n",
    "restricted": pod("target").replace("image: i", "image: i, securityContext: {allowPrivilegeEscalation: false, runAsNonRoot: true,"
        " capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}"),
    "preserved": "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {activeDeadlineSeconds: 2147483647, securityContext: {supplementalGroups: [0, 2147483647]},"
        " containers: [{name: c, image: i}]}}\n",
    "secret": "{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {k1: djE=, k2: ''}, stringData: {k2: v2}}\n",
}  # fmt: skip

MANAGERS = "get {} --show-managed-fields -o jsonpath={{.metadata.managedFields[*].manager}}"
IMAGES = "get {} -o jsonpath={{.items[*].spec.template.spec.containers[*].image}}"

TOPICS: dict[str, list[Row]] = {
    "server-side dry runs change nothing": [
        ("has", "create -f @pod --dry-run=server", "pod/p created (server dry run)"),
        ("has", "create quota q --dry-run=server", "resourcequota/q created (server dry run)"),
        ("has", "create priorityclass NS --dry-run=server", "created (server dry run)"),
        ("has", "create namespace NS-x --dry-run=server", "namespace/NS-x created (server dry run)"),
        ("has", "create service externalname e --external-name=bar.com --dry-run=server", "(server dry run)"),
        ("has", "create cronjob c --schedule='1 2 3 4 *' --image=i --dry-run=server", "(server dry run)"),
        ("has", "run p --image=i --dry-run=server", "pod/p created (server dry run)"),
        ("is", "get pod,quota,svc,cronjob -o name", ""),
        ("fails", "get ns NS-x", "not found"),
        ("has", "create -f @replicas", "replicaset.apps/r created"),
        ("soon", "get rs r -o jsonpath={.status.observedGeneration}/{.status.replicas}", "1/2"),
        ("has", "label rs r a=b --dry-run=server", "labeled (server dry run)"),
        ("has", "annotate rs r a=b --dry-run=server", "annotated (server dry run)"),
        ("has", "scale rs r --current-replicas=2 --replicas=3 --dry-run=server -o yaml", "replicas: 3"),
        ("has", "autoscale rs r --max=3 --dry-run=server", "autoscaled (server dry run)"),
        ("has", "expose rs r --port=80 --dry-run=server", "service/r exposed (server dry run)"),
        ("has", "set image rs r c=j --dry-run=server", "image updated (server dry run)"),
        ("has", "set env rs r A=b --dry-run=server", "env updated (server dry run)"),
        ("has", "set resources rs r --limits=cpu=400m --dry-run=server -o yaml", "cpu: 400m"),
        ("has", "set serviceaccount rs r other --dry-run=server", "serviceaccount updated (server dry run)"),
        ("has", 'patch rs r -p {"spec":{"replicas":5}} --dry-run=server', "patched"),
        ("has", "apply set-last-applied -f @replicas --create-annotation --dry-run=server", "configured (server dry run)"),
        ("has", "delete rs --all --dry-run=server", "deleted from NS namespace (server dry run)"),
        ("is", "get rs r -o jsonpath={.metadata.generation}{.metadata.labels}{.metadata.annotations}{.spec.replicas}", "12"),
        ("is", "get hpa,svc -o name", ""),
    ],
    "every command is known as a field manager": [
        ("has", "create deployment d --image=i", "created"),
        ("has", "set env deploy d A=b", "env updated"),
        ("has", "label deploy d a=b", "labeled"),
        ("has", "annotate deploy d a=b", "annotated"),
        ("has", 'patch deploy d -p {"spec":{"minReadySeconds":1}}', "patched"),
        ("has", "rollout pause deploy d", "paused"),
        ("words", MANAGERS.format("deploy d"), "kubectl-create kubectl-set kubectl-label kubectl-annotate kubectl-patch kubectl-rollout"),
        ("has", "expose deploy d --port=80", "exposed"),
        ("is", MANAGERS.format("svc d"), "kubectl-expose"),
        ("has", "autoscale deploy d --max=2 --cpu=70%", "autoscaled"),
        ("has", MANAGERS.format("hpa d"), "kubectl-autoscale"),
        ("is", "get hpa d -o jsonpath={.spec.minReplicas}{.spec.maxReplicas}{.spec.metrics[0].resource.target.averageUtilization}", "1270"),
        ("has", "run p --image=i", "created"),
        ("has", MANAGERS.format("pod p"), "kubectl-run"),
        ("has", "apply -f @settings", "created"),
        ("has", "replace -f @settings-2", "replaced"),
        ("words", MANAGERS.format("cm settings"), "kubectl-client-side-apply kubectl-replace"),
        ("is", "get hpa.autoscal -o jsonpath={.items[0].apiVersion}", "autoscaling/v2"),
        ("is", "get horizontalpodautoscalers.v1.autoscaling -o jsonpath={.items[0].apiVersion}", "autoscaling/v1"),
    ],
    "what is chosen and how much is asked for at a time": [
        ("has", "create -f @pods", "pod/two created"),
        ("is", "get pods -l 'group in (g)' -o name", "pod/one\npod/two"),
        ("is", "get pods --field-selector metadata.name=two -o name", "pod/two"),
        ("is", "get pods --field-selector status.phase=Pending,spec.nodeName= -o name", "pod/one\npod/two"),
        ("has", "get pods --chunk-size=1 -v=6", "/pods?limit=1\""),
        ("has", "get pods --chunk-size=1 -v=6", "/pods?continue="),
        ("has", "get pods --chunk-size=1 --watch --request-timeout=1s", "two"),
        ("has", "describe pods --show-events --chunk-size=10 -v=6", "&limit=10"),
        ("has", "get pods -v=8 --sort-by={.metadata.name}", "includeObject=Object"),
        ("is", "get pods --subresource=status one two --no-headers -o custom-columns=N:.metadata.name", "one\ntwo"),
        ("fails", "get pod one --subresource=scale", "the server could not find the requested resource"),
        ("fails", "get pods --selector group=g --all-namespaces one", "cannot be"),
        ("fails", "delete pods", "resource(s) were provided, but no name was specified"),
        ("fails", "delete pods --all -l group=g", "setting 'all' parameter but found a non empty selector"),
        ("fails", "delete namespace default", 'namespaces "default" is forbidden: this namespace may not be deleted'),
        ("has", "label pods -l group=g gone=NS", "labeled"),
        ("has", "delete pods -A -l gone=NS --dry-run=server", 'pod "one" deleted from NS namespace (server dry run)'),
        ("has", "delete pods -A -l gone=NS --now", 'pod "two" deleted from NS namespace'),
        ("is", "get pods -o name", ""),
        ("has", "get pods", "No resources found in NS namespace"),
    ],
    "patches and replacements": [
        ("has", "create -f @preserved", "created"),
        ("has", 'patch pod p -p {"metadata":{"annotations":{"patched":"yes"}}}', "pod/p patched"),
        ("has", 'patch pod p -p {"metadata":{"annotations":{"patched":"yes"}}}', "pod/p patched (no change)"),
        ("is", "get pod p -o jsonpath={.spec.activeDeadlineSeconds}{.spec.securityContext.supplementalGroups}", "2147483647[0,2147483647]"),
        ("has", "patch pod p -p 'spec: {containers: [{name: c, image: yaml}]}'", "patched"),
        ("fails", 'patch pod p -p {"metadata":{"labels":"wrong"}}', "cannot restore map from string"),
        ("fails", 'patch pod p -p {"metadata":{"resourceVersion":"1"}}', "please apply your changes to the latest version and try again"),
        ("fails", 'patch pod p -p {"spec":{"hostNetwork":true}}', "pod updates may not change fields other than"),
        ("has", "create -f @secret", "created"),
        ("is", "get secret s -o jsonpath={.data}{.stringData}", '{"k1":"djE=","k2":"djI="}'),
        ("has", "create service clusterip s --tcp=80", "created"),
        ("fails", "set selector svc s a=b --resource-version=1", "the object has been modified"),
        ("fails", "create --raw /api/v1/namespaces -f @pod", "the object provided is unrecognized (must be of type Namespace)"),
        ("has", "delete --raw /api/v1/namespaces/NS/secrets/s", '"status":"Success"'),
    ],
    "apply": [
        ("fails", "apply -f @ahead", 'namespaces "NS-later" not found'),
        ("has", "apply -f @ahead", "pod/p created"),
        ("has", "delete ns NS-later --wait=false", "deleted"),
        ("fails", "apply -f @bogus", 'no matches for kind "Bogus" in version "suite.example/v1"'),
        ("is", "get cm settings -o name", "configmap/settings"),
        ("fails", "apply -f @mixed", 'The Pod "B" is invalid'),
        ("is", "get pods -o name", "pod/a\npod/c"),
        ("fails", "apply -f @custom", 'no matches for kind "Gadget" in version "suite.example/v1"'),
        ("soon", "apply -f @custom", "gadget.suite.example/g created"),
        ("has", "delete -f @custom", "deleted"),
        ("has", "apply -f @service", "created"),
        ("fails", "apply -f @fixed", "may not change once set"),
        ("has", "apply -f @fixed --force", "service/s configured"),
        ("is", "get svc s -o jsonpath={.spec.clusterIP}", "None"),
        ("has", "apply -f @nulls", "created"),
        ("has", "apply -f @nulls", "configured"),  # nulls are sent each time
        ("is", "get deploy nulls -o jsonpath={.metadata.generation}", "1"),
        ("is", "get deploy nulls -o jsonpath={.spec.template.spec.containers[0].resources}{..terminationMessagePolicy}", '{"requests":{"memory":"64Mi"}}File'),
        ("has", "apply -f @rolling", "created"),
        ("fails", "apply -f @bad-selector --force", "Invalid value"),  # conflicts, is deleted, is invalid, is restored
        ("is", "get deploy d -o jsonpath={.spec.template.metadata.labels.app}", "a"),
        ("fails", "apply -n foo -f @pruned-b", 'the namespace from the provided object "NS-other" does not match the namespace "foo"'),
    ],
    "apply --prune": [
        ("has", "create ns NS-other", "created"),
        ("has", "apply -l prune=group -f @pruned-a -f @pruned-b", "pod/b created"),
        ("fails", "apply --prune -f @pruned-s", "all resources selected for prune without explicitly passing --all"),
        ("has", "apply --prune -l prune=group -f @pruned-s --prune-allowlist core/v1/Service", "service/s created"),
        ("is", "get pods -o name", "pod/a"),
        ("has", "diff --prune -l prune=group -f @pruned-s -f @pruned-b", "name: a"),
        ("has", "apply --prune -l prune=group -f @pruned-s -f @pruned-b", "pod/a pruned"),
        ("is", "get pods -A -l prune=group -o name", "pod/b"),
        ("has", "delete ns NS-other --wait=false", "deleted"),
    ],
    "from client-side to server-side apply and back": [
        ("has", "apply --server-side=false -f @settings", "created"),
        ("has", "apply --server-side -f @settings-2", "serverside-applied"),
        ("is", "get cm settings -o jsonpath={.data}", '{"key":"value","newer":"used"}'),
        ("has", "apply --server-side=false -f @settings-3", "configured"),
        ("is", "get cm settings -o jsonpath={.data}", '{"key":"value","newest":"used"}'),
        ("has", "apply view-last-applied cm settings", "newest: used"),
        ("fails", "apply --server-side --field-manager=other -f @settings-4", 'conflict with "kubectl": .data.key'),
        ("has", "diff --server-side -f @settings-4", "+    note: new"),
        ("has", "apply --server-side --dry-run=server -f @settings-4", "serverside-applied (server dry run)"),
        ("is", "get cm settings -o jsonpath={.data.key}", "value"),
        ("has", "delete cm settings", "deleted"),
        ("has", "apply --field-manager=mine -f @settings", "created"),
        ("has", "apply --server-side --field-manager=mine -f @settings", "serverside-applied"),
        ("is", MANAGERS.format("cm settings") + "{.metadata.annotations}", "mine"),
        ("has", "apply --server-side --field-manager=mine -f @settings-2", "serverside-applied"),
        ("is", "get cm settings -o jsonpath={.data}", '{"key":"value","newer":"used"}'),
        ("has", "apply --server-side -f @pod", "pod/p serverside-applied"),
        ("has", "apply --server-side --subresource=status --field-manager=mine -f @status", "pod/p serverside-applied"),
        ("has", "get pod p -o jsonpath={.status.conditions[*].type}", "example.com/Seen"),
        ("has", "get pod p -o jsonpath={.metadata.labels}", '{"app":"p"}'),
    ],
    "rollouts": [
        ("has", "apply -f @rolling", "created"),
        ("soon", "get rs -o jsonpath={.items[*].metadata.annotations}", '"deployment.kubernetes.io/revision":"1"'),
        ("has", "rollout undo deploy d --to-revision=1", "skipped rollback (current template already matches revision 1)"),
        ("has", "apply -f @rolling-2", "configured"),
        ("soon", IMAGES.format("rs"), "i:2"),
        ("has", "rollout undo deploy d --dry-run=server", "rolled back (server dry run)"),
        ("is", IMAGES.format("deploy"), "i:2"),
        ("has", "rollout undo deploy d --to-revision=1", "rolled back"),
        ("soon", "get rs -o jsonpath={.items[*].metadata.annotations}", '"deployment.kubernetes.io/revision-history":"1"'),
        ("fails", "rollout undo deploy d --to-revision=1000", "unable to find specified revision 1000 in history"),
        ("fails", "rollout status deploy d --revision=2", "desired revision (2) is different from the running revision (3)"),
        ("has", "rollout pause deploy d", "paused"),
        ("fails", "rollout undo deploy d", "cannot rollback a paused deployment"),
        ("fails", "rollout restart deploy d", "can't restart paused deployment"),
    ],
    "revisions of sets": [
        ("has", "apply -f @daemons --record", "created"),
        ("is", "get ds d -o jsonpath={.metadata.generation}", "1"),
        ("has", "apply -f @daemons --record", "daemonset.apps/d"),
        ("soon", "get controllerrevisions -o jsonpath={.items[*].metadata.annotations}", "daemons --record=true"),
        ("has", "rollout undo ds d --to-revision=1", "skipped rollback (current template already matches revision 1)"),
        ("is", "get ds d -o jsonpath={.metadata.generation}", "1"),
        ("has", "apply -f @daemons-2 --record", "configured"),
        ("soon", "rollout history ds d", "daemons-2 --record=true"),
        ("has", "rollout undo ds d --to-revision=1", "rolled back"),
        ("fails", "rollout undo ds d --to-revision=1000", "unable to find specified revision"),
        ("soon", "get controllerrevisions -o jsonpath={.items[*].revision}", "3"),
        ("has", "rollout undo ds d", "rolled back"),
        ("is", IMAGES.format("ds"), "i:2"),
        ("has", "create -f @stateful", "created"),
        ("soon", "get sts s -o jsonpath={.status.observedGeneration}", "1"),
        ("soon", "rollout undo sts s --to-revision=1", "skipped rollback (current template already matches revision 1)"),
        ("has", "scale sts s --current-replicas=0 --replicas=1", "scaled"),
        ("soon", "get pods -l app=a -o name", "pod/s-0"),
        ("has", "rollout restart sts s", "restarted"),
        ("soon", "get sts s -o jsonpath={.status.observedGeneration}", "3"),
        ("has", "delete -f @stateful", "deleted"),
        ("soon", "get pods -l app=a", "No resources found"),
    ],
    "kinds that look like others": [
        ("has", "create -f @short", "created"),
        ("soon", "create -f @sample", "sample.suite.example/sample-of-ours created"),
        ("is", "get sample.suite.example/sample-of-ours -o name", "sample.suite.example/sample-of-ours"),
        ("is", "get samples.v1.suite.example -o name", "sample.suite.example/sample-of-ours"),
        ("lacks", "get pod", "sample-of-ours"),
        ("fails", 'patch sample sample-of-ours -p {"spec":{"a":"x"}}', "application/strategic-merge-patch+json is not supported"),
        ("has", 'patch sample sample-of-ours --type=merge -p {"gone":null}', "patched"),
        ("has", "apply -f @sample-2", "configured"),
        ("is", "get sample sample-of-ours -o jsonpath={.spec}{.gone}", '{"a":"c","d":"e"}'),
        ("has", "describe samples", "Name:         sample-of-ours"),
        ("has", "delete crd samples.suite.example", "deleted"),
        ("has", "create -f @singular", "created"),
        ("soon", "create -f @sample", "created"),
        ("lacks", "get pod", "sample-of-ours"),
        ("has", "delete crd samples.suite.example", "deleted"),
        ("has", "apply -f @wide", "created"),
        ("soon", "apply -f @scope", "scope.suite.example/s created"),
        ("has", "delete -f @wide", "deleted"),
        ("has", "api-resources --api-group=apps", "deployments"),
        ("has", "apply -f @narrow", "created"),
        ("soon", "apply -f @scope", "created"),
        ("is", "get scopes -o name", "scope.suite.example/s"),
        ("has", "delete -f @narrow", "deleted"),
        ("has", "create -f @old-version", "created"),
        ("soon", "get olds.v1beta1.suite.example", "Warning: suite.example/v1beta1 Old is deprecated"),
        ("fails", "get olds.v1beta1.suite.example --warnings-as-errors", "1 warning received"),
        ("has", "delete -f @old-version", "deleted"),
    ],
    "nodes": [
        ("has", "create -f @bare", "node/bare created"),
        ("has", "replace -f @bare-again", "node/bare replaced"),
        ("has", "describe node bare", "Non-terminated Pods:"),
        ("has", "taint node bare dedicated=foo:PreferNoSchedule --dry-run=server", "tainted"),
        ("lacks", "get node bare -o jsonpath={.spec.taints}", "dedicated"),
        ("has", "taint node bare dedicated=foo:PreferNoSchedule", "tainted"),
        ("has", MANAGERS.format("node bare"), "kubectl-taint"),
        ("has", "taint node bare dedicated-", "untainted"),
        ("fails", "taint node bare dedicated-", 'taint "dedicated" not found'),
        ("has", "create -f @bound-1 -f @bound-2", "pod/two created"),
        ("has", "drain bare --force --dry-run=server", "node/bare drained (server dry run)"),
        ("is", "get node bare -o jsonpath={.spec.unschedulable}", ""),
        ("has", "drain bare --force --pod-selector 'e in (f)' --grace-period=1 --skip-wait-for-delete-timeout=1", "evicting pod NS/one"),
        ("is", "get pod two -o jsonpath={.metadata.deletionTimestamp}", ""),
        ("has", "get pod one -o jsonpath={.metadata.deletionTimestamp}", "20"),
        ("has", "uncordon bare", "node/bare uncordoned"),
        ("has", "uncordon bare --dry-run=server", "already uncordoned"),
        ("has", "label node bare of=NS", "labeled"),
        ("has", "drain --selector of=NS --pod-selector of=drain --chunk-size=1 --force --dry-run=client -v=6", "labelSelector=of%3Ddrain&limit=1\""),
        ("has", "drain --selector of=NS --pod-selector of=drain --chunk-size=1 --force --dry-run=client -v=6", "/pods?continue="),
        ("has", "cordon --selector of=NS", "node/bare cordoned"),
        ("has", "debug node/bare --image=b --attach=false --profile=general -- true", "Creating debugging pod node-debugger-bare-"),
        ("has", "delete pods --all --force", 'pod "two" force deleted'),
        ("has", "delete node bare", "deleted"),
    ],
    "a Pod that no kubelet runs": [
        ("has", "create -f @pod", "created"),
        ("fails", "exec p -- date", "pod p does not have a host assigned"),
        ("fails", "logs p", "pod p does not have a host assigned"),
        ("fails", "exec deployments/none -- date", '"none" not found'),
        ("has", "get pod p --watch --request-timeout=1", "p "),
        ("fails", "wait pod p --for=condition=Other --timeout=1s", "timed out waiting for the condition on pods/p"),
        ("has", "label ns NS pod-security.kubernetes.io/enforce=restricted", "labeled"),
        ("has", "create -f @restricted", "created"),
        ("has", "debug target --image=b --attach=false -c d --profile=restricted", ""),
        ("fails", "debug target --image=b --attach=false -c e --profile=general", 'violates PodSecurity "restricted:latest"'),
        ("is", "get pod target -o jsonpath={.spec.ephemeralContainers[*].name}", "d"),
        ("has", "create -f @claim", "created"),
        ("has", "describe pvc c", "Used By:       <none>"),
        ("has", "delete pvc c", "deleted"),
    ],
    "events of a date that never comes": [
        ("has", "create cronjob pi --schedule='59 23 31 2 *' --image=i -- true", "created"),
        ("soon", "events --for=Cronjob/pi --types=Warning", "InvalidSchedule"),
        ("lacks", "events --for=Cronjob/pi --types=Normal", "InvalidSchedule"),
        ("has", "events --for=Cronjob/pi -o yaml", "reason: InvalidSchedule"),
        ("has", "create job by-hand --from=cronjob/pi", "created"),
        ("has", "get job by-hand -o yaml", "cronjob.kubernetes.io/instantiate: manual"),
    ],
    "who one is": [
        ("fails", "get pods --as-group=foo", "without impersonating a user"),
        ("has", "auth whoami --as=u --as-uid=7 --as-group=b --as-group=,,,a --as-user-extra=k='one,two' -o yaml", "- ',,,a'"),
        ("fails", "get pods --as=u", 'pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "NS"'),
        ("has", "create clusterrolebinding NS --clusterrole=view --user=u", "created"),
        ("has", "set subject clusterrolebinding NS --group=g --dry-run=server", "subjects updated (server dry run)"),
        ("has", "set subject clusterrolebinding NS --serviceaccount=other:s", "subjects updated"),
        ("is", "get clusterrolebinding NS -o jsonpath={.subjects[*].name}{.subjects[*].namespace}", "u sother"),
        ("soon", "get pods --as=u", "No resources found"),
        ("has", "delete clusterrolebinding NS -n other", 'Warning: deleting cluster-scoped resources, not scoped to the provided namespace'),
        ("fails", "create role r --verb=get --resource=nothing", "the server doesn't have a resource type \"nothing\""),
        ("has", "create role r --verb=get,list --resource=pods/status,replicasets.apps/scale", "created"),
        ("is", "get role r -o jsonpath={.rules[*].apiGroups}{.rules[*].resources}", '[""] ["apps"]["pods/status"] ["replicasets/scale"]'),
        ("fails", "get pods --token=nonsense --kubeconfig=@anonymous", "You must be logged in to the server"),
        ("fails", "get pods --username=u --password=p --kubeconfig=@anonymous", 'pods is forbidden: User "system:anonymous" cannot list resource "pods"'),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("suite") / "data"
    options = ("--nodes", "0", "--runtime", "fake", "--proxy", "none")
    running = Cluster(directory, "--listen", "127.0.0.1:0", *options)
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def kubectl(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    return Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path_factory.mktemp("kubectl"))


@pytest.fixture
def manifests(kubectl: Kubectl, namespace: str, tmp_path: Path) -> Path:
    """The manifests as files, and a configuration of kubectl that has no user."""
    for name, text in MANIFESTS.items():
        (tmp_path / name).write_text(text.replace("NS", namespace))
    own, anonymous = tmp_path / "own.kubeconfig", tmp_path / "anonymous"
    own.write_bytes(kubectl.kubeconfig.read_bytes())
    kubectl("config", "set-context", "--current", f"--namespace={namespace}", f"--kubeconfig={own}")
    anonymous.write_text(own.read_text().partition("users:")[0])
    return tmp_path


@pytest.mark.parametrize("topic", TOPICS)
def test_commands_say(kubectl: Kubectl, namespace: str, manifests: Path, topic: str) -> None:
    def outcome(command: str) -> tuple[bool, str]:
        words = shlex.split(command.replace("'", "\0").replace('"', '\\"').replace("\0", "'"))
        done = kubectl.run(f"--kubeconfig={manifests / 'own.kubeconfig'}", *words)
        # That there are differences, diff says with its exit code.
        return done.returncode == 0 or (
            words[0] == "diff" and done.returncode == 1
        ), done.stdout + done.stderr

    def look(how: str, command: str, expected: str) -> bool:
        works, output = outcome(command)
        told = f"kubectl {command}: {output}"
        assert works == (how != "fails"), told
        if how == "is":
            assert output.strip() == expected, told
        elif how == "words":
            assert set(output.split()) >= set(expected.split()), told
        else:
            assert (expected in output) == (how != "lacks"), told
        return True

    for how, command, expected in TOPICS[topic]:
        command = command.replace("@", f"{manifests}/").replace("NS", namespace)
        row = (how, command, expected.replace("NS", namespace))
        if how == "soon":
            eventually(lambda row=row: look(*row))
        else:
            look(*row)
