"""How long things last where the options of the API server say so."""

from pathlib import Path

import anyio
import httpx
import pytest
from click.testing import CliRunner

from kubelib.api.core.event import Event
from kubelib.api.core.references import ObjectReference
from kubelib.api.meta import ObjectMeta
from kubelib.client.local import LocalClient
from reference_cluster import pki
from reference_cluster.access import AccessSettings
from reference_cluster.apiserver import run_api_server
from reference_cluster.cli import kubelib
from tests.server.test_tls import known


async def test_events_and_watches_last_as_long_as_is_said(tmp_path: Path) -> None:
    access = AccessSettings(event_lifetime=1.0, watch_time=0.5)
    async with run_api_server(
        store="memory://", pki_directory=tmp_path / "pki", listen="127.0.0.1:0", access=access
    ) as server:
        events = LocalClient(server.registries).resource(Event)
        meta = ObjectMeta(name="e", namespace="default")
        about = ObjectReference(kind="Pod", namespace="default", name="p")
        await events.create(Event(metadata=meta, involved_object=about))
        context = known(server)
        credential = server.authority.client("admin", pki.ADMIN)
        context.load_cert_chain(credential.cert, credential.key)
        async with httpx.AsyncClient(
            base_url=server.url, verify=context, trust_env=False, timeout=60
        ) as client:
            begun = anyio.current_time()
            answer = await client.get("/api/v1/secrets", params={"watch": "1"})
            assert answer.status_code == 200
            assert anyio.current_time() - begun >= 0.4
            with anyio.fail_after(60):
                while (await client.get("/api/v1/namespaces/default/events")).json()["items"]:
                    await anyio.sleep(0.05)


@pytest.mark.parametrize(
    ("option", "why"),
    [("--event-ttl=0s", "--event-ttl must not be shorter than 1 s"), ("--min-request-timeout=0", "0")],
)
def test_times_that_are_too_short_are_refused(tmp_path: Path, option: str, why: str) -> None:
    found = CliRunner().invoke(kubelib, ["apiserver", "--data-dir", str(tmp_path), option])
    assert found.exit_code != 0
    assert why in found.output
