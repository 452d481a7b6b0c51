"""Identities that are made up."""

import uuid
from random import Random

from kubelib.clock import new_uid


def test_a_uid_is_a_random_uuid_in_its_usual_form() -> None:
    for seed in range(1000):
        assert new_uid(Random(seed)) == str(uuid.UUID(int=Random(seed).getrandbits(128), version=4))
