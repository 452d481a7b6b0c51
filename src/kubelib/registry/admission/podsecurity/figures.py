"""What is counted of the Pod Security Standards: what was judged, who is exempt, and which labels could not be read."""

from collections import Counter
from collections.abc import Iterator

import attrs

from kubelib.exposition import Sample
from kubelib.registry.admission.base import Attributes
from kubelib.registry.admission.podsecurity.levels import CURRENT, LATEST, LevelVersion

About = tuple[str, str, str]
"""The operation, ``pod`` or ``controller``, and the subresource."""


@attrs.define
class PodSecurityFigures:
    """The labels are those of Kubernetes' metrics. Pods that no label and no default says anything about are not judged, nor counted."""

    judged: Counter[tuple[str, LevelVersion, str, About]] = attrs.Factory(Counter)
    """By decision, level and mode."""
    exempt: Counter[About] = attrs.Factory(Counter)
    errors: Counter[About] = attrs.Factory(Counter)

    def samples(self) -> Iterator[tuple[str, Sample]]:
        """Return the figures: each with its metric, below ``pod_security_``."""
        for (decision, level, mode, about), count in sorted(self.judged.items(), key=str):
            labels = {
                "decision": decision,
                "policy_level": level.level,
                "policy_version": _version(level.minor),
                "mode": mode,
            }
            yield "evaluations_total", Sample(count, labels | _labels(about))
        for about, count in sorted(self.exempt.items()):
            yield "exemptions_total", Sample(count, _labels(about))
        for about, count in sorted(self.errors.items()):
            yield "errors_total", Sample(count, {"fatal": "false"} | _labels(about))


def about(attributes: Attributes) -> About:
    """Return what a request is counted under."""
    kind = "pod" if attributes.resource.plural == "pods" else "controller"
    return attributes.verb, kind, attributes.subresource


def _labels(about: About) -> dict[str, str]:
    return dict(zip(("request_operation", "resource", "subresource"), about, strict=True))


def _version(minor: int) -> str:
    if minor == LATEST:
        return "latest"
    return f"v1.{minor}" if minor <= CURRENT else "future"
