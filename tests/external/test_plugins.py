"""A store and a runtime of somebody else, each installed as a package of its own by pip, in `kubelib up`: those of the pages."""

import contextlib
import ensurepip
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.external.conftest import ROOT, Cluster, Kubectl, eventually, real_binary

WHEEL = "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel(directory: Path, name: str, module: str, entry_points: str) -> Path:
    """Write a wheel with one module and its entry points."""
    made, info = directory / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": module,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": WHEEL,
        f"{info}/entry_points.txt": entry_points,
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return made


def of_the_page(name: str) -> str:
    """Return the program that a page shows first."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs/plugins" / name).read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which pip has installed both."""
    made, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    wheels = [
        wheel(made, "mystore", of_the_page("store.md"), "[kubelib.stores]\nmystore = mystore:open_journal\n"),
        wheel(
            made,
            "myruntime",
            of_the_page("runtime.md"),
            "[kubelib.runtimes]\nmine = myruntime:ChildRuntime\n",
        ),
    ]
    [pip] = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    words = ("install", "--quiet", "--no-index", "--no-deps", "--target", str(target), *map(str, wheels))
    environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([sys.executable, f"{pip}/pip", *words], check=True, env=environment)
    return target


def alive(mark: str) -> list[str]:
    """Return the processes that have something in their environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            found += [environment.parent.name] if mark.encode() in environment.read_bytes() else []
    return found


def test_a_cluster_runs_on_the_store_and_the_runtime_of_somebody_else(
    installed: Path, tmp_path: Path
) -> None:
    options = ("--listen", "127.0.0.1:0", "--runtime", "mine", "--store", f"mystore://{tmp_path}/journal")
    cluster = Cluster(tmp_path / "data", *options, PYTHONPATH=str(installed))
    cluster.start()
    try:
        kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path / "kubectl")
        kubectl("create", "configmap", "kept", "--from-literal=a=1")
        kubectl(
            "run", "web", "--image=any", f"--env=MARK={tmp_path}", "--grace-period=1", "--command", "--",
            "sh", "-c", "echo up; exec sleep 100000",
        )  # fmt: skip
        kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=120s")
        eventually(lambda: kubectl("logs", "web") == "up\n")
        assert b'"revision"' in (tmp_path / "journal").read_bytes()
        assert alive(f"MARK={tmp_path}")
        assert cluster.stop() == 0
        assert not alive(f"MARK={tmp_path}"), "the runtime ends its containers, and none is started anew"
        cluster.start()
        kubectl = Kubectl(real_binary("kubectl"), cluster.kubeconfig, tmp_path / "kubectl")
        assert kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "1"
        kubectl("delete", "pod", "web", "--grace-period=1", "--timeout=120s")
    finally:
        assert cluster.stop() == 0


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        (
            "--runtime",
            "none",
            "there is no runtime 'none': choose one of docker, fake, podman, process, mine",
        ),
        (
            "--store",
            "none://x",
            "it must begin with one of memory://, sqlite://, etcd://, zookeeper://, mystore://",
        ),
    ],
)
def test_what_is_installed_is_among_what_may_be_chosen(
    option: str, value: str, said: str, installed: Path, tmp_path: Path
) -> None:
    words = ("up", "--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0", option, value)
    done = subprocess.run(
        [sys.executable, "-m", "reference_cluster", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
