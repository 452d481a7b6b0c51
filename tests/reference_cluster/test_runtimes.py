"""Options of runtimes: what would have no effect is refused."""

from pathlib import Path

import pytest

from kubelib.runtime.fake import FakeRuntime
from reference_cluster.runtimes import IsolationSettings, open_runtime

IMAGES = IsolationSettings(images=Path("images"))
PIDS = IsolationSettings(pids=10)


@pytest.mark.parametrize(
    ("name", "isolation", "expected"),
    [
        (
            "docker",
            IsolationSettings(level="pod"),
            "--isolation is for the runtime process: docker isolates as it does",
        ),
        (
            "podman",
            IMAGES,
            "--image-dir is for the runtime process with --isolation pod: podman has its own",
        ),
        (
            "process",
            IMAGES,
            "--image-dir is for the runtime process with --isolation pod: without it containers have the host's files",
        ),
        (
            "process",
            PIDS,
            "--pod-max-pids is for container engines and for --isolation pod: without it containers have no control groups",
        ),
        (
            "fake",
            PIDS,
            "--pod-max-pids is for container engines and for --isolation pod: fake starts no processes",
        ),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused_in_one_sentence(
    name: str, isolation: IsolationSettings, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"^--") as refused:
        open_runtime(name, tmp_path, isolation)
    assert str(refused.value) == expected


def test_a_runtime_without_options_is_opened(tmp_path: Path) -> None:
    assert isinstance(open_runtime("fake", tmp_path), FakeRuntime)
