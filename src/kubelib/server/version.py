"""As which version of Kubernetes this one shows itself."""

from kubelib.exposition import Sample, family

GIT_VERSION = "v1.37.0+kubelib"


def build_version() -> dict[str, str]:
    """Return what ``/version`` says."""
    import platform

    return {
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
    }


_BUILD_LABELS = {
    "build_date": "buildDate", "compiler": "compiler", "git_commit": "gitCommit", "git_tree_state": "gitTreeState",
    "git_version": "gitVersion", "go_version": "goVersion", "major": "major", "minor": "minor", "platform": "platform",
}  # fmt: skip
"""Labels by what ``/version`` calls them."""


def build_info() -> list[str]:
    """Return what was built, as ``/version`` says it."""
    version = build_version()
    return family(
        "kubernetes_build_info",
        "gauge",
        "[ALPHA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state,"
        " build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
        [Sample(1, {label: version[name] for label, name in _BUILD_LABELS.items()})],
    )
