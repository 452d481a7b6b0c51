import re
from pathlib import Path

import pytest

from reference_cluster.scheduler import policy_named

PAGE = Path(__file__).parents[2] / "docs" / "scheduling.md"


def test_the_policy_of_the_page_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    (text,) = re.findall(r"```yaml\n(apiVersion: kubescheduler.*?)```", PAGE.read_text(), re.DOTALL)
    file.write_text(text)
    weights = {score.name: weight for score, weight in policy_named(str(file)).scores}
    assert weights["ImageLocality"] == 3
    assert weights["MostAllocated"] == 1
    assert not {"SelectorSpread", "LeastAllocated"} & set(weights)


def test_files_that_will_not_do_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    with pytest.raises(ValueError, match=r"cannot read .*policy\.yaml"):
        policy_named(str(file))
    file.write_text("kind: Pod")
    with pytest.raises(ValueError, match=r"policy\.yaml: the configuration is no KubeSchedulerConfiguration"):
        policy_named(str(file))
    with pytest.raises(ValueError, match="no policy 'nope'; there are: "):
        policy_named("nope")
