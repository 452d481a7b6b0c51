"""Defaults of claims for devices."""

from kubelib.api.scheme import Tree


def default_claim(tree: Tree) -> None:
    """Fill in, in place, what a ResourceClaim leaves out: one device of each kind."""
    _default_spec(tree.get("spec") or {})


def default_claim_template(tree: Tree) -> None:
    """Fill in, in place, what the claims of a template leave out."""
    _default_spec((tree.get("spec") or {}).get("spec") or {})


def _default_spec(spec: Tree) -> None:
    for request in (spec.get("devices") or {}).get("requests") or ():
        exactly = request.get("exactly")
        for demand in (*([exactly] if exactly is not None else ()), *(request.get("firstAvailable") or ())):
            if not demand.get("allocationMode"):
                demand["allocationMode"] = "ExactCount"
            if demand["allocationMode"] == "ExactCount" and not demand.get("count"):
                demand["count"] = 1
            for toleration in demand.get("tolerations") or ():
                if not toleration.get("operator"):
                    toleration["operator"] = "Equal"
