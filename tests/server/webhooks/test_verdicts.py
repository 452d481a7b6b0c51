"""Refusals, warnings and annotations of admission webhooks reach whom they concern, and are counted."""

from typing import Any

import anyio
import pytest

from kubelib.api.errors import ApiError, InternalError
from kubelib.registry.admission.webhooks.figures import WebhookFigures
from tests.hooks import Request, hook
from tests.server.webhooks.asking import MUTATING, VALIDATING, Api, Tree, answering, config_map


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (None, 400, "without explanation"),
        ({"message": "no"}, 400, ": no"),
        ({"reason": "Forbidden", "code": 403}, 403, ": Forbidden"),
        ({"message": "no", "code": 200, "status": "Success"}, 400, ": no"),
        ({"message": "no", "code": 99999}, 400, ": no"),
    ],
)
async def test_a_refusal_is_told_in_the_webhook_s_words(
    api: Api, status: Tree | None, code: int, message: str
) -> None:
    response = {"allowed": False, **({"status": status} if status else {})}
    async with hook(answering(lambda request: response)) as seen:
        await api.configure(VALIDATING, seen)
        with pytest.raises(ApiError) as refused:
            await api.create(config_map())
    told = refused.value.status()
    between = "" if message.startswith(":") else " "
    assert told["message"] == f'admission webhook "c.example.com" denied the request{between}{message}'
    assert told["code"] == refused.value.code == code
    assert told["status"] == "Failure"


async def test_warnings_and_annotations_are_passed_on(api: Api) -> None:
    said = {"warnings": ["careful", "very"], "auditAnnotations": {"why": "because"}}
    async with hook(answering(lambda request: said)) as seen:
        await api.configure(VALIDATING, seen)
        await api.create(config_map())
    assert api.warnings == ["careful", "very"]
    assert api.notes["c.example.com/why"] == "because"


async def test_validating_webhooks_are_asked_at_once_and_one_refusal_is_enough(api: Api) -> None:
    together = anyio.Event()
    waiting = 0

    async def behave(request: Request) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 3:
            together.set()
        with anyio.fail_after(60):
            await together.wait()
        await answering(lambda r: {"allowed": request.target.startswith("/hook?")})(request)

    async with hook(behave) as seen:
        for name in ("a", "b"):
            await api.configure(VALIDATING, seen, name=name)
        await api.configure(VALIDATING, f"https://localhost:{seen.port}/no", name="no")
        with pytest.raises(ApiError, match=r'admission webhook "no\.example\.com" denied'):
            await api.create(config_map())


async def test_webhooks_are_counted(api: Api) -> None:
    """By their names, and by what became of the requests; the figures are those of Kubernetes."""

    def decide(request: Tree) -> Tree:
        return {"allowed": request["object"]["data"] != {"bad": "yes"}, "status": {"code": 451}}

    async with hook(answering(decide)) as seen:
        await api.configure(VALIDATING, seen, name="strict")
        await api.configure(MUTATING, "https://127.0.0.1:1/", name="away", failurePolicy="Ignore")
        await api.create(config_map())
        with pytest.raises(ApiError):
            await api.create(config_map("y", {"bad": "yes"}))
        await api.configure(MUTATING, "https://127.0.0.1:1/", name="must")
        with pytest.raises(InternalError):
            await api.create(config_map("z"))
    figures = {
        (
            metric + sample.suffix,
            ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items(), key=lambda i: (i[0] == "le", i))),
        ): sample.value
        for plugin in api.registries.admission.plugins
        if isinstance(found := getattr(plugin, "figures", None), WebhookFigures)
        for metric, sample in found.samples()
    }

    def of(name: str, kind: str, **labels: Any) -> str:
        known = {**labels, "name": f"{name}.example.com", "operation": "CREATE", "type": kind}
        return ",".join(f'{label}="{known[label]}"' for label in sorted(known))

    accepted, refused = (
        of("strict", "validating", rejected="false"),
        of("strict", "validating", rejected="true"),
    )
    assert figures["admission_duration_seconds_count", accepted] == 1
    assert figures["admission_duration_seconds_bucket", f'{refused},le="+Inf"'] == 1
    assert figures["request_total", of("strict", "validating", code=451, rejected="true")] == 1
    told = of("strict", "validating", error_type="no_error", rejection_code=451)
    assert figures["rejection_count", told] == 1
    assert figures["fail_open_count", 'name="away.example.com",type="admit"'] == 3
    away = of("must", "admit", error_type="calling_webhook_error", rejection_code=0)
    assert figures["rejection_count", away] == 1
