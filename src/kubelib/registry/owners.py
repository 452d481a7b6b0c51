"""Owners that an object names twice: Kubernetes keeps the first of equal references, and tells the client."""

from kubelib.api.scheme import Tree

_WARNING = (
    ".metadata.ownerReferences contains duplicate entries{}; API server dedups owner references in 1.20+, and may reject such"
    " requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}"
)


def drop_repeated_owners(meta: Tree, *, admitted: bool) -> str:
    """Give metadata a list of owners without repetitions; return the warning for the client, empty where nothing was there twice.

    The list itself stays as it is, for another document may have it too. `admitted` says that admission has seen the document.
    """
    owners = meta.get("ownerReferences")
    if not isinstance(owners, list) or len(owners) < 2:
        return ""
    kept: list[Tree] = []
    twice: list[str] = []
    for owner in owners:
        if owner in kept:
            twice.append(str(owner.get("uid", "")))
        else:
            kept.append(owner)
    if not twice:
        return ""
    meta["ownerReferences"] = kept
    return _WARNING.format(" after mutating admission happens" if admitted else "", ", ".join(twice))
