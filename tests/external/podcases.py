"""Pods that print what they find, and what they have to find: what Kubernetes' conformance suite asks with its images' programs.

Each is one published behaviour, or several that one Pod can show; the table is run by `test_node_conformance`.
"""

from typing import Any, NamedTuple

Tree = dict[str, Any]


class Case(NamedTuple):
    """A Pod, named by what it shows."""

    name: str
    script: str
    says: str
    """What its log has to be."""
    container: Tree = {}
    spec: Tree = {}
    phase: str = "Succeeded"
    metadata: Tree = {}

    def pod(self) -> Tree:
        """Return the Pod."""
        container = {"name": "c", "image": "process", "command": ["sh", "-c", self.script], **self.container}
        metadata = {**self.metadata, "name": self.name.replace("_", "-")}
        spec = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            **self.spec,
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def env(**values: Any) -> list[Tree]:
    """Return variables: texts are values, the rest is where they come from."""
    return [
        {"name": name, **({"value": value} if isinstance(value, str) else {"valueFrom": value})}
        for name, value in values.items()
    ]


def field(path: str) -> Tree:
    return {"fieldRef": {"fieldPath": path}}


def resource(name: str, divisor: str = "1") -> Tree:
    return {"resourceFieldRef": {"containerName": "c", "resource": name, "divisor": divisor}}


def mounted(source: Tree, **mount: Any) -> Any:
    """Return a container's and a Pod's part of a volume below ``/v``."""
    where = {"name": "v", "mountPath": "/v", **mount}
    return {"container": {"volumeMounts": [where]}, "spec": {"volumes": [{"name": "v", **source}]}}


def as_user(case: Tree, **security: Any) -> Any:
    """Return the same for a Pod that runs as somebody."""
    return {**case, "spec": {**case.get("spec", {}), "securityContext": security}}


LIMITS = {"limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"cpu": "250m", "memory": "32Mi"}}
SETTINGS: Tree = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings"},
            "data": {"data-1": "value-1", "data-2": "value-2", "path.to-data": "deep"},
            "binaryData": {"dump.bin": "3q3K/g=="},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "secret"},
            "stringData": {"data-1": "secret-1", "data-2": "secret-2"},
        },
    ],
}
LOOK = "cd /v; for f in *; do echo $f $(stat -L -c '%A %u:%g' $f) $(cat $f); done"
ITEM = [{"key": "data-2", "path": "path/to/data"}]
CONFIG, SECRET = (
    {"configMap": {"name": "settings", "items": ITEM}},
    {"secret": {"secretName": "secret", "items": ITEM}},
)
AMOUNTS = [
    {"path": name, "resourceFieldRef": {"containerName": "c", "resource": name, "divisor": divisor}}
    for name, divisor in (
        ("limits.cpu", "1m"),
        ("requests.cpu", "1m"),
        ("limits.memory", "1Mi"),
        ("requests.memory", "1Mi"),
    )
]
SHOWN_AMOUNTS = "limits.cpu 1250\nlimits.memory 64\nrequests.cpu 250\nrequests.memory 32\n"
NAME = [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]
READ = "cd /v; for f in *; do echo $f $(cat $f); done"
MODE = "cat /v/path/to/data; stat -L -c ' %A' /v/path/to/data"


def projected(*sources: Tree, **more: Any) -> Tree:
    return {"projected": {"sources": list(sources), **more}}


