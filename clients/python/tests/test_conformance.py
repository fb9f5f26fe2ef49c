"""Each case of the conformance file, in each codec that it is for."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from conformance import ABILITIES, Player, load
from tickwire.codec import CodecName

CASES = load()
PLAYED = [
    pytest.param(case, codec, id=f"{case['name']}-{codec}")
    for case in CASES
    for codec in case.get("codecs", get_args(CodecName))
    if ABILITIES.issuperset(case.get("needs", ()))
]


@pytest.mark.parametrize(("case", "codec"), PLAYED)
async def test_case(case: dict[str, Any], codec: CodecName) -> None:
    await Player(case, codec).play()


def test_there_are_as_many_cases_as_promised() -> None:
    names = [case["name"] for case in CASES]
    assert len(set(names)) == len(names) >= 150
