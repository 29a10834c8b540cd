"""The shared event log: a real Apache Iggy server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from evalkit.log.port import EventLog
from evalkit.opening import open_log
from tests.iggy_server import Iggy
from tests.log_contract import LogContract


class IggyContract(LogContract):
    @pytest.fixture
    def log(self, iggy: Iggy) -> Iterator[EventLog]:
        self.address = iggy.url(iggy.stream(partitions=self.partitions), partitions=self.partitions)
        log = open_log(self.address)
        yield log
        log.close()

    def another(self, log: Any) -> EventLog:
        return open_log(self.address)


class TestOnePartition(IggyContract):
    partitions = 1


class TestFourPartitions(IggyContract):
    partitions = 4