ENVIRONMENT = [
    Case("a_variable_comes_from_a_config_map", "echo $A", "value-1\n", {
        "env": env(A={"configMapKeyRef": {"name": "settings", "key": "data-1"}})}),
    Case("variables_come_from_all_of_a_config_map", "tr '\\0' '\\n' < /proc/$$$$/environ | grep ^p- | sort", "p-data-1=value-1\np-data-2=value-2\np-path.to-data=deep\n", {
        "envFrom": [{"prefix": "p-", "configMapRef": {"name": "settings"}}]}),
    Case("a_variable_comes_from_a_secret", "echo $A", "secret-1\n", {
        "env": env(A={"secretKeyRef": {"name": "secret", "key": "data-1"}})}),
    Case("variables_come_from_all_of_a_secret", "tr '\\0' '\\n' < /proc/$$$$/environ | grep ^s- | sort", "s-data-1=secret-1\ns-data-2=secret-2\n", {
        "envFrom": [{"prefix": "s-", "secretRef": {"name": "secret"}}]}),
    Case("a_container_knows_its_limits_and_requests", "echo $A $B $C $D", "2 1 67108864 33554432\n", {
        "resources": LIMITS, "env": env(
            A=resource("limits.cpu"), B=resource("requests.cpu"), C=resource("limits.memory"), D=resource("requests.memory"))}),
    Case("variables_are_made_of_others", "echo $C; echo $D", "a;;b\n$(A)\n", {"env": env(A="a", B="b", C="$(A);;$(B)", D="$$(A)")}),
    Case("commands_and_arguments_have_variables", "", "test-value extra\n", {
        "env": env(A="test-value"), "command": ["echo", "$(A)"], "args": ["extra"]}),
]  # fmt: skip
LIFE = [
    Case("a_container_without_a_new_root_is_not_written_to", "(echo no > /file) 2> /dev/null || echo refused", "refused\n", {
        "securityContext": {"readOnlyRootFilesystem": True}}),
    Case("a_root_is_written_to_unless_it_is_read_only", "echo yes > /file && cat /file", "yes\n", {
        "securityContext": {"readOnlyRootFilesystem": False}}),
    Case("a_container_runs_as_the_user_it_names", "id -u", "65534\n", {"securityContext": {"runAsUser": 65534}}),
    Case("a_container_runs_as_the_user_and_group_it_names", "id -u; id -g", "1001\n2002\n", {
        "securityContext": {"runAsUser": 1001, "runAsGroup": 2002}}),
    Case("a_pod_runs_as_the_user_and_group_it_names", "id -u; id -g", "1001\n2002\n", spec={
        "securityContext": {"runAsUser": 1001, "runAsGroup": 2002}}),
    Case("who_is_not_privileged_makes_no_devices", "ip link add dummy0 type dummy 2> /dev/null || echo refused", "refused\n", {
        "securityContext": {"privileged": False}}),
    Case("privileges_do_not_grow_where_that_is_forbidden", "grep NoNewPrivs /proc/self/status; id -u", "NoNewPrivs:\t1\n1000\n", {
        "securityContext": {"allowPrivilegeEscalation": False, "runAsUser": 1000}}),
    Case("privileges_may_grow_where_nothing_is_said", "grep NoNewPrivs /proc/self/status; id -u", "NoNewPrivs:\t0\n1000\n", {
        "securityContext": {"runAsUser": 1000}}),
    Case("the_kernel_is_set_as_the_pod_says", "cat /proc/sys/kernel/shm_rmid_forced", "1\n", spec={
        "securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}}),
    Case("both_outputs_are_in_the_log", "echo out; echo err >&2", "out\nerr\n"),
    Case("hosts_have_the_aliases_of_their_pod", "grep 123.45 /etc/hosts", "123.45.67.89\tfoo\tbar\n", spec={
        "hostAliases": [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]}),
    Case("a_pod_has_its_name_and_domain", "hostname; hostname -f", "querier\nquerier.sub.default.svc.cluster.local\n", spec={
        "hostname": "querier", "subdomain": "sub"}),
    Case("a_pod_has_the_name_that_overrides_all", "hostname", "much.longer.example\n", spec={
        "hostnameOverride": "much.longer.example", "hostname": "other"}),
    Case("servers_of_names_are_those_of_the_pod", "cat /etc/resolv.conf", "search resolv.conf.local\nnameserver 192.0.2.1\n", spec={
        "dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"], "searches": ["resolv.conf.local"]}}),
]  # fmt: skip
FILES = [
    Case("files_of_a_config_map_may_be_read_by_all", "stat -L -c %A /v/data-1; cat /v/data-1", "-rw-r--r--\nvalue-1",
         **mounted({"configMap": {"name": "settings"}})),
    Case("files_of_a_config_map_are_read_by_other_users", "id -u; cat /v/data-1", "1000\nvalue-1",
         **as_user(mounted({"configMap": {"name": "settings"}}), runAsUser=1000)),
    Case("files_of_a_config_map_have_the_mode_of_their_volume", "stat -L -c %A /v/data-1", "-r--------\n",
         **mounted({"configMap": {"name": "settings", "defaultMode": 0o400}})),
    Case("keys_of_a_config_map_have_paths", MODE, "value-2 -rw-r--r--\n", **mounted(CONFIG)),
    Case("keys_of_a_config_map_have_modes", MODE, "value-2 -r--------\n", **mounted(
        {"configMap": {"name": "settings", "items": [{**ITEM[0], "mode": 0o400}]}})),
    Case("keys_of_a_config_map_are_read_by_other_users", MODE, "value-2 -rw-r--r--\n", **as_user(mounted(CONFIG), runAsUser=1000)),
    Case("bytes_of_a_config_map_are_what_they_were", "od -An -tx1 /v/dump.bin; cat /v/data-1", " de ad ca fe\nvalue-1",
         **mounted({"configMap": {"name": "settings"}})),
    Case("files_of_a_secret_may_be_read_by_all", "stat -L -c %A /v/data-1; cat /v/data-1", "-rw-r--r--\nsecret-1",
         **mounted({"secret": {"secretName": "secret"}})),
    Case("files_of_a_secret_have_the_mode_of_their_volume", "stat -L -c %A /v/data-1", "-r--------\n",
         **mounted({"secret": {"secretName": "secret", "defaultMode": 0o400}})),
    Case("files_of_a_secret_are_read_by_the_group_of_the_pod", "id -u; stat -L -c '%A %g' /v/data-1; cat /v/data-1", "1000\n-r--r----- 1001\nsecret-1",
         **as_user(mounted({"secret": {"secretName": "secret", "defaultMode": 0o440}}), runAsUser=1000, fsGroup=1001)),
    Case("keys_of_a_secret_have_paths", MODE, "secret-2 -rw-r--r--\n", **mounted(SECRET)),
    Case("keys_of_a_secret_have_modes", MODE, "secret-2 -r--------\n", **mounted(
        {"secret": {"secretName": "secret", "items": [{**ITEM[0], "mode": 0o400}]}})),
    Case("the_amounts_of_a_container_are_files", READ, SHOWN_AMOUNTS, {
        "resources": LIMITS, **mounted({})["container"]}, mounted({"downwardAPI": {"items": AMOUNTS}})["spec"]),
    Case("the_name_of_a_pod_is_a_file_with_a_mode", "cat /v/name; stat -L -c ' %A' /v/name", "the-name-of-a-pod-is-a-file-with-a-mode -r--------\n",
         **mounted({"downwardAPI": {"items": [{**NAME[0], "mode": 0o400}]}})),
    Case("facts_of_a_pod_have_the_mode_of_their_volume", "stat -L -c %A /v/name", "-r--------\n",
         **mounted({"downwardAPI": {"items": NAME, "defaultMode": 0o400}})),
    Case("one_volume_joins_all_sources", "cat /v/path/to/data; echo; cat /v/s/data; echo; cat /v/name", "value-2\nsecret-1\none-volume-joins-all-sources",
         **mounted(projected(CONFIG, {"secret": {"name": "secret", "items": [{"key": "data-1", "path": "s/data"}]}}, {"downwardAPI": {"items": NAME}}))),
    Case("files_of_joined_sources_have_one_mode", "stat -L -c %A /v/data-1 /v/name", "-r--------\n-r--------\n",
         **mounted(projected({"configMap": {"name": "settings"}}, {"downwardAPI": {"items": NAME}}, defaultMode=0o400))),
    Case("joined_secrets_are_read_by_the_group_of_the_pod", "stat -L -c '%A %g' /v/data-1; cat /v/data-1", "-r--r----- 1001\nsecret-1", **as_user(
        mounted(projected({"secret": {"name": "secret"}}, defaultMode=0o440)), runAsUser=1000, fsGroup=1001)),
    Case("joined_amounts_of_a_container_are_files", READ, SHOWN_AMOUNTS, {
        "resources": LIMITS, **mounted({})["container"]}, mounted(projected({"downwardAPI": {"items": AMOUNTS}}))["spec"]),
    Case("part_of_a_config_map_is_mounted", "cat /v", "value-1", **mounted({"configMap": {"name": "settings"}}, subPath="data-1")),
    Case("part_of_a_config_map_is_mounted_on_a_file", "cat /etc/passwd", "value-1",
         **mounted({"configMap": {"name": "settings"}}, subPath="data-1", mountPath="/etc/passwd")),
    Case("part_of_a_secret_is_mounted", "cat /v", "secret-1", **mounted({"secret": {"secretName": "secret"}}, subPath="data-1")),
    Case("part_of_the_facts_of_a_pod_is_mounted", "cat /v", "part-of-the-facts-of-a-pod-is-mounted",
         **mounted({"downwardAPI": {"items": NAME}}, subPath="name")),
    Case("part_of_joined_sources_is_mounted", "cat /v", "value-2", **mounted(projected(CONFIG), subPath="path/to/data")),
    Case("a_path_in_a_volume_has_variables", "echo here > /v/file; cat /all/a-path-in-a-volume-has-variables/file", "here\n", {
        "env": env(NAME=field("metadata.name")), "volumeMounts": [
            {"name": "v", "mountPath": "/v", "subPathExpr": "$(NAME)"}, {"name": "v", "mountPath": "/all"}]},
         {"volumes": [{"name": "v", "emptyDir": {}}]}),
]  # fmt: skip
DIRECTORIES = [
    Case(f"an_empty_directory_{'in_memory' if medium else 'on_disk'}_is_open_to_{'others' if user else 'root'}",
         "stat -c %A /v; [ $(stat -f -c %T /v) = tmpfs ] && echo tmpfs; for m in 0644 0666 0777; do echo $m > /v/$m && chmod $m /v/$m && stat -c '%A %u' /v/$m && cat /v/$m; done",
         f"drwxrwxrwx\n{'tmpfs' + chr(10) if medium else ''}-rw-r--r-- {user}\n0644\n-rw-rw-rw- {user}\n0666\n-rwxrwxrwx {user}\n0777\n",
         **as_user(mounted({"emptyDir": {"medium": medium}}), runAsUser=user))
    for medium in ("", "Memory") for user in (0, 1001)
]  # fmt: skip
MESSAGES = [
    Case("what_is_said_in_the_file_is_the_message", "echo -n DONE > /dev/termination-custom-log", "", {
        "terminationMessagePath": "/dev/termination-custom-log", "securityContext": {"runAsUser": 1000}}),
    Case("the_log_of_one_that_failed_is_the_message", "echo -n DONE; exit 1", "DONE", {
        "terminationMessagePolicy": "FallbackToLogsOnError"}, phase="Failed"),
    Case("the_log_of_one_that_succeeded_is_no_message", "echo DONE", "DONE\n", {
        "terminationMessagePolicy": "FallbackToLogsOnError"}),
    Case("the_file_goes_before_the_log", "echo -n OK > /dev/termination-log; echo DONE", "DONE\n", {
        "terminationMessagePolicy": "FallbackToLogsOnError"}),
]  # fmt: skip
SAID = dict(zip((case.name for case in MESSAGES), ("DONE", "DONE", None, "OK"), strict=True))
"""The messages of the containers that end so."""
CASES = ENVIRONMENT + LIFE + FILES + DIRECTORIES + MESSAGES
