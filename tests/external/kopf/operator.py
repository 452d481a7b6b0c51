"""A kopf operator as people write them: an Exercise has handlers, a timer, a daemon, an index, children, a webhook."""

import asyncio
import os
from typing import Any

import kopf
import kubernetes


@kopf.on.login()
def login(**given: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_kubeconfig(**given)


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.peering.standalone = True
    settings.posting.enabled = True
    settings.persistence.finalizer = "example.com/exercise"
    settings.persistence.progress_storage = kopf.StatusProgressStorage(field="status.progress")
    settings.watching.server_timeout = 5
    settings.admission.server = kopf.WebhookServer(
        addr="127.0.0.1",
        host="127.0.0.1",
        certfile=os.environ["WEBHOOK_CERT"],
        pkeyfile=os.environ["WEBHOOK_KEY"],
        cafile=os.environ["WEBHOOK_CA"],
    )
    settings.admission.managed = "exercises.example.com"


@kopf.on.create("exercises")
def made(
    body: kopf.Body, spec: kopf.Spec, patch: kopf.Patch, namespace: str | None, **_: Any
) -> dict[str, Any]:
    child = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"size": str(spec["size"])}}
    kopf.adopt(child)
    child["metadata"]["name"] = body.metadata.name  # type: ignore[index]
    kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config()).create_namespaced_config_map(
        namespace, child
    )
    kopf.info(body, reason="Made", message="its child is there")
    patch.status["phase"] = "Made"
    return {"child": body.metadata.name}


@kopf.on.update("exercises", field="spec.size")
def resized(old: Any, new: Any, patch: kopf.Patch, **_: Any) -> None:
    patch.status["resized"] = f"{old} to {new}"


@kopf.on.create("exercises", field="spec.flaky", value=True, backoff=0.1)
def flaky(retry: int, patch: kopf.Patch, **_: Any) -> None:
    if retry < 2:
        raise kopf.TemporaryError("not yet", delay=0.1)
    patch.status["tries"] = retry


@kopf.on.create("exercises", field="spec.broken", value=True)
def broken(body: kopf.Body, **_: Any) -> None:
    kopf.warn(body, reason="Broken", message="this can never be")
    raise kopf.PermanentError("this can never be")


@kopf.on.delete("exercises")
def going(body: kopf.Body, **_: Any) -> None:
    kopf.event(body, type="Normal", reason="Going", message="goodbye")


@kopf.timer("exercises", interval=0.2, labels={"ticks": "yes"})
def tick(patch: kopf.Patch, status: kopf.Status, **_: Any) -> None:
    patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.daemon("exercises", labels={"daemon": "yes"}, cancellation_timeout=1.0)
async def live(stopped: kopf.DaemonStopped, body: kopf.Body, **_: Any) -> None:
    kopf.info(body, reason="Living", message="a daemon lives")
    while not stopped:
        await asyncio.sleep(0.05)


@kopf.index("exercises")
def by_size(spec: kopf.Spec, name: str, **_: Any) -> dict[int, str]:
    return {spec["size"]: name}


@kopf.on.field("exercises", field="metadata.labels.ask")
def asked(new: Any, patch: kopf.Patch, **indices: Any) -> None:
    if new:
        patch.status["found"] = sorted(indices["by_size"].get(int(new), []))


@kopf.on.validate("exercises")
def not_too_large(spec: kopf.Spec, warnings: list[str], **_: Any) -> None:
    if spec.get("size", 0) > 100:
        raise kopf.AdmissionError("this is too large", code=422)
    if spec.get("size", 0) > 50:
        warnings.append("this is quite large")


@kopf.on.mutate("exercises", operations=["CREATE"])
def labelled(patch: kopf.Patch, **_: Any) -> None:
    patch.metadata.labels["seen"] = "yes"
