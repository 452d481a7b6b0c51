"""What a body says that it is: filled in for built-in kinds, asked of custom ones, and refused in Kubernetes' words."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.testing.cluster import Cluster
from tests.server.definitions import OPEN, Api, definition

MAPS = "/api/v1/namespaces/default/configmaps"
META = {"metadata": {"name": "a"}}


@pytest.fixture
def api(kubelib_cluster: Cluster) -> Iterator[Api]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    with httpx.Client(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        yield Api(client)


def refused(api: Api, method: str, path: str, body: Any, code: int = 400) -> str:
    content = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    answer = api.client.request(method, path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == code, answer.text
    return str(answer.json()["message"])


@pytest.mark.parametrize(
    "said", [{}, {"kind": "ConfigMap"}, {"apiVersion": "v1"}, {"kind": "", "apiVersion": ""}]
)
def test_what_built_in_kinds_do_not_say_is_filled_in(api: Api, said: dict[str, str]) -> None:
    made = api.made("POST", MAPS, json={**said, **META})
    assert (made["kind"], made["apiVersion"]) == ("ConfigMap", "v1")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"kind": "Pod", "apiVersion": "v1"},
            'Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion',
        ),
        (
            {"apiVersion": "v2"},
            ('ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "v2" in'
            ' scheme "pkg/api/legacyscheme/scheme.go:30"'),
        ),
        (
            {"kind": 5},
            ("the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json:"
            ' cannot unmarshal number into Go struct field .kind of type string ({"kind":5,"metadata":{"name":" ...)'),
        ),
        (
            {"apiVersion": "a/b/c"},
            ("the object provided is unrecognized (must be of type ConfigMap): unexpected GroupVersion string: a/b/c"
            ' ({"apiVersion":"a/b/c","metadat ...)'),
        ),
    ],
)  # fmt: skip
def test_other_kinds_than_a_path_is_for_are_refused(api: Api, said: dict[str, Any], message: str) -> None:
    assert refused(api, "POST", MAPS, {**said, **META}) == message


def test_versions_that_are_not_served_any_more_are_known(api: Api) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    body = {"kind": "Deployment", "apiVersion": "extensions/v1beta1", **META}
    assert refused(api, "POST", path, body) == (
        "the API version in the data (extensions/v1beta1) does not match the expected API version (apps/v1)"
    )


@pytest.mark.parametrize(("body", "summary"), [(b"", "<empty>"), (b"[1,2]", "5b312c325d"), (b"{", "{")])
def test_what_cannot_be_read_is_shown(api: Api, body: bytes, summary: str) -> None:
    message = refused(api, "POST", MAPS, body)
    beginning = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind;"
    assert message.startswith(beginning)
    assert message.endswith(f" ({summary})")


def test_custom_objects_say_what_they_are(api: Api) -> None:
    path = api.define(definition("tools", "Tool", OPEN))
    group_version = path.removeprefix("/apis/").rpartition("/namespaces")[0]
    group, _, version = group_version.partition("/")
    whole = {"kind": "Tool", "apiVersion": group_version, **META}
    made = api.made("POST", path, json=whole)
    current = {"name": "a", "resourceVersion": made["metadata"]["resourceVersion"]}
    for method, where in (("POST", path), ("PUT", f"{path}/a")):
        body = {"metadata": current} if method == "PUT" else dict(META)
        text = json.dumps(body, separators=(",", ":"))
        assert refused(api, method, where, body) == (
            f"Tool in version \"{version}\" cannot be handled as a Tool: Object 'Kind' is missing in '{text}'"
        )
        for wrong in ("", "apps/v1"):
            said = {"apiVersion": wrong} if wrong else {}
            assert refused(api, method, where, {"kind": "Tool", **said, **body}) == (
                f"the API version in the data ({wrong}) does not match the expected API version ({group_version})"
            )
        other = {"kind": "Other", "apiVersion": group_version, **body}
        assert refused(api, method, where, other, 422) == (
            f'Other.{group} "a" is invalid: kind: Invalid value: "Other": must be Tool'
        )
