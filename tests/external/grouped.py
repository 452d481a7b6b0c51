"""A Pod whose volumes belong to a group, and what its container finds, on any runtime that has users."""

from tests.external.conftest import Kubectl

GROUPED = """
apiVersion: v1
kind: ConfigMap
metadata: {name: grouped}
data: {a: "1"}
---
apiVersion: v1
kind: Secret
metadata: {name: grouped}
stringData: {a: hidden}
---
apiVersion: v1
kind: Pod
metadata: {name: grouped}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000}
  volumes:
  - {name: empty, emptyDir: {}}
  - {name: config, configMap: {name: grouped}}
  - {name: secret, secret: {secretName: grouped, defaultMode: 256}}
  - {name: own, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
  - {name: token, projected: {sources: [{serviceAccountToken: {path: token}}]}}
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, "touch /empty/file /below/file && exec sleep 100000"]
    volumeMounts:
    - {name: empty, mountPath: /empty}
    - {name: empty, mountPath: /below, subPath: a/b}
    - {name: config, mountPath: /config}
    - {name: secret, mountPath: /secret}
    - {name: own, mountPath: /own}
    - {name: token, mountPath: /token}
"""

EXPECTED = """\
0 2000 2777 /empty
1000 2000 644 /empty/file
0 2000 2777 /below
1000 2000 644 /below/file
0 2000 2755 /config
0 2000 644 /config/a
0 2000 2755 /secret
0 2000 440 /secret/a
0 2000 644 /own/name
1000 2000 640 /token/token
"""
"""Owner, group, mode."""


def volumes_belong_to_the_group(kubectl: Kubectl, image: str) -> None:
    """Run the Pod, and look at its volumes from within."""
    kubectl("apply", "-f", "-", stdin=GROUPED.replace("IMAGE", image))
    kubectl("wait", "--for=condition=Ready", "pod/grouped", "--timeout=120s")
    places = [line.split()[-1] for line in EXPECTED.splitlines()]
    assert kubectl("exec", "grouped", "--", "stat", "-L", "-c", "%u %g %a %n", *places) == EXPECTED
    assert kubectl("exec", "grouped", "--", "cat", "/secret/a") == "hidden"
    assert "2000" in kubectl("exec", "grouped", "--", "id", "-G").split()
    kubectl("delete", "pod/grouped", "secret/grouped", "configmap/grouped", "--timeout=120s")
