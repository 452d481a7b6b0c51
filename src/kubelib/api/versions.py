"""The order of versions: stable ones before betas before alphas, later ones first."""

import re

_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?", re.ASCII)
_STAGES = {None: 0, "beta": 1, "alpha": 2}


def priority(version: str) -> tuple[int, int, int, str]:
    """Return by what versions are sorted so that the preferred one comes first.

    >>> sorted(["v1", "v2alpha1", "foo", "v2", "v1beta2", "v10", "v1beta11"], key=priority)
    ['v10', 'v2', 'v1', 'v1beta11', 'v1beta2', 'v2alpha1', 'foo']
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        return 3, 0, 0, version
    return _STAGES[match[2]], -int(match[1]), -int(match[3] or 0), ""
