"""The plug-in that holds Pods to the level that their namespace's labels choose."""

from collections.abc import Collection, Iterable, Mapping

from kubelib.api.core.pod import Pod
from kubelib.api.errors import invalid
from kubelib.api.meta import Key
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.admission.base import Attributes, Verb
from kubelib.registry.admission.podsecurity.checks import violations
from kubelib.registry.admission.podsecurity.figures import PodSecurityFigures, about
from kubelib.registry.admission.podsecurity.levels import (
    LABEL,
    PRIVILEGED,
    LevelVersion,
    Policy,
    is_labelled,
    policy_of,
)

_POD_CHANGES = {"", "ephemeralcontainers", "resize"}
_WITH_TEMPLATES = {
    ("", "replicationcontrollers"), ("", "podtemplates"), ("apps", "replicasets"), ("apps", "deployments"),
    ("apps", "statefulsets"), ("apps", "daemonsets"), ("batch", "jobs"), ("batch", "cronjobs"),
}  # fmt: skip
MOST_PODS = 3000
"""How many Pods of a namespace are looked at when its level changes."""


class PodSecurity:
    """Refuses, notes and warns of Pods, and warns of what makes Pods. By default everything is allowed.

    `defaults` is the policy of namespaces whose labels say nothing; users, namespaces and runtime classes can be exempt.
    """

    name = "PodSecurity"

    def __init__(
        self,
        defaults: Policy = PRIVILEGED,
        *,
        users: Collection[str] = (),
        namespaces: Collection[str] = (),
        runtime_classes: Collection[str] = (),
    ) -> None:
        self._defaults = defaults
        self._users = frozenset(users)
        self._namespaces = frozenset(namespaces)
        self._runtime_classes = frozenset(runtime_classes)
        self.figures = PodSecurityFigures()

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new and changed Pods, namespaces, and kinds with a template of Pods."""
        if verb not in ("create", "update"):
            return False
        kind = (resource.group, resource.plural)
        if kind == ("", "pods"):
            return subresource in _POD_CHANGES
        return not subresource and (kind == ("", "namespaces") or kind in _WITH_TEMPLATES)

    async def validate(self, attributes: Attributes) -> None:
        """Hold the object to its namespace's level."""
        if attributes.resource.plural == "namespaces":
            self._check_namespace(attributes)
            return
        namespace = attributes.registries.namespaces.cache.get(Key("", attributes.key.namespace))
        labels: Mapping[str, str] = namespace.meta.labels if namespace is not None else {}
        if self._defaults is PRIVILEGED and not is_labelled(labels):
            return
        is_pod = attributes.resource.plural == "pods"
        policy, problems = policy_of(labels, self._defaults)
        if not problems and policy == PRIVILEGED:
            return
        if (reason := self._exemption(attributes)) is not None:
            self._exempt(attributes, reason)
            return
        if is_pod and attributes.old is not None and not _is_significant(attributes.tree, attributes.old):
            return
        found = _pod_in(attributes.tree, attributes.resource.plural)
        if found is None:
            return
        meta, spec = found
        if spec.get("runtimeClassName") in self._runtime_classes:
            self._exempt(attributes, "runtimeClass")
            return
        if problems:
            self.figures.errors[about(attributes)] += 1
            attributes.annotate(
                f"{LABEL}error", f"Failed to parse policy: {', '.join(str(problem) for problem in problems)}"
            )
        self._evaluate(attributes, policy, meta, spec, enforce=is_pod)

    def _exempt(self, attributes: Attributes, reason: str) -> None:
        self.figures.exempt[about(attributes)] += 1
        attributes.annotate(f"{LABEL}exempt", reason)

    def _exemption(self, attributes: Attributes) -> str | None:
        if attributes.key.namespace in self._namespaces:
            return "namespace"
        return "user" if attributes.user.name in self._users else None

    def _evaluate(
        self, attributes: Attributes, policy: Policy, meta: Tree, spec: Tree, *, enforce: bool
    ) -> None:
        told: dict[LevelVersion, str] = {}
        judged, where = self.figures.judged, about(attributes)

        def verdict(level: LevelVersion) -> str:
            if level not in told:
                told[level] = ", ".join(str(violation) for violation in violations(level, meta, spec))
            return told[level]

        if audited := verdict(policy.audit):
            judged["deny", policy.audit, "audit", where] += 1
            attributes.annotate(
                f"{LABEL}audit-violations", f'would violate PodSecurity "{policy.audit}": {audited}'
            )
        if enforce:
            attributes.annotate(f"{LABEL}enforce-policy", str(policy.enforce))
            refused = verdict(policy.enforce)
            judged["deny" if refused else "allow", policy.enforce, "enforce", where] += 1
            if refused:
                raise attributes.forbidden(f'violates PodSecurity "{policy.enforce}": {refused}')
        if warned := verdict(policy.warn):
            judged["deny", policy.warn, "warn", where] += 1
            attributes.warn(f'would violate PodSecurity "{policy.warn}": {warned}')

    def _check_namespace(self, attributes: Attributes) -> None:
        labels = attributes.tree["metadata"].get("labels") or {}
        before = ((attributes.old or {}).get("metadata") or {}).get("labels") or {}
        if not is_labelled(labels) and not is_labelled(before):
            return
        policy, problems = policy_of(labels, self._defaults)
        old_policy, old_problems = policy_of(before, self._defaults)
        if problems and (attributes.verb == "create" or problems != old_problems):
            raise invalid("Namespace", "", attributes.key.name, problems)
        new, old = policy.enforce, old_policy.enforce
        if attributes.verb == "create" or new == old or new.level == "privileged":
            return
        if new.minor == old.minor and new.strictness <= old.strictness:
            return
        if attributes.key.name in self._namespaces:
            return
        for warning in self._warnings(attributes, new):
            attributes.warn(warning)

    def _warnings(self, attributes: Attributes, level: LevelVersion) -> Iterable[str]:
        """Say which Pods that are there already would now be refused."""
        name = attributes.key.name
        pods = sorted(attributes.cache(Pod).within(name), key=lambda document: document.meta.name)
        offenders: dict[str, list[str]] = {}
        for document in pods[:MOST_PODS]:
            tree = document.tree()
            spec = tree.get("spec") or {}
            if spec.get("runtimeClassName") in self._runtime_classes:
                continue
            found = violations(level, tree["metadata"], spec)
            if found:
                reasons = ", ".join(violation.reason for violation in found)
                offenders.setdefault(reasons, []).append(document.meta.name)
        if len(pods) > MOST_PODS:
            yield (
                f"new PodSecurity enforce level only checked against the first {MOST_PODS} of {len(pods)} existing pods"
            )
        if offenders:
            yield f'existing pods in namespace "{name}" violate the new PodSecurity enforce level "{level}"'
        lines = []
        for reasons, names in offenders.items():
            others = len(names) - 1
            more = f" (and {others} other {'pod' if others == 1 else 'pods'})" if others else ""
            lines.append(f"{names[0]}{more}: {reasons}")
        yield from sorted(lines)


def _pod_in(tree: Tree, plural: str) -> tuple[Tree, Tree] | None:
    """Return the metadata and the specification of the Pod that an object is, or makes."""
    if plural == "pods":
        return tree["metadata"], tree.get("spec") or {}
    spec = tree.get("spec") or {}
    if plural == "cronjobs":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    template = tree.get("template") if plural == "podtemplates" else spec.get("template")
    if not template:
        return None
    return template.get("metadata") or {}, template.get("spec") or {}


def _is_significant(tree: Tree, old: Tree) -> bool:
    """Return whether a change to a Pod can make it break its level: of what may change, only images and containers."""
    new_spec, old_spec = tree.get("spec") or {}, old.get("spec") or {}
    for part in ("containers", "initContainers", "ephemeralContainers"):
        images = [
            [(c.get("name"), c.get("image")) for c in spec.get(part) or ()] for spec in (new_spec, old_spec)
        ]
        if images[0] != images[1]:
            return True
    annotations, before = (t["metadata"].get("annotations") or {} for t in (tree, old))
    return any(
        annotations.get(name) != before.get(name)
        for name in {*annotations, *before}
        if "seccomp.security.alpha.kubernetes.io/" in name
    )
