"""The report of a conformance run (`TICKWIRE_CONFORMANCE_REPORT`), and the fault of `TICKWIRE_PLANTED`."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from conformance import ABILITIES, load
from faults import FAULTS


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that the environment names."""
    name = os.environ.get("TICKWIRE_PLANTED")
    if name:
        FAULTS[name](monkeypatch)


class Report:
    """Counts the plays of a run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._plays = 0
        self._failed: list[dict[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" or "test_conformance.py::test_case[" not in report.nodeid:
            return
        self._plays += 1
        if report.failed:
            name, _, codec = report.nodeid.partition("[")[2].removesuffix("]").rpartition("-")
            crash = getattr(report.longrepr, "reprcrash", None)
            why = str(getattr(crash, "message", report.longrepr))
            self._failed.append({"name": name, "codec": codec, "why": why})

    def pytest_sessionfinish(self) -> None:
        cases = load()
        lacking: Counter[str] = Counter()
        for case in cases:
            lacking.update(set(case.get("needs", ())) - ABILITIES)
        found: dict[str, Any] = {"client": "python", "cases": len(cases), "plays": self._plays}
        self._path.write_text(json.dumps({**found, "lacking": lacking, "failed": self._failed}), "utf-8")


def pytest_configure(config: pytest.Config) -> None:
    path = os.environ.get("TICKWIRE_CONFORMANCE_REPORT")
    if path:
        config.pluginmanager.register(Report(Path(path)))
