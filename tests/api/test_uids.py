"""Identities that are made up."""

import uuid
from itertools import islice
from random import Random

from kubelib.clock import new_uid, new_uids


def test_a_uid_is_a_random_uuid_in_its_usual_form() -> None:
    for seed in range(1000):
        assert new_uid(Random(seed)) == str(uuid.UUID(int=Random(seed).getrandbits(128), version=4))


def test_those_that_are_drawn_many_at_a_time_are_so_too_and_differ() -> None:
    found = list(islice(new_uids(Random(7)), 100))
    assert len(set(found)) == 100
    for uid in found:
        assert str(uuid.UUID(uid)) == uid
        assert (uuid.UUID(uid).version, uuid.UUID(uid).variant) == (4, uuid.RFC_4122)
