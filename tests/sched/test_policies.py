import pytest

from kubelib.sched.base import Policy
from kubelib.sched.policies import FILTERS, POLICIES, Best, load_policy, per_node
from kubelib.testing.policy import PolicySuite


class TestOurPolicies(PolicySuite):
    @pytest.fixture(params=sorted(POLICIES))
    def policy(self, request: pytest.FixtureRequest) -> Policy:
        return load_policy(request.param)


class TestPerNodePolicy(PolicySuite):
    @pytest.fixture
    def policy(self) -> Policy:
        odd = per_node(lambda pod, node: int(node.name[-1]) % 2, name="Odd")
        few = per_node(lambda pod, node: 100 - 10 * len(node.pods), name="Few")
        return Policy(filters=(*FILTERS, odd), scores=((few, 1.0),), choose=Best())
