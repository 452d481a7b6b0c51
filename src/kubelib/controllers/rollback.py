"""Going back to an earlier revision because an annotation says so, as clients of old versions of the API ask for it. Pure."""

from collections.abc import Sequence

import attrs

from kubelib.api.apps import Deployment, ReplicaSet
from kubelib.api.model import replace
from kubelib.controllers.rollout import (
    NOT_COPIED,
    ROLLBACK,
    find_new,
    revision_of,
    same_template,
    without_hash,
)


@attrs.frozen
class Rollback:
    """What becomes of the deployment, and the Event that tells of it."""

    deployment: Deployment
    reason: str
    message: str

    @property
    def done(self) -> bool:
        """Whether it went back."""
        return self.reason == "DeploymentRollback"


def asked_revision(deployment: Deployment) -> int | None:
    """Return the revision to go back to, 0 for the last one; None if nobody asks for it, or in a way that is not understood."""
    try:
        return int(deployment.metadata.annotations.get(ROLLBACK, ""))
    except ValueError:
        return None


def roll_back(deployment: Deployment, sets: Sequence[ReplicaSet]) -> Rollback | None:
    """Return what going back means.

    None if nobody asks for it, or while the present template does not have the highest revision: it would not be known which
    one came before.
    """
    asked, new = asked_revision(deployment), find_new(deployment, sets)
    if asked is None or new is None:
        return None
    revisions = sorted(map(revision_of, sets))
    if revisions.count(revision_of(new)) > 1 or revisions[-1] != revision_of(new):
        return None
    meta = deployment.metadata
    rest = {key: value for key, value in meta.annotations.items() if key != ROLLBACK}
    stays = replace(deployment, metadata=replace(meta, annotations=rest))
    not_found = "DeploymentRollbackRevisionNotFound"
    if asked == 0:
        asked = revisions[-2] if len(revisions) > 1 else 0
        if asked == 0:
            return Rollback(stays, not_found, "Unable to find last revision.")
    target = next((one for one in sets if revision_of(one) == asked), None)
    if target is None:
        return Rollback(stays, not_found, "Unable to find the revision to rollback to.")
    if same_template(deployment.spec.template, target.spec.template):
        what = f'The rollback revision contains the same template as current deployment "{meta.name}"'
        return Rollback(stays, "DeploymentRollbackTemplateUnchanged", what)
    # What was said of the revision, such as why it was made, is said of the deployment again.
    kept = {key: value for key, value in rest.items() if key in NOT_COPIED}
    back = {key: value for key, value in target.metadata.annotations.items() if key not in NOT_COPIED}
    gone_back = replace(
        deployment,
        metadata=replace(meta, annotations={**kept, **back}),
        spec=replace(deployment.spec, template=without_hash(target.spec.template)),
    )
    message = f'Rolled back deployment "{meta.name}" to revision {asked}'
    return Rollback(gone_back, "DeploymentRollback", message)
