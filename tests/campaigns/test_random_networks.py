from __future__ import annotations

from .random_networks import campaign


def test_random_networks_say_what_is_right_or_are_refused() -> None:
    ways = []
    for drawn, found in campaign((9, 10, 11), 11):
        assert found.finds == [], drawn
        ways += [how.partition(":")[0] for how in found.how]
    assert {"in one pass", "task by task", "refused"} <= {*ways}
