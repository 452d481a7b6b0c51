"""Rules of what Pods may ask of Linux and of Windows."""

import re

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.annotations import all_containers
from kubelib.api.validation.problems import each, forbidden, invalid, not_supported, required

_LARGEST_SPEC = 64 * 1024
_LONGEST_DOMAIN, _LONGEST_USER = 256, 104
_control = re.compile(r"[\x00-\x1f\x7f]").search
_net_bios = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}').fullmatch
_DNS_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_dns = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*").fullmatch
_dots = re.compile(r"[. ]+").fullmatch
_odd = re.compile(r'["/\\:;|=,+*?<>@\[\]]').search

# In the order in which Kubernetes looks for them: fields of the Pod's security context, or of its spec.
_POD_NOT_ON_WINDOWS = (
    ("appArmorProfile", ""), ("seLinuxOptions", ""), ("", "hostUsers"), ("", "hostPID"), ("", "hostIPC"),
    ("seccompProfile", ""), ("fsGroup", ""), ("fsGroupChangePolicy", ""), ("sysctls", ""), ("", "shareProcessNamespace"),
    ("runAsUser", ""), ("runAsGroup", ""), ("supplementalGroups", ""), ("supplementalGroupsPolicy", ""),
    ("seLinuxChangePolicy", ""),
)  # fmt: skip
_CONTAINER_NOT_ON_WINDOWS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip
_ONLY_IF_TRUE = frozenset(("hostPID", "hostIPC", "sysctls"))


def options_problems(options: Tree, path: str) -> list[Problem]:
    """Check what a security context says about Windows."""
    problems: list[Problem] = []
    name, credentials = options.get("gmsaCredentialSpecName"), options.get("gmsaCredentialSpec")
    if name is not None:
        problems += each(f"{path}.gmsaCredentialSpecName", name, texts.subdomain(name))
    if credentials is not None:
        where = f"{path}.gmsaCredentialSpec"
        if not credentials:
            why = "gmsaCredentialSpec cannot be an empty string"
            problems.append(invalid(where, credentials, why))
        elif len(credentials.encode()) > _LARGEST_SPEC:
            why = f"gmsaCredentialSpec size must be under {_LARGEST_SPEC // 1024} KiB"
            problems.append(invalid(where, credentials, why))
    user = options.get("runAsUserName")
    if user is not None:
        problems += each(f"{path}.runAsUserName", user, _user_messages(user))
    return problems


def _user_messages(text: str) -> list[str]:
    if not text:
        return ["runAsUserName cannot be an empty string"]
    if _control(text):
        return ["runAsUserName cannot contain control characters"]
    *domains, user = text.split("\\")
    if len(domains) > 1:
        return ["runAsUserName cannot contain more than one backslash"]
    messages = []
    for domain in domains:
        if len(domain) >= _LONGEST_DOMAIN:
            messages.append(f"runAsUserName's Domain length must be under {_LONGEST_DOMAIN} characters")
        if not _net_bios(domain) and not _dns(domain):
            messages.append("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
    if not user:
        messages.append("runAsUserName's User cannot be empty")
    elif len(user) > _LONGEST_USER:
        messages.append(f"runAsUserName's User length must not be longer than {_LONGEST_USER} characters")
    if _dots(user):
        messages.append("runAsUserName's User cannot contain only periods or spaces")
    if _odd(user):
        messages.append("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return messages


def operating_system_problems(spec: Tree, path: str, problems: list[Problem]) -> None:
    """Check that a Pod asks for nothing that its operating system has not."""
    system = (spec.get("os") or {}).get("name") or ""
    context = spec.get("securityContext") or {}
    contexts = [
        (container.get("securityContext") or {}, f"{here}.securityContext")
        for container, here in all_containers(spec, path)
    ]
    if not system:
        problems.append(required(f"{path}.os.name", "cannot be empty"))
    elif system == "linux":
        problems += [
            forbidden(f"{here}.windowsOptions", "windows options cannot be set for a linux pod")
            for given, here in ((context, f"{path}.securityContext"), *contexts)
            if given.get("windowsOptions") is not None
        ]
    elif system == "windows":
        for ours, hosts in _POD_NOT_ON_WINDOWS:
            value = context.get(ours) if ours else spec.get(hosts)
            if value if (ours or hosts) in _ONLY_IF_TRUE else value is not None:
                where = f"{path}.securityContext.{ours}" if ours else f"{path}.{hosts}"
                problems.append(forbidden(where, "cannot be set for a windows pod"))
        for given, here in contexts:
            problems += [
                forbidden(f"{here}.{field}", "cannot be set for a windows pod")
                for field in _CONTAINER_NOT_ON_WINDOWS
                if given.get(field) is not None
            ]
    else:
        problems.append(not_supported(f"{path}.os", system, ("linux", "windows")))


def host_process_problems(spec: Tree, path: str, problems: list[Problem]) -> None:
    """Check that processes of a Windows host come without other containers, and in the host's network."""
    of_pod = ((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    containers = list(all_containers(spec, path))
    count = 0
    for container, here in containers:
        own = ((container.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
        if own is not None and of_pod is not None and own != of_pod:
            why = f"pod hostProcess value must be identical if both are specified, was {str(of_pod).lower()}"
            problems.append(invalid(f"{here}.securityContext.windowsOptions.hostProcess", own, why))
        count += bool(of_pod if own is None else own)
    if count and count != len(containers):
        why = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        problems.append(invalid(path, "", why))
    if count and not spec.get("hostNetwork"):
        why = "hostNetwork must be true if pod contains any hostProcess containers"
        problems.append(invalid(f"{path}.hostNetwork", False, why))
