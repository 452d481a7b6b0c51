"""Changes that only the garbage collector looks at: who may not change an object otherwise may make them, so that it can go."""

from kubelib.api.scheme import Tree

_TIES = ("finalizers", "ownerReferences", "resourceVersion", "managedFields")


def only_ties_change(old: Tree, new: Tree) -> bool:
    """Return whether two states of an object differ in nothing but finalizers and owners.

    Labels are not among that: a role with the right one becomes part of another.
    """
    return _without_ties(old) == _without_ties(new)


def _without_ties(tree: Tree) -> Tree:
    meta = {name: value for name, value in tree["metadata"].items() if name not in _TIES and value}
    return {**{name: value for name, value in tree.items() if value}, "metadata": meta}
