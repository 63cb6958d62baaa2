# SPDX-License-Identifier: Apache-2.0
"""What leaves the CUDA engine on the device, and what a strategy sees and says there: bits of NumPy, copies counted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from compare import assert_bits
from emulator.build import why_not
from emulator.fake_cupy import installed
from emulator.fake_numbers import Numbers, Reckoning
from sweep_cases import universe

import gpu_bt as bt
from gpu_bt.data.synthetic import random_weights
from gpu_bt.engine.resident import Resident

pytestmark = [
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.filterwarnings("ignore::gpu_bt.errors.BacktestWarning"),
]
#: Bars and assets, so that no row of either is as small as what is counted beside them.
SHAPE = (30, 90)


@pytest.fixture
def fake() -> Iterator[Reckoning]:
    with installed(Reckoning("random")) as fake:
        yield fake


def host(array: object) -> np.ndarray:
    """What a library finds that takes an array by its interface."""
    assert isinstance(array, Resident)
    told = array.__cuda_array_interface__
    assert told["strides"] is None and told["data"][0] == array.pointer
    assert array.__dlpack_device__() == (2, 0)
    return np.asarray(array)


# --- results ---


def test_the_record_of_a_run_stays_on_the_device(fake: Reckoning):
    panel = universe(*SHAPE)
    weights, config = random_weights(panel, 0.5, seed=1), bt.Config(lot=10, cash_rate=0.01)
    wanted = bt.run(panel, weights, config, engine="numpy")
    found = bt.run(panel, weights, config, engine="cuda")
    fake.fetched.clear()
    positions = found.array("positions")
    assert positions.shape == SHAPE and max(fake.fetched) < positions.nbytes / 8
    assert found.array("positions").pointer == positions.pointer  # made once
    assert_bits("positions", host(positions), wanted.positions)
    assert_bits("positions", found.positions, wanted.positions)
    fake.fetched.clear()
    for name in ("equity", "cash", "commission"):
        assert_bits(name, host(found.array(name)), wanted.equity[name].to_numpy())
    held = host(found.array("holdings"))
    assert dict(zip(panel.assets, held.tolist(), strict=True)) == dict(wanted.final_positions.rows()) | {
        name: 0.0 for name, x in zip(panel.assets, held, strict=True) if x == 0
    }
    del found
    assert_bits("positions", host(positions), wanted.positions)  # its memory is its own


def test_positions_that_are_on_the_host_already_are_sent(fake: Reckoning):
    panel = universe(*SHAPE)
    found = bt.run(panel, random_weights(panel, 0.5, seed=1), engine="cuda", record="positions")
    assert_bits("positions", host(found.array("positions")), found.positions)


@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_on_the_processor_they_are_numpy_arrays(engine: str):
    panel = universe(*SHAPE)
    found = bt.run(panel, random_weights(panel, 0.5, seed=1), engine=engine)
    for name, wanted in (("positions", found.positions), ("equity", found.raw.money[0, 0])):
        array = np.from_dlpack(found.array(name))
        assert_bits(name, array, wanted)
        assert not np.shares_memory(array, wanted)
    assert found.array("holdings").shape == (90,)
    with pytest.raises(bt.ConfigError, match="name is 'prices': it must be one of 'positions', 'holdings', 'equity'"):
        found.array("prices")


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("metrics", ["all", "equity"])
def test_equity_rows_of_a_sweep_stay_on_the_device(fake: Reckoning, metrics: str, parts: int, monkeypatch):
    panel = universe(*SHAPE)
    grid = {"commission_rate": [0.0, 1e-3], "band": [0.0, 0.01, 0.02]}
    options = {"weights": random_weights(panel, 0.5, seed=1), "grid": grid, "metrics": metrics, "chunk_size": 4}
    wanted = bt.sweep(panel, **options, equity=True, engine="numpy")
    if parts > 1:
        import gpu_bt.cuda.engine as engines

        split = engines._Part
        plan = engines.CudaSession._plan

        def planned(self, members, room):
            plan(self, members, room)
            self.parts = [split(self, m) for m in np.array_split(members, min(parts, len(members)))]

        monkeypatch.setattr(engines.CudaSession, "_plan", planned)
    found = bt.sweep(panel, **options, equity="device", engine="cuda")
    assert found.table.drop("advice").equals(wanted.table.drop("advice"))
    rows = found.array("equity")
    assert rows.shape == (6, SHAPE[0]) and found.array("equity").pointer == rows.pointer
    assert_bits("equity", host(rows), wanted.equity)
    assert_bits("equity", found.equity, wanted.equity)
    assert_bits("returns", found.returns(), wanted.returns())


def test_a_sweep_without_a_device_has_its_rows_as_numpy_arrays(tmp_path):
    panel = universe()
    grid = {"band": [0.0, 0.01]}
    found = bt.sweep(panel, random_weights(panel, 0.5, seed=1), grid=grid, equity="device", engine="cpu", out=tmp_path)
    assert_bits("equity", np.from_dlpack(found.array("equity")), found.equity)
    with pytest.raises(bt.ConfigError, match="name is 'cash': it must be one of 'equity'"):
        found.array("cash")
    with pytest.raises(bt.ResultError, match="the equity rows were not kept"):
        bt.sweep(panel, random_weights(panel, 0.5, seed=1), grid=grid, engine="cpu").array("equity")


def test_equity_rows_on_the_device_are_kept_in_a_folder(fake: Reckoning, tmp_path):
    panel = universe(*SHAPE)
    options = {"weights": random_weights(panel, 0.5, seed=1), "grid": {"band": [0.0, 0.01, 0.02]}, "chunk_size": 2}
    found = bt.sweep(panel, **options, equity="device", engine="cuda", out=tmp_path)
    again = bt.sweep(panel, **options, equity="device", engine="cuda", out=tmp_path)
    assert again.run == 0
    assert_bits("equity", host(again.array("equity")), found.equity)


def test_the_stand_in_refuses_the_host(fake: Reckoning):
    array = fake.asarray(np.arange(6.0))
    assert isinstance(array, Numbers)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(array)
    with pytest.raises(TypeError, match="Unsupported type"):
        array + np.ones(6)
    fake.fetched.clear()
    assert bool(array[2:4].max() == 3.0) and fake.fetched == [1]
    assert np.flatnonzero(array > 3).tolist() == [4, 5]
