"""The audit log: what a policy wants written of requests is written, and nothing else; never at the cost of requests."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from kubelib.api import protobuf
from kubelib.api.core.config import ConfigMap
from kubelib.registry import ResourceRegistries
from kubelib.registry.admission.base import Admission, Attributes
from kubelib.registry.base import ADMIN, User
from kubelib.server import ApiServer
from kubelib.server.audit import MOST_PENDING, Auditor
from kubelib.server.audit.events import Record, encode_event
from kubelib.server.audit.logfile import LogFile
from kubelib.server.audit.policy import PolicyError, load_policy, read_policy
from kubelib.server.auditid import AUDIT_ID
from kubelib.server.authn import Authenticator, StaticTokens
from kubelib.server.listener import bind, serve
from kubelib.server.requestinfo import parse_request
from kubelib.store import MemoryStore

MAPS = "/api/v1/namespaces/default/configmaps"
ADMIN_TOKEN = {"authorization": "Bearer admin"}


class Kept:
    """A sink that keeps events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def write(self, lines: Sequence[bytes]) -> None:
        self.events += [json.loads(line) for line in lines]

    def close(self) -> None:
        return


def policy(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "Policy", "apiVersion": "audit.k8s.io/v1", "rules": list(rules), **more}


@asynccontextmanager
async def audited(
    *rules: dict[str, Any], plugins: Sequence[Admission] = (), **more: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Kept, Auditor]]:
    """Yield a client, what is written (complete once the context is left by `ended`), and the auditor."""
    kept = Kept()
    auditor = Auditor(read_policy(policy(*rules, **more)), kept)
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        for plugin in plugins:
            registries.admission.add(plugin)
        users = {"admin": ADMIN, "jane": User("jane", ("dev", "system:authenticated"))}
        app = ApiServer(registries, authenticator=Authenticator([StaticTokens(users)]), auditor=auditor)
        listening = bind("127.0.0.1", 0)
        async with (
            serve(app, listening, None, stop=app.stop_watches) as port,
            anyio.create_task_group() as group,
        ):
            await group.start(auditor.run)
            url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=url, headers=ADMIN_TOKEN, timeout=60) as client:
                yield client, kept, auditor
            group.cancel_scope.cancel()
        listening.close()


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": data}


