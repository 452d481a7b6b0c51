"""One Pod with all that a node does for Pods, the same on every runtime: order, hooks, checks, volumes, environment, end."""

import json
from typing import Any

from kubelib.runtime.isolation.cgroups import own_paths
from kubelib.testing.runtime.resizing import limits_at
from tests.external.conftest import Kubectl, eventually


def _frames(state: bytes) -> bytes:
    """Return what a server of gRPC's health protocol says in HTTP/2, to whoever asks on a new connection."""

    def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    headers = b"\x88\x0f\x10\x10application/grpc"  # :status is 200, content-type
    trailers = b"\x00\x0bgrpc-status\x010"
    return b"".join(
        (
            frame(4, 0, 0),
            frame(4, 1, 0),
            frame(1, 4, 1, headers),
            frame(0, 0, 1, b"\0\0\0\0\x02\x08" + state),
            frame(1, 5, 1, trailers),
        )
    )


_MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, SIZE: large}
---
apiVersion: v1
kind: Secret
metadata: {name: door}
stringData: {code: "1234"}
---
apiVersion: v1
kind: Service
metadata: {name: whole}
spec:
  selector: {app: whole}
  ports: [{port: 80, targetPort: web}]
---
apiVersion: v1
kind: Pod
metadata: {name: whole, labels: {app: whole}}
spec:
  terminationGracePeriodSeconds: 5
  resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {cpu: 2, memory: 512Mi}}
  volumes:
  - {name: work, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 8Mi}}
  - {name: settings, configMap: {name: settings, items: [{key: colour, path: shades/colour}]}}
  - name: all
    projected:
      defaultMode: 0440
      sources:
      - secret: {name: door}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
  initContainers:
  - name: first
    image: IMAGE
    command: [busybox, sh, -c, 'echo first >> /work/order']
    volumeMounts: [{name: work, mountPath: /work}]
  - name: helper
    image: IMAGE
    restartPolicy: Always
    command: [busybox, sh, -c]
    args:
    - |
      trap 'exit 0' TERM
      sleep 1
      mkdir -p /work/helper
      echo helper >> /work/order
      busybox httpd -f -p 8081 -h /work/helper & wait
    startupProbe: {tcpSocket: {port: 8081}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 60}
    volumeMounts: [{name: work, mountPath: /work}]
  - name: last
    image: IMAGE
    command: [busybox, sh, -c, 'echo last >> /work/order']
    volumeMounts: [{name: work, mountPath: /work}]
  containers:
  - name: main
    image: IMAGE
    command: [busybox, sh, -c]
    args:
    - |
      trap 'echo asked to end; exit 0' TERM
      echo alive > /work/web/alive
      busybox httpd -p 8080 -h /work/web
      echo begun
      busybox sleep 100000 & wait
    ports: [{name: web, containerPort: 8080}]
    env:
    - {name: CODE, valueFrom: {secretKeyRef: {name: door, key: code}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: GREETING, value: "$(POD) has $(SIZE) $(MISSING)"}
    envFrom: [{configMapRef: {name: settings}}]
    resources: {limits: {memory: 64Mi}, requests: {cpu: 10m}}
    lifecycle:
      postStart: {exec: {command: [busybox, sh, -c, 'echo hooked >> /work/order']}}
      preStop: {httpGet: {port: web, path: /alive}}
    startupProbe: {httpGet: {port: web, path: /alive}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 60}
    readinessProbe: {httpGet: {port: web, path: /ready}, periodSeconds: 1, timeoutSeconds: 10}
    livenessProbe: {exec: {command: [busybox, test, -e, /work/web/alive]}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 2}
    volumeMounts:
    - {name: work, mountPath: /work}
    - {name: work, mountPath: /work/web, subPath: pages}
    - {name: memory, mountPath: /memory}
    - {name: settings, mountPath: /settings, readOnly: true}
    - {name: settings, mountPath: /one/colour, subPath: shades/colour}
    - {name: all, mountPath: /all, readOnly: true}
  - name: health
    image: IMAGE
    command: [busybox, sh, -c]
    args:
    - |
      trap 'exit 0' TERM
      echo started living > /work/health
      busybox nc -ll -p 50051 -e busybox sh -c '
        asked=$(busybox dd bs=4096 count=1 2>/dev/null | busybox tr -cd a-z)
        state=2
        for service in $(busybox cat /work/health); do case $asked in *$service) state=1;; esac; done
        printf "ANSWER"
        busybox cat > /dev/null' & wait
    startupProbe: {grpc: {port: 50051, service: started}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 60}
    readinessProbe: {grpc: {port: 50051, service: waiting}, periodSeconds: 1, timeoutSeconds: 10}
    livenessProbe: {grpc: {port: 50051, service: living}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 2}
    volumeMounts: [{name: work, mountPath: /work}, {name: memory, mountPath: /memory, subPath: below}]
