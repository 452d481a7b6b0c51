"""Rules of the files that volumes are made of: keys of ConfigMaps and Secrets, facts about the Pod, tokens, certificates."""

from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.placement import label_selector_problems
from kubelib.api.validation.problems import each, forbidden, invalid, not_supported, required
from kubelib.api.validation.references import field_reference_problems, resource_reference_problems
from kubelib.api.validation.signing import signer_problems
from kubelib.api.validation.trust import bundle_name_messages

_FILE_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_DOWNWARD = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_LARGEST_ID = 2**31 - 1
_LEAST_SECONDS, _MOST_SECONDS = 600, 2**32


def mode_problems(source: Tree, field: str, path: str, problems: list[Problem]) -> None:
    """Check the permissions of files."""
    mode = source.get(field)
    if mode is not None and not 0 <= mode <= 0o777:
        problems.append(invalid(f"{path}.{field}", mode, _FILE_MODE))


def user_problems(source: Tree, field: str, path: str, problems: list[Problem]) -> None:
    """Check the user whose files are."""
    user = source.get(field)
    if user is not None and not 0 <= user <= _LARGEST_ID:
        problems.append(invalid(f"{path}.{field}", user, f"must be between 0 and {_LARGEST_ID}, inclusive"))


def item_problems(item: Tree, path: str, problems: list[Problem]) -> None:
    """Check which key becomes which file."""
    if not item.get("key"):
        problems.append(required(f"{path}.key"))
    _target_problems(item, path, problems)
    mode_problems(item, "mode", path, problems)
    user_problems(item, "user", path, problems)


def _target_problems(item: Tree, path: str, problems: list[Problem]) -> None:
    target = item.get("path") or ""
    if not target:
        problems.append(required(f"{path}.path"))
    problems += each(f"{path}.path", target, texts.unreserved(target))


def downward_file_problems(item: Tree, path: str, problems: list[Problem]) -> None:
    """Check which fact about the Pod becomes which file; Kubernetes names the volume, not the item."""
    _target_problems(item, path, problems)
    if item.get("fieldRef") is not None:
        field_reference_problems(item["fieldRef"], f"{path}.fieldRef", _DOWNWARD, problems)
        if item.get("resourceFieldRef") is not None:
            why = "fieldRef and resourceFieldRef can not be specified simultaneously"
            problems.append(invalid(path, "resource", why))
    elif item.get("resourceFieldRef") is not None:
        resource_reference_problems(
            item["resourceFieldRef"], f"{path}.resourceFieldRef", problems, volume=True
        )
    else:
        problems.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    mode_problems(item, "mode", path, problems)
    user_problems(item, "user", path, problems)


def projected(source: Tree, path: str, problems: list[Problem]) -> None:
    """Check a volume with files from several sources."""
    mode_problems(source, "defaultMode", path, problems)
    user_problems(source, "defaultUser", path, problems)
    taken: set[str] = set()
    for at, projection in enumerate(source.get("sources") or ()):
        here = f"{path}.sources[{at}]"
        for kind in ("secret", "configMap"):
            if isinstance(part := projection.get(kind), dict):
                name = part.get("name") or ""
                if not name:
                    problems.append(required(f"{here}.{kind}.name"))
                for number, item in enumerate(part.get("items") or ()):
                    item_problems(item, f"{here}.{kind}.items[{number}]", problems)
                    _take(item.get("path"), name, path, taken, problems)
        if isinstance(part := projection.get("downwardAPI"), dict):
            for item in part.get("items") or ():
                downward_file_problems(item, f"{here}.downwardAPI", problems)
                _take(item.get("path"), item.get("path"), path, taken, problems)
        if isinstance(part := projection.get("serviceAccountToken"), dict):
            _token(part, path, f"{here}.serviceAccountToken", problems)
        if isinstance(part := projection.get("clusterTrustBundle"), dict):
            _trust_bundle(part, f"{here}.clusterTrustBundle", problems)
            _take(part.get("path"), part.get("path"), path, taken, problems)
        if isinstance(part := projection.get("podCertificate"), dict):
            _pod_certificate(part, f"{here}.podCertificate", problems)
            for field in _CREDENTIALS:
                _take(part.get(field), part.get(field), path, taken, problems)
        if sum(value is not None for value in projection.values()) > 1:
            problems.append(forbidden(here, "may not specify more than 1 volume type per source"))


def _take(target: Any, shown: Any, path: str, taken: set[str], problems: list[Problem]) -> None:
    if target in taken:
        problems.append(invalid(path, shown, "conflicting duplicate paths"))
    elif target:
        taken.add(target)


def _token(token: Tree, volume: str, path: str, problems: list[Problem]) -> None:
    seconds, field = token.get("expirationSeconds") or 0, f"{path}.expirationSeconds"
    if seconds < _LEAST_SECONDS:
        problems.append(invalid(field, seconds, "may not specify a duration less than 10 minutes"))
    elif seconds > _MOST_SECONDS:
        problems.append(invalid(field, seconds, "may not specify a duration larger than 2^32 seconds"))
    user_problems(token, "user", path, problems)
    _target_problems(token, volume, problems)


_CREDENTIALS = ("credentialBundlePath", "keyPath", "certificateChainPath")
_KEYS = ("ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096")
_LEAST_LIFE, _LONGEST_LIFE, _LONGEST_OF_OURS = 3600, 91 * 86400, 86400


def _pod_certificate(wanted: Tree, path: str, problems: list[Problem]) -> None:
    user_problems(wanted, "user", path, problems)
    signer, kind = wanted.get("signerName") or "", wanted.get("keyType") or ""
    problems += signer_problems(signer, f"{path}.signerName")
    if kind not in _KEYS:
        problems.append(not_supported(f"{path}.keyType", kind, _KEYS))
    if (life := wanted.get("maxExpirationSeconds")) is not None:
        longest = _LONGEST_OF_OURS if signer.startswith("kubernetes.io/") else _LONGEST_LIFE
        here, rule = f"{path}.maxExpirationSeconds", "if provided, maxExpirationSeconds must be"
        if life < _LEAST_LIFE:
            problems.append(invalid(here, life, f"{rule} >= {_LEAST_LIFE}"))
        elif life > longest:
            problems.append(invalid(here, life, f"{rule} <= {longest}"))
    given = [field for field in _CREDENTIALS if wanted.get(field)]
    if not given:
        why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
        problems.append(required(path, why))
    for field in given:
        problems += each(f"{path}.{field}", wanted[field], texts.unreserved(wanted[field]))


def _trust_bundle(bundle: Tree, path: str, problems: list[Problem]) -> None:
    name, signer, selector = bundle.get("name"), bundle.get("signerName"), bundle.get("labelSelector")
    if name is not None and signer is not None:
        problems.append(invalid(path, bundle, "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            problems.append(required(f"{path}.name", "must be a valid object name"))
        problems += [
            invalid(f"{path}.name", name, f"not a valid clustertrustbundlename: {message}")
            for message in bundle_name_messages(name, name.rpartition(":")[0].replace(":", "/"))
        ]
        if selector is not None:
            why = "labelSelector must be unset if name is specified"
            problems.append(invalid(f"{path}.labelSelector", selector, why))
    elif signer is not None:
        if not signer:
            problems.append(required(f"{path}.signerName", "must be a valid signer name"))
        problems += signer_problems(signer, f"{path}.signerName")
        problems += label_selector_problems(selector, f"{path}.labelSelector")
    else:
        problems.append(required(path, "either name or signerName must be specified"))
    _target_problems(bundle, path, problems)
