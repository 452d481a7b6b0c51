"""Real kubectl on a test's cluster, for those who have one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs


class KubectlFailed(AssertionError):
    """kubectl ended with an error: the message has its arguments and what it wrote."""


def find_kubectl() -> Path:
    """Return the path of kubectl: ``$KUBELIB_TEST_KUBECTL``, one beside this Python, or one on ``$PATH``.

    Raises FileNotFoundError.
    """
    beside = Path(sys.prefix) / "kubernetes-bin" / "kubectl"
    found = os.environ.get("KUBELIB_TEST_KUBECTL") or (
        str(beside) if beside.exists() else shutil.which("kubectl")
    )
    if not found:
        raise FileNotFoundError("there is no kubectl: put one on the PATH or name it in KUBELIB_TEST_KUBECTL")
    return Path(found)


@attrs.frozen
class Kubectl:
    """``kubectl("get", "pods")`` returns what it prints."""

    kubeconfig: Path
    home: Path
    """Where it keeps what it remembers of clusters."""

    @property
    def path(self) -> Path:
        """Where the program is. Raises FileNotFoundError."""
        return find_kubectl()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which kubectl, Helm and other programs find this cluster."""
        home = str(self.home)
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": home, "HOME": home}

    def run(
        self, *arguments: str, stdin: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, whatever that is."""
        return subprocess.run(
            [self.path, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            check=False,
        )

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run it and return what it prints. Raises `KubectlFailed`."""
        done = self.run(*arguments, stdin=stdin, timeout=timeout)
        if done.returncode != 0:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout
