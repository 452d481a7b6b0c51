"""Nodes in other processes, as the API server reaches them."""

from pathlib import Path

import pytest

from kubelib.api.codec import encode_json
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import ApiError
from kubelib.registry.base import ADMIN
from kubelib.server.listener import bind, serve
from kubelib.server.nodes import LogOptions
from kubelib.server.request import Request
from kubelib.server.requestinfo import parse_request
from kubelib.server.responses import Receive, Scope, Send
from kubelib.server.streams import log_options
from kubelib.server.tls import Tls
from reference_cluster import pki
from reference_cluster.remote_nodes import RemoteNodes


async def a_log(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as a kubelet."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def asked(query: dict[str, str]) -> LogOptions:
    """Return what a request for a log asks for."""
    info = parse_request("GET", "/api/v1/namespaces/default/pods/p/log")
    return log_options(Request(info, query, {}, ADMIN))


async def test_a_node_nobody_vouches_for_gives_its_logs_only_to_who_takes_them_so(tmp_path: Path) -> None:
    ours, theirs = (pki.Authority(tmp_path / name) for name in ("ours", "theirs"))
    served = theirs.server("node", ["127.0.0.1"])
    with bind("127.0.0.1", 0) as listening:
        async with serve(a_log, listening, Tls(served.cert, served.key)) as port:
            status = {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            }
            node = Document(encode_json({"metadata": {"name": "n"}, "status": status})).view(Node)
            spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
            pod = Document(
                encode_json({"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
            ).view(Pod)
            nodes = RemoteNodes(
                lambda name: node, ca=ours.ca.read_bytes(), credential=ours.client("us", pki.KUBELET_CLIENT)
            )
            with pytest.raises(ApiError, match="certificate verify failed"):
                async with nodes.logs(pod, "c", asked({})):
                    pass
            async with nodes.logs(pod, "c", asked({"insecureSkipTLSVerifyBackend": "true"})) as chunks:
                assert b"".join([chunk async for chunk in chunks]) == b"hello"
