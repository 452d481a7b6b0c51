"""Who may use the files of a volume: the group and, for tokens, the user that a Pod names, given as the kubelet gives them."""

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from kubelib.api.core.pod import Pod
from kubelib.api.core.security import SecurityContext
from kubelib.api.core.volumes import Volume

READ, READ_WRITE = 0o440, 0o660
"""What the group may do with files at least; with directories, also enter them."""
OF_DIRECTORIES = stat.S_ISGID | 0o110
TOKEN_MODE = 0o600
"""Of tokens in Pods that name a group or a user, who gets them then."""


def group_of(pod: Pod) -> int | None:
    """Return the group that a Pod's volumes are to belong to."""
    security = pod.spec.security_context
    return security.fs_group if security is not None else None


def user_of(pod: Pod) -> int | None:
    """Return the user as whom all containers of a Pod run; None if they are several, or images say it."""
    shared = pod.spec.security_context.run_as_user if pod.spec.security_context is not None else None
    containers = (*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers)
    users = {_user(container.security_context, shared) for container in containers}
    return users.pop() if len(users) == 1 else None


def _user(own: SecurityContext | None, shared: int | None) -> int | None:
    return own.run_as_user if own is not None and own.run_as_user is not None else shared


def owners_of(pod: Pod, volume: Volume, files: Iterable[str]) -> dict[str, int]:
    """Return whose the files of a volume are, by path: of the user that one of them or the volume names.

    Otherwise tokens and keys belong to the user as whom the Pod runs, if it says one.
    """
    usual: int | None = None
    own: dict[str, int | None] = {}
    if (source := volume.config_map or volume.secret or volume.downward_api) is not None:
        usual, own = source.default_user, {item.path: item.user for item in source.items}
    elif (projected := volume.projected) is not None:
        usual, runs_as = projected.default_user, user_of(pod)
        for shown in projected.sources:
            part = shown.config_map or shown.secret or shown.downward_api
            own |= {item.path: item.user for item in part.items} if part is not None else {}
            if (bundle := shown.cluster_trust_bundle) is not None:
                own[bundle.path] = bundle.user
            if (token := shown.service_account_token) is not None:
                own[token.path] = _first(token.user, usual, runs_as)
            if (pair := shown.pod_certificate) is not None:
                paths = (pair.credential_bundle_path, pair.key_path, pair.certificate_chain_path)
                own |= dict.fromkeys(paths, _first(pair.user, usual, runs_as))
    owners = {path: usual if (user := own.get(path)) is None else user for path in files}
    return {path: user for path, user in owners.items() if user is not None}


def _first(*users: int | None) -> int | None:
    return next((user for user in users if user is not None), None)


def give(root: Path, group: int, mask: int) -> None:
    """Give a tree to a group, which may do with all of it at least what `mask` says; what it makes there, belongs to it too.

    What this process may not change, stays as it is: it may not run containers as somebody else either.
    """
    _give(root, group, mask)
    for place, directories, files in os.walk(root):
        for name in (*directories, *files):
            _give(Path(place, name), group, mask)


def _give(path: Path, group: int, mask: int) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        os.chown(path, -1, group, follow_symlinks=False)
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) | mask | (OF_DIRECTORIES if stat.S_ISDIR(mode) else 0))


def is_given(root: Path, group: int) -> bool:
    """Return whether the root of a volume has been given to a group, which may write there: what OnRootMismatch asks."""
    found, wanted = root.stat(), READ_WRITE | OF_DIRECTORIES
    return found.st_gid == group and found.st_mode & wanted == wanted
