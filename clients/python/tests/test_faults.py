"""The conformance cases catch a client with a planted fault."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from conformance import Mismatch, Player, load
from faults import FAULTS

GROUPS = {"resume_from_wrong_seq": "resume", "gap_swallowed": "gap", "stale_book": "book"}
DEADLINE_S = 2.0


async def _fails(case: dict[str, Any]) -> bool:
    try:
        await Player(case, "json", DEADLINE_S).play()
    except (Mismatch, asyncio.TimeoutError):
        return True
    return False


@pytest.mark.skipif("TICKWIRE_PLANTED" in os.environ, reason="a fault is planted from outside")
@pytest.mark.parametrize(("name", "plant"), FAULTS.items())
async def test_a_planted_fault_is_caught(
    name: str, plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    cases = [case for case in load() if case["name"].startswith(f"{GROUPS[name]}.")]
    caught = [case["name"] for case in cases if await _fails(case)]
    assert caught, f"no case of {GROUPS[name]} catches {name}"
