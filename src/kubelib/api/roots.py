"""What can be asked of the API server beside its resources: what there is, its version, and how its tokens are checked.

Kubernetes has these paths in its OpenAPI documents too, each in a document of its own. Health and metrics are in none.
"""

from collections.abc import Mapping

import attrs

from kubelib.api.machinery import APIGroup, APIGroupList, APIResourceList, APIVersions
from kubelib.api.model import Model
from kubelib.api.paths import camel_case, group_tag
from kubelib.api.schemas import Dialect, Schema, definition_name, reference

VERSION_INFO = "io.k8s.apimachinery.pkg.version.Info"
_DISCOVERED = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_JSON = ("application/json",)


@attrs.frozen
class Root:
    """A path that can be read and is no resource."""

    path: str
    """With a slash at its end, as Kubernetes writes it."""
    id: str
    tag: str
    about: str
    answer: type[Model] | str
    """The class of the answer, the name of its definition, or empty for text."""
    offers: tuple[str, ...] = _DISCOVERED

    @property
    def document(self) -> str:
        """The path of the OpenAPI v3 document that it is in."""
        return self.path.strip("/")

    @property
    def definition(self) -> str:
        """The name of the definition of the answer, empty for text."""
        return self.answer if isinstance(self.answer, str) else definition_name(self.answer)


_FIXED = (
    Root("/.well-known/openid-configuration/", "getServiceAccountIssuerOpenIDConfiguration", "WellKnown",
         "read how tokens of service accounts are checked (OpenID Connect discovery)", "", _JSON),
    Root("/api/", "getCoreAPIVersions", "core", "read the versions of the core group", APIVersions),
    Root("/apis/", "getAPIVersions", "apis", "read the groups and their versions", APIGroupList),
    Root("/openid/v1/jwks/", "getServiceAccountIssuerOpenIDKeyset", "openid",
         "read the keys by which tokens of service accounts are checked", "", ("application/jwk-set+json",)),
    Root("/version/", "getCodeVersion", "version", "read the version of the server", VERSION_INFO, _JSON),
)  # fmt: skip


def roots_of(groups: Mapping[str, list[str]]) -> tuple[Root, ...]:
    """Return what can be read of a server with these groups, each with its versions; that of a version is in its document."""
    found = list(_FIXED)
    for group, versions in sorted(groups.items()):
        title, tag = camel_case(group, capital=True), group_tag(group)
        if group:
            about = "read the versions of the group"
            found.append(Root(f"/apis/{group}/", f"get{title}APIGroup", tag, about, APIGroup))
        found += (resources_root(group, version) for version in versions)
    return tuple(found)


def resources_root(group: str, version: str) -> Root:
    """Return what tells the resources of a group and version."""
    path = f"/apis/{group}/{version}/" if group else f"/api/{version}/"
    title = camel_case(group, capital=True) + version.capitalize()
    about = "read the resources of the group and version"
    return Root(path, f"get{title}APIResources", f"{group_tag(group)}_{version}", about, APIResourceList)


def path_item(root: Root, dialect: Dialect) -> Schema:
    """Return what an OpenAPI document says of a root."""
    answer: Schema = reference(root.definition, dialect) if root.definition else {"type": "string"}
    shown = {"schema": answer} if dialect == 2 else {"content": {m: {"schema": answer} for m in root.offers}}
    operation: Schema = {
        "tags": [root.tag],
        "description": root.about,
        "operationId": root.id,
        "responses": {"200": {"description": "OK", **shown}, "401": {"description": "Unauthorized"}},
    }
    if dialect == 2:
        operation |= {"consumes": list(root.offers), "produces": list(root.offers), "schemes": ["https"]}
    return {"get": operation}


def version_definition() -> Schema:
    """Return the schema of what ``/version`` answers."""
    fields = {
        "buildDate": "When the server was built.",
        "compiler": "What runs the server's code.",
        "emulationMajor": "The major version whose behaviour the server shows.",
        "emulationMinor": "The minor version whose behaviour the server shows.",
        "gitCommit": "The commit that the server was built from.",
        "gitTreeState": "Whether there were changes beside the commit: clean or dirty.",
        "gitVersion": "The whole version.",
        "goVersion": "The version of the language that the server runs on.",
        "major": "The major version.",
        "minCompatibilityMajor": "The major version of the oldest peers that the server works with.",
        "minCompatibilityMinor": "The minor version of the oldest peers that the server works with.",
        "minor": "The minor version.",
        "platform": "The operating system and architecture of the server.",
    }
    optional = {"emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor"}
    return {
        "type": "object",
        "description": "The version of the server.",
        "properties": {name: {"type": "string", "description": text} for name, text in fields.items()},
        "required": sorted(set(fields) - optional),
    }
