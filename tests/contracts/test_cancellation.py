from __future__ import annotations

import pytest

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import RequestCancelled


@pytest.mark.parametrize("unwanted", ["outer", "inner"])
def test_work_in_two_scopes_is_to_be_wanted_by_both(unwanted: str) -> None:
    with (
        cancellation.scope(lambda: unwanted != "outer"),
        cancellation.scope(lambda: unwanted != "inner"),
        pytest.raises(RequestCancelled),
    ):
        cancellation.check()
    cancellation.check()


def test_a_scope_ends_with_its_block() -> None:
    with cancellation.scope(lambda: True):
        with pytest.raises(RequestCancelled), cancellation.scope(lambda: False):
            cancellation.check()
        cancellation.check()
