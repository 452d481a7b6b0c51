"""Rules of roles in a line each: verbs, groups and resources as words."""

from kubelib.api.scheme import Tree

RBAC = "rbac.authorization.k8s.io"
"""The group of roles and bindings."""
READ = "get list watch"
WRITE = "create delete deletecollection patch update"
CONTROL = "create delete get list patch update watch"


def rule(verbs: str, groups: str, resources: str, names: str = "") -> Tree:
    """Return a rule; ``core`` stands for the group without a name."""
    made: Tree = {
        "verbs": verbs.split(),
        "apiGroups": ["" if group == "core" else group for group in groups.split()],
        "resources": resources.split(),
    }
    if names:
        made["resourceNames"] = names.split()
    return made


def paths(verbs: str, paths: str) -> Tree:
    """Return a rule about paths that are no resources."""
    return {"verbs": verbs.split(), "nonResourceURLs": paths.split()}


EVENTS = rule("create patch update", "core events.k8s.io", "events")