async def test_metadata_says_who_did_what_when_and_with_which_outcome() -> None:
    async with audited({"level": "Metadata"}) as (client, kept, _):
        answer = await client.post(
            MAPS,
            json=config_map("a", key="value"),
            params={"fieldManager": "me"},
            headers={"user-agent": "test/1", "x-forwarded-for": "10.1.2.3", "audit-id": "mine"},
        )
        assert answer.headers["audit-id"] == "mine"
    first, last = kept.events
    assert first["stage"] == "RequestReceived"
    assert "responseStatus" not in first
    assert last["kind"] == "Event"
    assert last["apiVersion"] == "audit.k8s.io/v1"
    assert last["stage"] == "ResponseComplete"
    assert last["auditID"] == first["auditID"] == "mine"
    assert last["level"] == "Metadata"
    assert last["verb"] == "create"
    assert last["requestURI"] == f"{MAPS}?fieldManager=me"
    assert last["user"] == {"username": ADMIN.name, "groups": list(ADMIN.groups)}
    assert last["sourceIPs"] == ["10.1.2.3", "127.0.0.1"]
    assert last["userAgent"] == "test/1"
    assert last["objectRef"] == {
        "resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1",
    }  # fmt: skip
    assert last["responseStatus"] == {"metadata": {}, "code": 201}
    assert last["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert not {"requestObject", "responseObject"} & last.keys()
    assert first["requestReceivedTimestamp"] == last["requestReceivedTimestamp"] <= last["stageTimestamp"]


async def test_what_is_deprecated_is_said_to_be_whatever_the_answer() -> None:
    endpoints = "/api/v1/namespaces/default/endpoints"
    async with audited({"level": "Metadata"}, omitStages=["RequestReceived"]) as (client, kept, _):
        answers = [
            await client.get(endpoints),
            await client.get(f"{endpoints}/x"),
            await client.get(f"{endpoints}?watch=1&timeoutSeconds=1"),
            await client.post(endpoints, json={"metadata": {"name": "x"}}),
            await client.put(f"{endpoints}/y", json={"metadata": {"name": "z"}}),
        ]
        assert "warning" not in (await client.get(MAPS)).headers
    assert [answer.status_code for answer in answers] == [200, 404, 200, 201, 400]
    for answer in answers:
        assert answer.headers.get_list("warning") == [
            '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
        ]
    *deprecated, last = kept.events
    assert {event["annotations"].get("k8s.io/deprecated") for event in deprecated} == {"true"}
    assert "k8s.io/deprecated" not in last["annotations"]


class Broken:
    """A plug-in of admission with a defect."""

    name = "Broken"

    def handles(self, verb: str, resource: Any, subresource: str) -> bool:
        return True

    async def validate(self, attributes: Attributes) -> None:
        raise RuntimeError("as it was made")


async def test_a_failure_of_the_server_is_written_as_such(caplog: pytest.LogCaptureFixture) -> None:
    async with audited({"level": "Request"}, plugins=[Broken()]) as (client, kept, _):
        assert (await client.post(MAPS, json=config_map("a"))).status_code == 500
    received, panicked, complete = kept.events
    assert [e["stage"] for e in kept.events] == ["RequestReceived", "Panic", "ResponseComplete"]
    assert panicked["responseStatus"]["code"] == complete["responseStatus"]["code"] == 500
    assert panicked["responseStatus"]["message"] == "APIServer panic'd: RuntimeError: as it was made"
    assert panicked["requestObject"]["metadata"]["name"] == "a"
    assert received["auditID"] == panicked["auditID"]
    assert "as it was made" in caplog.text


async def test_request_and_response_are_written_where_the_policy_says_so() -> None:
    rules = (
        {"level": "None", "resources": [{"group": "", "resources": ["secrets"]}]},
        {"level": "Request", "verbs": ["update"]},
        {"level": "RequestResponse", "omitManagedFields": True},
    )
    async with audited(*rules, omitStages=["RequestReceived"]) as (client, kept, _):
        await client.post(MAPS, json=config_map("a", key="value"))
        await client.put(f"{MAPS}/a", json=config_map("a", key="other"))
        await client.get("/api/v1/namespaces/default/secrets")
        patch = {"data": {"key": "third"}}
        headers = {"content-type": "application/merge-patch+json"}
        await client.patch(f"{MAPS}/a", content=json.dumps(patch), headers=headers)
        await client.get(f"{MAPS}/none")
    created, updated, patched, missing = kept.events
    assert created["requestObject"]["data"] == {"key": "value"}
    assert created["responseObject"]["metadata"]["name"] == "a"
    assert "managedFields" not in created["responseObject"]["metadata"]
    assert updated["requestObject"]["data"] == {"key": "other"}
    assert "responseObject" not in updated
    assert patched["requestObject"] == patch
    assert missing["responseStatus"]["reason"] == "NotFound"
    assert missing["responseStatus"]["code"] == 404


async def test_bodies_in_protocol_buffers_are_written_as_json() -> None:
    async with audited({"level": "Request"}, omitStages=["RequestReceived"]) as (client, kept, _):
        body = protobuf.encode_protobuf(config_map("p", key="value"), ConfigMap)
        headers = {"content-type": "application/vnd.kubernetes.protobuf"}
        assert (await client.post(MAPS, content=body, headers=headers)).status_code == 201
    (event,) = kept.events
    assert event["requestObject"]["data"] == {"key": "value"}
    assert event["objectRef"]["name"] == "p"


async def test_refusals_impersonation_and_unknown_callers_are_written() -> None:
    async with audited({"level": "Metadata"}, omitStages=["RequestReceived"]) as (client, kept, _):
        assert (await client.get(MAPS, headers={"authorization": "Bearer wrong"})).status_code == 401
        assert (await client.get(MAPS, headers={"authorization": "Bearer jane"})).status_code == 403
        headers = {"impersonate-user": "bob", "impersonate-extra-why": "test"}
        assert (await client.get(MAPS, headers=headers)).status_code == 403
    unknown, refused, impersonated = kept.events
    assert unknown["stage"] == "ResponseStarted"
    assert unknown["responseStatus"]["code"] == 401
    assert unknown["user"] == {}
    assert refused["user"]["username"] == "jane"
    assert refused["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert refused["responseStatus"]["reason"] == "Forbidden"
    assert impersonated["user"]["username"] == ADMIN.name
    assert impersonated["impersonatedUser"]["username"] == "bob"
    assert impersonated["impersonatedUser"]["extra"] == {"why": ["test"]}


async def test_a_watch_is_written_when_it_begins_and_when_it_ends() -> None:
    async with audited({"level": "Metadata", "verbs": ["watch"]}) as (client, kept, _):
        await client.get(MAPS, params={"watch": "true", "timeoutSeconds": "1"})
        await client.get(MAPS)
    assert [event["stage"] for event in kept.events] == [
        "RequestReceived",
        "ResponseStarted",
        "ResponseComplete",
    ]
    assert kept.events[-1]["verb"] == "watch"


async def test_admission_adds_its_annotations() -> None:
    namespace = {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": "strict", "labels": {"pod-security.kubernetes.io/audit": "restricted"}},
    }
    pod = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    async with audited({"level": "Metadata", "resources": [{"group": "", "resources": ["pods"]}]}) as (
        client,
        kept,
        _,
    ):
        await client.post("/api/v1/namespaces", json=namespace)
        assert (await client.post("/api/v1/namespaces/strict/pods", json=pod)).status_code == 201
    annotations = kept.events[-1]["annotations"]
    assert any(name.startswith("pod-security.kubernetes.io/") for name in annotations), annotations


async def test_a_log_that_cannot_be_written_stops_no_request_and_is_counted() -> None:
    class Broken(Kept):
        def write(self, lines: Sequence[bytes]) -> None:
            raise OSError("no space left")

    async with audited({"level": "Metadata"}) as (client, _, auditor):
        auditor._sink = Broken()
        for _ in range(3):
            assert (await client.get(MAPS)).status_code == 200
        with anyio.fail_after(60):
            while auditor.dropped < 6:
                await anyio.sleep(0.05)
        assert 'apiserver_audit_error_total{plugin="log"}' in (await client.get("/metrics")).text


async def test_lines_with_and_without_documents_are_written_in_the_order_in_which_things_happened() -> None:
    rules = ({"level": "RequestResponse", "verbs": ["create"]}, {"level": "Metadata"})
    async with audited(*rules) as (client, kept, auditor):
        for number in range(20):
            await client.post(MAPS, json=config_map(f"m{number}"))
            await client.get(f"{MAPS}/m{number}")
    assert [(event["verb"], event["stage"]) for event in kept.events] == [
        (verb, stage)
        for _ in range(20)
        for verb in ("create", "get")
        for stage in ("RequestReceived", "ResponseComplete")
    ]
    stamps = [event["stageTimestamp"] for event in kept.events]
    assert stamps == sorted(stamps)
    assert auditor.written == len(kept.events)


async def test_what_has_just_come_is_known_by_its_path_alone() -> None:
    async with audited({"level": "Metadata"}) as (client, kept, _):
        await client.post(MAPS, json=config_map("a"))
    received, complete = kept.events
    assert "name" not in received["objectRef"]
    assert complete["objectRef"]["name"] == "a"


class _Full:
    """A date without microseconds."""

    def now(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _noted(auditor: Auditor) -> Record:
    scope = {"path": "/version", "query_string": b"", "client": ("10.0.0.1", 1), AUDIT_ID: b"one"}
    record = auditor.begin(ADMIN, parse_request("GET", "/version"), scope, {})
    assert record is not None
    return record


def test_dates_have_microseconds_even_where_these_are_none() -> None:
    auditor = Auditor(read_policy(policy({"level": "Metadata"})), Kept(), clock=_Full())
    event = json.loads(encode_event(_noted(auditor), "ResponseComplete", _Full().now(), None, {}, b""))
    assert event["requestReceivedTimestamp"] == event["stageTimestamp"] == "2026-01-02T03:04:05.000000Z"
    assert event["sourceIPs"] == ["10.0.0.1"]


def test_an_event_that_is_no_text_is_counted_and_stops_nothing() -> None:
    auditor = Auditor(read_policy(policy({"level": "Metadata"})), Kept())
    record = _noted(auditor)
    record.annotate("a", "\ud800")
    auditor.complete(record, None)
    assert auditor.dropped == 1


def test_more_events_than_can_be_written_are_dropped_and_no_memory_is_lost() -> None:
    auditor = Auditor(read_policy(policy({"level": "Metadata"})), Kept())
    scope = {"path": "/version", "query_string": b"", "client": None, AUDIT_ID: b"one"}
    for _ in range(MOST_PENDING + 10):
        assert auditor.begin(ADMIN, parse_request("GET", "/version"), scope, {}) is not None
    assert auditor.dropped == 10


@pytest.mark.parametrize(
    ("rule", "user", "method", "path", "met"),
    [
        ({}, "jane", "GET", "/api/v1/pods", True),
        ({"users": ["bob"]}, "jane", "GET", "/api/v1/pods", False),
        ({"users": ["jane"]}, "jane", "GET", "/api/v1/pods", True),
        ({"userGroups": ["dev"]}, "jane", "GET", "/api/v1/pods", True),
        ({"userGroups": ["ops"]}, "jane", "GET", "/api/v1/pods", False),
        ({"verbs": ["list"]}, "jane", "GET", "/api/v1/pods", True),
        ({"verbs": ["get"]}, "jane", "GET", "/api/v1/pods", False),
        ({"namespaces": ["default"]}, "jane", "GET", "/api/v1/namespaces/default/pods", True),
        ({"namespaces": ["default"]}, "jane", "GET", "/version", False),
        ({"namespaces": [""]}, "jane", "GET", "/api/v1/nodes", True),
        ({"resources": [{"group": ""}]}, "jane", "GET", "/api/v1/nodes", True),
        ({"resources": [{"group": "apps"}]}, "jane", "GET", "/api/v1/nodes", False),
        ({"resources": [{"resources": ["pods"]}]}, "jane", "GET", "/api/v1/namespaces/a/pods/p", True),
        ({"resources": [{"resources": ["pods"]}]}, "jane", "GET", "/api/v1/namespaces/a/pods/p/log", False),
        ({"resources": [{"resources": ["pods/*"]}]}, "jane", "GET", "/api/v1/namespaces/a/pods/p/log", True),
        ({"resources": [{"resources": ["*/log"]}]}, "jane", "GET", "/api/v1/namespaces/a/pods/p/log", True),
        ({"resources": [{"resources": ["*"]}]}, "jane", "GET", "/api/v1/namespaces/a/pods/p/log", True),
        (
            {"resources": [{"resources": ["pods"], "resourceNames": ["q"]}]},
            "jane",
            "GET",
            "/api/v1/namespaces/a/pods/p",
            False,
        ),
        ({"nonResourceURLs": ["/version", "/healthz*"]}, "jane", "GET", "/healthz/ping", True),
        ({"nonResourceURLs": ["/version"]}, "jane", "GET", "/api/v1/pods", False),
    ],
)
def test_rules_match_as_in_kubernetes(
    rule: dict[str, Any], user: str, method: str, path: str, met: bool
) -> None:
    read = read_policy(policy({"level": "Request", **rule}))
    verdict = read.verdict(User(user, ("dev",)), parse_request(method, path))
    assert (verdict.level == "Request") is met


def test_a_rule_that_names_objects_is_about_these_whoever_is_asked_about_first() -> None:
    named = {"level": "Request", "resources": [{"group": "", "resources": ["pods"], "resourceNames": ["q"]}]}
    read, user = read_policy(policy(named, {"level": "Metadata"})), User("jane")
    levels = [
        read.verdict(user, parse_request("GET", f"/api/v1/namespaces/a/pods/{name}")).level for name in "pqpq"
    ]
    assert levels == ["Metadata", "Request"] * 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "must be an object"),
        ("kind: Policy", "apiVersion audit.k8s.io/v1"),
        ("{kind: Policy, apiVersion: audit.k8s.io/v1}", "no rules"),
        ("{kind: Policy, apiVersion: audit.k8s.io/v1, rules: [{level: All}]}", "rules[0].level"),
        (
            "{kind: Policy, apiVersion: audit.k8s.io/v1, rules: [{level: None, user: x}]}",
            'unknown field "user"',
        ),
        ("{kind: Policy, apiVersion: audit.k8s.io/v1, rules: [{level: None, users: x}]}", "rules[0].users"),
        (
            "{kind: Policy, apiVersion: audit.k8s.io/v1, rules: [{level: None, omitStages: [End]}]}",
            "rules[0].omitStages",
        ),
        (
            "{kind: Policy, apiVersion: audit.k8s.io/v1, rules: [{level: None, nonResourceURLs: ['/a*b']}]}",
            "last character",
        ),
        (
            "{kind: Policy, apiVersion: audit.k8s.io/v1, rules: [{level: None, nonResourceURLs: ['/'], namespaces: [a]}]}",
            "both",
        ),
        ("{kind: Policy, apiVersion: audit.k8s.io/v1, rules: [1]}", "rules[0]"),
        ("a: [", "no YAML"),
    ],
)
def test_policies_that_make_no_sense_are_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(PolicyError) as refused:
        load_policy(text)
    assert words in str(refused.value)


class _Hand:
    def __init__(self) -> None:
        self.date = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.date


def test_the_file_is_put_aside_when_it_is_large_and_old_ones_go(tmp_path: Path) -> None:
    clock = _Hand()
    path = tmp_path / "logs" / "audit.log"
    log = LogFile(str(path), max_size=1, max_backups=2, clock=clock)
    line = b'"' + b"x" * 300_000 + b'"'
    for _ in range(12):
        clock.date += timedelta(minutes=1)
        log.write([line])
    assert path.stat().st_mode & 0o777 == 0o600
    others = sorted(p.name for p in path.parent.iterdir() if p != path)
    assert len(others) == 2
    assert all(name.startswith("audit-2026-01-01T00-") for name in others)
    assert all(p.stat().st_size <= 1024 * 1024 for p in path.parent.iterdir())
    log.close()
    again = LogFile(str(path), max_size=1, max_age=1, clock=clock)
    clock.date += timedelta(days=3)
    again.write([line] * 3)
    again.close()
    left = [p for p in path.parent.iterdir() if p != path]
    assert len(left) == 1, "what is older than a day is gone"
    assert path.read_bytes().endswith(line + b"\n")
