"""Whether the server is alive, and ready: single checks, all of them, and all but some, in kube-apiserver's words."""

from collections.abc import Mapping
from urllib.parse import parse_qs

from kubelib.server.responses import Response

TEXT = b"text/plain; charset=utf-8"
_PLAIN = [(b"x-content-type-options", b"nosniff")]


def answer(which: str, check: str, checks: Mapping[str, bool], query: bytes) -> Response:
    """Answer ``/livez``, ``/livez/etcd`` and their like: 200 if what is asked for is well, 500 if not, 404 for no such check.

    ``exclude`` leaves a check out, ``verbose`` names each; a failure names them in any case, and why is for the server's log.
    """
    if check:
        if check not in checks:
            return Response(b"404 page not found\n", 404, TEXT)
        if checks[check]:
            return Response(b"ok", content_type=TEXT, headers=list(_PLAIN))
        text = f"internal server error: {check} check failed\n"
        return Response(text.encode(), 500, TEXT, headers=list(_PLAIN))
    asked = parse_qs(query.decode("latin1"), keep_blank_values=True)
    excluded = set(asked.get("exclude") or ())
    lines = []
    for name, healthy in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif healthy:
            lines.append(f"[+]{name} ok")
        else:
            lines.append(f"[-]{name} failed: reason withheld")
    if unknown := sorted(excluded - checks.keys()):
        names = ",".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {names}")
    well = all(healthy or name in excluded for name, healthy in checks.items())
    if well and "verbose" not in asked:
        return Response(b"ok", content_type=TEXT, headers=list(_PLAIN))
    lines.append(f"{which} check {'passed' if well else 'failed'}\n")
    return Response("\n".join(lines).encode(), 200 if well else 500, TEXT, headers=list(_PLAIN))
