"""The time limit that stands in for asyncio's with Python 3.10 behaves like asyncio's."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from types import ModuleType

import pytest

from edgeharfer.runtime import timeouts


@pytest.fixture(params=[(3, 10, 12), sys.version_info[:3]], ids=["3.10", "this"])
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as a version of Python imports it."""
    spec = importlib.util.find_spec(timeouts.__name__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "version_info", request.param)
    spec.loader.exec_module(module)
    monkeypatch.undo()
    return module


def test_a_block_that_takes_longer_is_ended(limits: ModuleType) -> None:
    async def wait() -> None:
        async with limits.timeout(0.01):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(wait())


def test_a_block_that_ends_in_time_is_left_alone(limits: ModuleType) -> None:
    async def wait() -> str:
        async with limits.timeout(60) as limit:
            await asyncio.sleep(0)
        async with limits.timeout(None):
            await asyncio.sleep(0)
        return f"{limit.expired()}"

    assert asyncio.run(wait()) == "False"


def test_a_deadline_can_be_moved(limits: ModuleType) -> None:
    async def wait() -> None:
        limit = limits.timeout(None)
        asyncio.get_running_loop().call_soon(lambda: limit.reschedule(asyncio.get_running_loop().time()))
        try:
            async with limit:
                await asyncio.Event().wait()
        finally:
            assert limit.expired()

    with pytest.raises(TimeoutError):
        asyncio.run(wait())


def test_a_cancelled_task_is_not_timed_out(limits: ModuleType) -> None:
    async def wait() -> None:
        async with limits.timeout(60):
            await asyncio.Event().wait()

    async def cancel() -> bool:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(cancel())


def test_other_errors_pass(limits: ModuleType) -> None:
    async def fail() -> None:
        async with limits.timeout(60):
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        asyncio.run(fail())
