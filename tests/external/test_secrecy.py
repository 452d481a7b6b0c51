"""What others on the same machine can read of a cluster, and what its logs say of Secrets and tokens: nothing."""

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.external.conftest import ROOT, Cluster, Kubectl, real_binary

SECRET = "tell-nobody-of-this"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster in a directory that anybody may look into, with the audit policy of the documentation."""
    [policy] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "audit.md").read_text(), re.DOTALL)
    (tmp_path / "policy.yaml").write_text(policy)
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    options = (
        "--audit-policy-file",
        str(tmp_path / "policy.yaml"),
        "--audit-log-path",
        str(tmp_path / "audit.log"),
    )
    running = Cluster(data, "--listen", "127.0.0.1:0", *options)
    before = os.umask(0o022)
    try:
        running.start()
    finally:
        os.umask(before)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


def test_secrets_and_tokens_stay_where_they_belong(cluster: Cluster, tmp_path: Path) -> None:
    kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path / "cache")
    kubectl("create", "secret", "generic", "hidden", f"--from-literal=password={SECRET}")
    kubectl("label", "secret", "hidden", "a=b")
    token = kubectl("create", "token", "default").strip()
    review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}
    assert '"authenticated":true' in kubectl(
        "create", "-f", "-", "-o", "json", stdin=json.dumps(review)
    ).replace(" ", "")
    pod = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "volumes": [{"name": "v", "secret": {"secretName": "hidden"}}],
            "containers": [
                {
                    "name": "c",
                    "image": "process",
                    "command": ["sleep", "1000"],
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                    "env": [
                        {"name": "P", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "password"}}}
                    ],
                }
            ],
        },
    }
    kubectl("create", "-f", "-", stdin=json.dumps(pod))
    kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=120s")
    server = kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
    bad = token[:-4] + "AAAA"
    with httpx.Client(base_url=server, verify=False, trust_env=False, timeout=120) as client:
        for bearer, code in ((token, 403), (bad, 401)):
            for path in ("/api/v1/secrets", "/api/v1/namespaces/default/pods/p/exec?command=x"):
                answer = client.get(path, headers={"authorization": f"Bearer {bearer}"})
                assert answer.status_code == code

    # Whoever may not enter the directory reads nothing in it; what leaves it with a copy is closed by itself.
    assert stat.S_IMODE(cluster.directory.stat().st_mode) == 0o700
    closed = [
        *cluster.directory.glob("store.sqlite*"),
        *cluster.directory.glob("*.kubeconfig"),
        *cluster.directory.rglob("*.key"),
    ]
    assert len(closed) > 6
    assert {str(file): stat.S_IMODE(file.stat().st_mode) for file in closed} == {
        str(file): 0o600 for file in closed
    }

    kubectl("delete", "pod", "p", "--now")
    assert cluster.stop() == 0
    audit, log = (tmp_path / "audit.log").read_text(), cluster.log.read_text()
    assert '"requestObject"' in audit
    assert '"resource":"secrets"' in audit
    assert '"resource":"tokenreviews"' in audit
    for text in (SECRET, "dGVsbC1ub2JvZHktb2YtdGhpcw", token, bad, token.rpartition(".")[2]):
        assert text not in audit
        assert text not in log