""".replace("ANSWER", "".join(f"\\\\{byte:03o}" for byte in _frames(b"%")).replace("\\\\045", "\\\\00$state"))


def a_whole_pod_lives_and_ends(kubectl: Kubectl, image: str) -> None:
    """Create the Pod, see all that it asks for, make it ill and well again, and end it."""
    kubectl("apply", "-f", "-", stdin=_MANIFEST.replace("IMAGE", image))
    inside = ("exec", "whole", "-c", "main", "--", "busybox")

    def status() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(kubectl("get", "pod", "whole", "-o", "json"))["status"]
        return found

    def main() -> dict[str, Any]:
        found: dict[str, Any] = next(iter(status().get("containerStatuses", ({},))))
        return found

    def health() -> dict[str, Any]:
        return next((s for s in status().get("containerStatuses", ()) if s["name"] == "health"), {})

    def addresses(kind: str) -> list[Any]:
        subsets = json.loads(kubectl("get", "endpoints", "whole", "-o", "json")).get("subsets") or ()
        return [address for subset in subsets for address in subset.get(kind, ())]

    try:
        eventually(lambda: main().get("started"), within=90)
        assert kubectl(*inside, "cat", "/work/order").split() == ["first", "helper", "last", "hooked"]
        assert not main()["ready"]
        eventually(lambda: addresses("notReadyAddresses") and not addresses("addresses"))
        kubectl(*inside, "touch", "/work/web/ready")
        eventually(lambda: health().get("started") and not health()["ready"])
        kubectl(*inside, "sh", "-c", "echo living waiting > /work/health")
        kubectl("wait", "--for=condition=Ready", "pod/whole", "--timeout=60s")
        eventually(lambda: addresses("addresses"))
        assert [(s["name"], s["ready"]) for s in status()["initContainerStatuses"]] == [
            ("first", True),
            ("helper", True),
            ("last", True),
        ]
        _has_what_it_asked_for(kubectl, inside)
        _sees_a_change_of_its_settings(kubectl, inside)
        size = {"spec": {"containers": [{"name": "main", "resources": {"limits": {"memory": "96Mi"}}}]}}
        kubectl("patch", "pod", "whole", "--subresource", "resize", "--patch", json.dumps(size))
        eventually(lambda: main()["resources"]["limits"] == {"memory": "96Mi"})
        _is_held_below_its_own_limits(kubectl, inside)
        assert main()["restartCount"] == 0

        kubectl(*inside, "sh", "-c", "echo waiting > /work/health")
        eventually(lambda: health()["restartCount"] == 1 and health().get("started"), within=90)
        kubectl(*inside, "sh", "-c", "echo living waiting > /work/health")

        kubectl(*inside, "rm", "/work/web/alive")
        eventually(lambda: main()["restartCount"] == 1 and main()["ready"], within=90)
        assert kubectl(*inside, "cat", "/work/order").split() == [
            "first",
            "helper",
            "last",
            "hooked",
            "hooked",
        ]
        assert kubectl(*inside, "cat", "/memory/below/file") == "kept\n"
        other = ("exec", "whole", "-c", "health", "--", "busybox")
        assert kubectl(*other, "cat", "/memory/file") == "kept\n"
        assert kubectl("logs", "whole", "-c", "main", "--previous").startswith("begun\n")

        follower = kubectl.popen("logs", "-f", "whole", "-c", "main")
        try:
            assert follower.stdout is not None
            assert follower.stdout.readline() == "begun\n"
            kubectl("delete", "pod", "whole", "--wait=false")
            assert follower.stdout.readline() == "asked to end\n"
            follower.wait(60)
        finally:
            follower.kill()
            follower.wait()
            assert follower.stdout is not None
            follower.stdout.close()
        kubectl("wait", "--for=delete", "pod/whole", "--timeout=60s")
    finally:
        names = ("pod/whole", "service/whole", "configmap/settings", "secret/door")
        kubectl("delete", *names, "--ignore-not-found", "--timeout=90s")


_QUESTIONS = (
    "env",
    "cat /settings/shades/colour /one/colour /all/code",
    "cat /all/labels",
    "cat /all/token",
    "stat -L -c %a /all/code",
    "cat /proc/mounts",
    "dd if=/dev/zero of=/memory/full bs=1M count=16 2>&1",
    "touch /settings/other 2>&1",
    "ls /work/pages",
)
"""What a container is asked of itself, all in one command: each kubectl takes as long as all of them."""


def _has_what_it_asked_for(kubectl: Kubectl, inside: tuple[str, ...]) -> None:
    asked = "\n".join(f"busybox {question}; echo; echo ----" for question in _QUESTIONS)
    said = kubectl(*inside, "sh", "-c", f"echo kept > /memory/below/file\n{asked}\nrm /memory/full")
    env_lines, files, labels, token, mode, mounted, filled, touched, pages, _ = (
        part.strip("\n") for part in said.split("----\n")
    )
    env = dict(line.split("=", 1) for line in env_lines.splitlines() if "=" in line)
    wanted = {
        "CODE": "1234",
        "POD": "whole",
        "MEMORY": "64",
        "SIZE": "large",
        "GREETING": "whole has large $(MISSING)",
    }
    assert {name: env.get(name) for name in wanted} == wanted
    assert files == "blueblue1234"
    assert labels == 'app="whole"'
    assert token.count(".") == 2
    assert mode == "440"
    mounts = [line.split() for line in mounted.splitlines()]
    assert [kind for _, target, kind, *_ in mounts if target == "/memory"] == ["tmpfs"]
    assert "No space left on device" in filled
    assert "Read-only file system" in touched
    assert pages.split() == ["alive", "ready"]


def _is_held_below_its_own_limits(kubectl: Kubectl, inside: tuple[str, ...]) -> None:
    groups = own_paths(kubectl(*inside, "cat", "/proc/self/cgroup"))
    limits = limits_at(groups, above=True)
    assert (limits.cpu, limits.memory, limits.cpu_request) == (2, 512 << 20, 102 / 1024), (
        "100m are 102 shares"
    )
    size = {"spec": {"resources": {"limits": {"cpu": "1500m", "memory": "384Mi"}}}}
    kubectl("patch", "pod", "whole", "--subresource", "resize", "--patch", json.dumps(size))
    done = "go-template={{.status.resources.limits.memory}}{{range .status.conditions}} {{.type}}{{end}}"

    def is_done() -> bool:
        memory, *conditions = kubectl("get", "pod", "whole", "-o", done).split()
        return memory == "384Mi" and "PodResizeInProgress" not in conditions

    eventually(is_done)
    limits = limits_at(groups, above=True)
    assert (limits.cpu, limits.memory) == (1.5, 384 << 20)


def _sees_a_change_of_its_settings(kubectl: Kubectl, inside: tuple[str, ...]) -> None:
    before = kubectl(*inside, "readlink", "/settings/..data")
    kubectl("patch", "configmap", "settings", "--type=merge", "-p", '{"data":{"colour":"red"}}')
    eventually(lambda: kubectl(*inside, "cat", "/settings/shades/colour") == "red")
    assert kubectl(*inside, "readlink", "/settings/..data") != before, "all files change at once"
    assert kubectl(*inside, "cat", "/one/colour") == "blue", "what is mounted alone stays as it was"
