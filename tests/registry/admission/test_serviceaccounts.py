"""Pods act as an account: its token, its pull secrets, and the secrets that it may use."""

import re

import anyio

from kubelib.registry.admission import default_admission
from kubelib.registry.admission.serviceaccounts import ServiceAccountAdmission
from tests.registry.admission.asking import account, opened, pod

MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


async def test_a_pod_acts_as_the_default_account_which_is_waited_for_and_brings_its_pull_secrets() -> None:
    async with opened(admission=default_admission()) as api, anyio.create_task_group() as group:

        async def later() -> None:
            await anyio.sleep(0.25)
            await account(api, imagePullSecrets=[{"name": "pull"}])

        group.start_soon(later)
        made = await api.create(pod())
        assert (made["spec"]["serviceAccountName"], made["spec"]["serviceAccount"]) == ("default", "default")
        assert made["spec"]["imagePullSecrets"] == [{"name": "pull"}]
        own = await api.create(pod("own", imagePullSecrets=[{"name": "mine"}]))
        assert own["spec"]["imagePullSecrets"] == [{"name": "mine"}]


async def test_a_pod_of_a_missing_account_is_refused() -> None:
    async with opened(admission=default_admission()) as api:
        assert await api.refused(pod(serviceAccountName="robot")) == (
            'pods "p" is forbidden: error looking up service account default/robot: serviceaccount "robot" not found'
        )


async def test_every_container_gets_the_token_of_its_account_unless_somebody_says_no() -> None:
    async with opened(admission=[ServiceAccountAdmission()]) as api:
        await account(api)
        await account(api, "shy", automountServiceAccountToken=False)
        tree = pod(initContainers=[{"name": "i", "image": "i"}])
        tree["spec"]["containers"].append(
            {"name": "d", "image": "i", "volumeMounts": [{"name": "e", "mountPath": MOUNT}]}
        )
        tree["spec"]["volumes"] = [{"name": "e", "emptyDir": {}}]
        spec = (await api.create(tree))["spec"]
        volume = spec["volumes"][1]
        assert re.fullmatch(r"kube-api-access-[a-z0-9]{5}", volume["name"])
        assert volume["projected"] == {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {
                    "configMap": {
                        "name": "kube-root-ca.crt",
                        "items": [{"key": "ca.crt", "path": "ca.crt"}],
                    }
                },
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                            }
                        ]
                    }
                },
            ],
        }
        mount = {"name": volume["name"], "readOnly": True, "mountPath": MOUNT}
        assert spec["initContainers"][0]["volumeMounts"] == [mount]
        assert spec["containers"][0]["volumeMounts"] == [mount]
        assert [m["name"] for m in spec["containers"][1]["volumeMounts"]] == ["e"]
        for name, parts, mounted in (
            ("a", {"serviceAccountName": "shy"}, False),
            ("b", {"serviceAccountName": "shy", "automountServiceAccountToken": True}, True),
            ("c", {"automountServiceAccountToken": False}, False),
        ):
            spec = (await api.create(pod(name, **parts)))["spec"]
            assert ("volumes" in spec) is mounted


async def test_an_account_can_keep_its_pods_from_other_secrets() -> None:
    async with opened(admission=default_admission()) as api:
        annotations = {"kubernetes.io/enforce-mountable-secrets": "true"}
        await account(api, metadata={"annotations": annotations}, secrets=[{"name": "known"}])
        await api.create(pod("a", volumes=[{"name": "v", "secret": {"secretName": "known"}}]))
        message = await api.refused(pod("b", volumes=[{"name": "v", "secret": {"secretName": "other"}}]))
        assert message == (
            'pods "b" is forbidden: volume with secret.secretName="other" is not allowed because service account default'
            " does not reference that secret"
        )


async def test_a_mirror_pod_has_no_account_and_no_secrets() -> None:
    async with opened(admission=default_admission()) as api:
        for spec, why in (
            ({"serviceAccountName": "x"}, "a mirror pod may not reference service accounts"),
            ({"imagePullSecrets": [{"name": "x"}]}, "a mirror pod may not reference secrets"),
            (
                {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "x"}}]}}]},
                "a mirror pod may not reference secrets",
            ),
        ):
            tree = pod(**spec, nodeName="n")
            tree["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "1"}
            assert await api.refused(tree) == f'pods "p" is forbidden: {why}'
