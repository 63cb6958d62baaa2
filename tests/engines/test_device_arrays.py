# SPDX-License-Identifier: Apache-2.0
"""Panels and weights that lie on the emulated device: the same bits, messages and warnings as from the host, and
nothing of their size on the way."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import pickle
import re
import warnings

import numpy as np
import pytest
from build import simulate_spec, spec_of
from compare import assert_same_raw
from cuda_cases import NUMPY, fitting
from draw import scenario, to_public
from emulator.build import why_not
from emulator.fake_arrays import Plain, on_device
from emulator.fake_cupy import FakeCupy, installed
from extent import exhaustive, seeds

import gpu_bt as bt
from gpu_bt.cuda.engine import CudaEngine
from gpu_bt.cuda.prepared import prepared
from gpu_bt.data.arrays import as_array
from gpu_bt.data.fields import FIELDS, MASKS, PRICES, RATES
from gpu_bt.data.weights import check_weights
from gpu_bt.engine.prepare import events, marks, prices
from gpu_bt.engine.resident import Resident
from gpu_bt.sweeps.chunks import Inputs, Spilled

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
KINDS, ORDERS = ("cupy", "torch", "plain"), ("C", "F", "strided")
PANELS = (*PRICES, *RATES, *MASKS)


@pytest.fixture
def fake():
    with installed(FakeCupy("random")) as fake:
        yield fake


def moved(fake, given: dict, rng=None, names=PANELS) -> dict:
    """The arguments of a Panel with the panels on the device, of libraries and in orders that are drawn."""
    rng = np.random.default_rng(0) if rng is None else rng
    return given | {
        name: on_device(fake, given[name], str(rng.choice(KINDS)), str(rng.choice(ORDERS)))
        for name in names
        if given.get(name) is not None
    }


def told(make):
    """What a function gives or raises, and all that it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = make()
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
    return found, [str(w.message) for w in caught]


def clean(t: int = 640, n: int = 5, dtype=np.float64) -> dict:
    """Arguments of a Panel without fault."""
    rng = np.random.default_rng(3)
    close = (20 * np.exp(np.cumsum(rng.normal(0, 0.01, (t, n)), axis=0))).astype(dtype)
    open_ = (close * np.exp(rng.normal(0, 0.002, (t, n)))).astype(dtype)
    return {"close": close, "open": open_, "timestamps": np.datetime64("2001-01-01") + np.arange(t),
            "assets": [f"A{i}" for i in range(n)]}  # fmt: skip


def books(t: int, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((t, 1)) < 0.3, rng.random((t, n)) / n, np.nan)


# --- taken ---


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "i4", "u1", "f2", "?"])
def test_taken_from_every_library(fake, kind, order, dtype):
    """What writes the array waits on its library's stream, as lazy as it may be; copies stay on the device."""
    values = np.random.default_rng(1).integers(0, 2, (7, 5)).astype(dtype)
    given = on_device(fake, values, kind, order)
    found = as_array("close", given, bt.PanelError)
    assert isinstance(found, Resident) and found.dtype == values.dtype and fake.sent == fake.fetched == []
    if order == "C":
        assert found.pointer == getattr(given, "array", given).data.ptr
    np.testing.assert_array_equal(np.asarray(found), values)
    assert fake.fetched == [values.nbytes]


def test_memory_lives_as_long_as_the_panel(fake):
    given = clean()
    panel = bt.Panel(**moved(fake, given))
    gc.collect()
    np.testing.assert_array_equal(panel.close, given["close"])
    before = fake.used
    del panel
    gc.collect()
    assert fake.used < before - given["close"].nbytes


@pytest.mark.parametrize("key", [3, -1, slice(2, 5), slice(None, None, 3), [1, 0], np.array([True] * 3 + [False] * 4),
                                 (slice(None), 2), (slice(1, 4), [0, 3]), (2, 3), ([1, 2], [0, 4]), (slice(0, 0), 1),
                                 slice(3, 3), ...])  # fmt: skip
def test_indexing_fetches_what_it_names(fake, key):
    for dtype in (np.float64, np.float32, bool):
        values = np.random.default_rng(1).integers(0, 2, (7, 5)).astype(dtype)
        array, wanted = as_array("x", on_device(fake, values), bt.PanelError), values[key]
        fake.fetched.clear()
        found = array[key]
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype and sum(fake.fetched) == wanted.nbytes
        np.testing.assert_array_equal(np.asarray(array.at(key)), wanted)


def test_given_on_without_a_copy(fake):
    values = np.arange(12.0).reshape(3, 4)
    array = as_array("x", on_device(fake, values), bt.PanelError)
    for other in (fake.from_dlpack(array), fake.asarray(array)):
        assert other.data.ptr == array.pointer and other.strides == values.strides
    assert array.__dlpack_device__() == (2, 0) and fake.fetched == []
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array, 5)), values)


def test_another_device(fake):
    """One line that names both; a panel that is used under another device later is fetched, and runs."""
    given = clean()
    there = on_device(fake, given["close"])
    there.device.id = 1
    with pytest.raises(bt.PanelError) as error:
        bt.Panel(**given | {"close": there})
    assert str(error.value) == (
        "close lies on GPU 1 and this thread's is GPU 0: use it under cupy.cuda.Device(1), or copy it to the other"
        " first"
    )


def test_a_panel_of_another_device_runs():
    """What is fetched of it or looked at is fetched and looked at there."""
    given = clean(40) | {"universe": np.arange(5) + np.arange(40)[:, None] != 9}
    with installed(FakeCupy("random", devices=2)) as fake:
        with fake.cuda.Device(1):
            panel = bt.Panel(**moved(fake, given))
        assert panel.close.device == panel.universe.device == 1
        weights, config = books(*panel.shape), bt.Config(lot=0.0, outside="close")
        found = bt.run(panel, weights, config, engine="cuda")
        host = bt.Panel(**given)
        wanted = bt.run(host, weights, config, engine="numpy")
        np.testing.assert_array_equal(found.equity, wanted.equity)
        some, names = slice("2001-01-05", "2001-01-20"), ["A3", "A1"]
        assert panel[some, names].close.device == 1
        found, wanted = (bt.run(x[some, names], {"A3": 0.4}, engine="cuda") for x in (panel, host))
        np.testing.assert_array_equal(found.equity, wanted.equity)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_another_device_are_refused(kind):
    with installed(FakeCupy("random", devices=2)) as fake:
        with fake.cuda.Device(1):
            weights = on_device(fake, books(640, 5), kind)
        with pytest.raises(bt.WeightsError, match=r"^weights lies on GPU 1 and this thread's is GPU 0: use it under"):
            bt.run(bt.Panel(**clean()), weights, engine="cuda")


def test_without_an_engine_it_is_fetched():
    """As before: CuPy's by get(), PyTorch's by cpu()."""
    given = clean(12)
    with installed(FakeCupy()) as fake:
        there = {kind: on_device(fake, given["close"], kind) for kind in KINDS}
        fake.cuda.runtime.getDeviceCount = lambda: 0
        for kind in ("cupy", "torch"):
            panel = bt.Panel(**given | {"close": there[kind]})
            assert type(panel.close) is np.ndarray
            np.testing.assert_array_equal(panel.close, given["close"])
        with pytest.raises(
            bt.PanelError, match=r"it lies on a GPU: pip install 'gpu-bt\[gpu\]', or copy it to the host"
        ):
            bt.Panel(**given | {"close": there["plain"]})
        there["plain"].__class__ = type("Jax", (Plain,), {"__array__": lambda self, *_, **__: given["close"]})
        assert type(bt.Panel(**given | {"close": there["plain"]}).close) is np.ndarray


def test_any_allocation_may_fail():
    """Where a panel is made and weights are checked one line says what to do; a run makes room and goes on."""
    given = clean(12, 4) | {"prices": "raw", "dividend": np.full((12, 4), 0.01)}
    given["close"][5, 2] = given["dividend"][3, 1] = np.nan
    weights = books(12, 4)
    wanted = bt.run(bt.Panel(**given), weights, bt.Config(lot=2.0), engine="numpy").equity.to_numpy()
    failed = 0
    for nth in range(1, 400):
        with installed(FakeCupy()) as fake:
            panels = moved(fake, given, names=("close", "open", "dividend")), on_device(fake, weights, order="F")
            began, fake.allocations, fake.fail_at = fake.allocations, 0, nth
            try:
                panel = bt.Panel(**panels[0])
                found = bt.run(panel, panels[1], bt.Config(lot=2.0), engine="cuda").equity.to_numpy()
            except MemoryError as error:
                text = str(error)
                assert re.fullmatch(r"the GPU has no room for [\d,]+ bytes: [^\n]+", text), text
                failed += 1
            else:
                np.testing.assert_array_equal(found, wanted)
            if fake.allocations < nth:
                break
    assert failed > 10 and began


# --- checked ---


def bad_cells(rng, given: dict) -> dict:
    """The arguments with some cells that may be wrong."""
    out = dict(given)
    for name in rng.choice([n for n in PANELS if given.get(n) is not None], 2):
        array = np.array(out[name])
        if array.dtype.kind == "f":
            values = [np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1e-11, 1e13, -1e-300, 1e-40, 5e-324, 2.0]
            at = rng.random(array.shape) < rng.choice([0.002, 0.02])
            array[at] = rng.choice(rng.choice(values, 2), int(at.sum()))
        elif array.dtype.kind == "b":
            array = array.astype(rng.choice(["i8", "f4", "u1"]))
            array.flat[rng.integers(array.size)] = rng.choice([0, 1, 2])
        out[name] = array.astype("c16") if rng.random() < 0.05 else array
    if rng.random() < 0.25:  # a bar without close and open has no other price
        out["close"] = np.where(rng.random(out["close"].shape) < 0.05, np.nan, out["close"])
    return out


def test_messages_warnings_and_fields_are_those_of_the_host(fake):
    """Of drawn panels with drawn bad cells, of all libraries and orders."""
    seen = set()
    for seed in range(80):
        rng = np.random.default_rng(seed)
        panel, _, config = scenario(seed)
        given = to_public(panel, config) | {"bad_prices": str(rng.choice(["error", "nan"]))}
        given = bad_cells(rng, given) if seed % 3 else given
        wanted, wanted_told = told(lambda given=given: bt.Panel(**given))
        found, found_told = told(lambda given=given, rng=rng: bt.Panel(**moved(fake, given, rng)))
        assert found_told == wanted_told
        if isinstance(wanted, str):
            assert found == wanted
            seen.add(wanted.split(": ")[-1][:40])
            continue
        assert found.notes == wanted.notes and found.fields == wanted.fields
        seen |= {"notes"} if wanted.notes else set()
        for name in FIELDS:
            a, b = getattr(found, name), getattr(wanted, name)
            assert (a is None) == (b is None)
            if b is not None:
                np.testing.assert_array_equal(a, b)
                assert a.dtype == b.dtype
        for after in (0, 2):
            for a, b in zip(*(dataclasses.astuple(events(p.market, after)) for p in (found, wanted)), strict=True):
                np.testing.assert_equal(a, b)
    assert len(seen) > 6 and "notes" in seen, seen


@pytest.mark.parametrize("spoil", ["high", "cents", "scales", "dividend", "split", "volatility", "half_spread"])
def test_warnings_of_large_panels(fake, spoil):
    """Legal and probably not meant: the same sentences with the same numbers, from the columns at fault alone."""
    given = clean() | {"prices": "raw"}
    close, shape = given["close"].copy(), given["close"].shape
    if spoil == "high":
        given["high"] = np.maximum(close, given["open"])
        given["high"][7:9, 3] /= 1.1
    elif spoil == "cents":
        close[300, 2] *= 100
    elif spoil == "scales":
        given["open"] = given["open"] * np.array([1, 1, 1.5, 1, 1])
    elif spoil == "dividend":
        given["dividend"] = np.zeros(shape)
        given["dividend"][50, 1] = 1000.0
    elif spoil == "split":
        given["split"] = np.ones(shape)
        given["split"][[40, 41, 90], [0, 1, 1]] = 3.0
    else:
        given[spoil] = np.full(shape, 5.0)
    given["close"] = close
    wanted = told(lambda: bt.Panel(**given))[1]
    found = told(lambda: bt.Panel(**moved(fake, given)))[1]
    assert found == wanted and wanted
    most = 321 if spoil in ("volatility", "half_spread") else 2 * 640 // 5  # rows of samples, or two columns of five
    assert max(fake.fetched) <= most * 8 * 5


#: (what is off, by which factor, whether there are high and low).
OFF = [
    *itertools.product(("close", "open"), (0.6, 1.7), (False,)),
    *itertools.product(PRICES[:4], (0.9, 1 - 1e-6, 1 + 3e-6, 1 + 4e-7), (True,)),
    *itertools.product(("hole", "unit"), (1 / 90, 90.0), (False,)),
    *itertools.product(("drift", "dividend"), (0.96, 1.04), (False,)),
]


def test_contradictions(fake):
    """A cell, or all from one on, a little or a lot off: the sentences of the host, each kind of them."""
    seen = set()
    for seed, (name, factor, bounded) in enumerate(OFF):
        t, i, dtype = 30 + seed % 5, seed % 4, (np.float64, np.float32)[seed % 2]
        given = clean(70, 4, dtype) | {"prices": "raw", "dividend": np.zeros((70, 4))}
        if bounded:
            given |= {
                "high": np.maximum(given["close"], given["open"]),
                "low": np.minimum(given["close"], given["open"]),
            }
        if name == "dividend":
            given["dividend"][t, i] = given["close"][t - 1, i] * factor
        elif name in given:
            given[name][t, i] *= factor
        elif name == "drift":
            given["open"][:, i] *= factor
        for field in ("close", "open") if name in ("hole", "unit") else ():
            given[field][t : t + 1 if name == "hole" else None, i] *= factor
            if name == "hole":  # a bar without a price on both sides
                given[field][[t - 1, t + 1], i] = np.nan
        wanted = told(lambda given=given: bt.Panel(**given))[1]
        assert told(lambda given=given: bt.Panel(**moved(fake, given)))[1] == wanted
        seen |= {text.split(" in ")[0] for text in wanted}
    assert len(seen) == 8, seen


def test_marks_and_prices(fake):
    """Of panels with many holes and splits, in lots and in single shares; in a window of bars, too."""
    for seed in range(25):
        panel, _, config = scenario(seed, 6)
        given, rng = to_public(panel, config), np.random.default_rng(seed)
        shape = panel.close.shape
        given["split"] = np.where(rng.random(shape) < 0.1, 2.0, 1.0).astype(rng.choice([np.float32, np.float64]))
        for name in ("close", "open"):
            given[name] = None if given[name] is None else np.where(rng.random(shape) < 0.4, np.nan, given[name])
        given |= {name: None for name in ("high", "low", "vwap")}
        host = told(lambda given=given: bt.Panel(**given))[0].market
        there = told(lambda given=given: bt.Panel(**moved(fake, given)))[0].market
        for lot, (a, b) in ((0.0, (0, shape[0])), (3.0, (shape[0] // 2, shape[0]))):
            exec_, close, mark = prepared(there, "close", lot, "close", lambda _, make, a=a, b=b: make(a, b))
            for found, wanted in ((close, prices(host, "close", lot).values), (mark, marks(host, lot))):
                found = np.asarray(found)[a:b] if isinstance(found, Resident) else found.read()
                np.testing.assert_array_equal(found, wanted[a:b])
            np.testing.assert_array_equal(exec_.gaps, prices(host, "close", lot).gaps)


def test_other_numbers_become_prices(fake):
    for dtype in ("f2", "i8", "u1"):
        given = clean(12, 4)
        given = given | {name: np.rint(given[name]).astype(dtype) for name in ("close", "open")}
        wanted, found = bt.Panel(**given), bt.Panel(**moved(fake, given))
        np.testing.assert_array_equal(found.close, wanted.close)
        assert found.close.dtype == wanted.close.dtype


def test_weights_are_checked_as_on_the_host(fake):
    given = clean(30)
    panel = bt.Panel(**given)
    seen = set()
    for seed in range(90):
        rng = np.random.default_rng(seed)
        weights = books(*panel.shape, seed).astype(rng.choice(["f8", "f4"]))
        at = rng.random(panel.shape) < rng.choice([0.0, 0.01, 0.1])
        weights[at] = rng.choice([-1e-9, -1e-10, -1e-40, -0.0, np.nan, 0.5, 1000.0], int(at.sum()))
        if rng.random() < 0.3:
            weights.flat[rng.integers(weights.size)] = rng.choice([-2e-9, -0.1, 1001.0, np.inf, -np.inf])
        if rng.random() < 0.1:
            weights = np.nan_to_num(weights, posinf=3, neginf=2).astype(rng.choice(["i8", "?", "c16"]))
        weights = weights[:, :-1] if rng.random() < 0.05 else weights
        account, notes = str(rng.choice(["cash", "margin"])), ({}, {})
        wanted = told(lambda w=weights, a=account, n=notes: check_weights(panel, w, a, n[0]))[0]
        there = on_device(fake, weights, str(rng.choice(["cupy", "plain"])), str(rng.choice(ORDERS)))
        found = told(lambda w=there, a=account, n=notes: check_weights(panel, w, a, n[1]))[0]
        if isinstance(wanted, str):
            assert found.replace("a Array of", "a ndarray of").replace("a Plain of", "a ndarray of") == wanted
            seen.add(wanted[-30:])
            continue
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype and notes[0] == notes[1]
        seen |= set(notes[0])
    assert len(seen) == 5, seen


# --- run ---


def test_drawn_scenarios_have_the_bits_of_numpy(fake):
    """Messy panels: gaps, splits, dividends, masks, delistings, lots, float32; with weights there or here."""
    fields = set()
    for seed in seeds(range(100, 160)):
        panel, weights, config = scenario(seed)
        given, rng = to_public(panel, config), np.random.default_rng(seed)
        host = told(lambda given=given: bt.Panel(**given))[0]
        there = told(lambda given=given, rng=rng: bt.Panel(**moved(fake, given, rng)))[0]
        configs = [config, config.replace(lot=0.0), config.replace(lot=3.0), config.replace(delist_after=3)]
        configs = [c for c in configs if fitting(host, c)]
        fields |= set(host.fields)
        spec = spec_of(host, [weights], configs, fills=seed % 2 == 0, positions=seed % 3 == 0)
        own = check_weights(there, on_device(fake, weights, "torch", "F"), "margin") if seed % 4 else spec.weights[0]
        placed = dataclasses.replace(spec, market=there.market, weights=(own,))
        wanted = simulate_spec(NUMPY, spec)
        assert_same_raw(simulate_spec(CudaEngine(32, together=2), placed, (5, 11)), wanted)
        assert_same_raw(simulate_spec(NUMPY, placed), wanted)
    assert fields == set(PANELS)


@pytest.mark.parametrize("percent", [80, 60, 45])
def test_short_of_memory(percent):
    """What is derived is made in windows; the user's panel stays where it is."""
    for seed in (16, 22, 31):
        panel, weights, config = scenario(seed, 40)
        given = to_public(panel, config)
        host = told(lambda given=given: bt.Panel(**given))[0]
        wanted = simulate_spec(NUMPY, spec := spec_of(host, [weights], [config.replace(lot=3.0)] * 3, positions=True))
        peak = 0
        for limit in (None, percent):
            with installed(FakeCupy("random")) as fake:
                there = told(lambda given=given, fake=fake: bt.Panel(**moved(fake, given)))[0]
                own = fake.used
                fake.peak = own
                fake.total = fake.total if limit is None else own + (peak - own) * limit // 100
                placed = dataclasses.replace(spec, market=there.market)
                session = CudaEngine(32).open(placed)
                session.advance(0, host.shape[0])
                assert_same_raw(session.result(), wanted)
                assert limit is None or session.window < host.shape[0] or len(session.parts) > 1
                peak = fake.peak
                del session, there, placed
                gc.collect()


def test_nothing_of_the_panels_size_goes_either_way(fake):
    """Panel, weights, a sweep of three scenarios and a run, each twice: no copy is as large as a mask is."""
    t, n = 200, 90
    given = clean(t, n) | {"prices": "raw", "can_buy": np.random.default_rng(1).random((t, n)) < 0.99}
    given |= {"volume": np.where(given["can_buy"], 1e7, np.nan), "split": np.ones((t, n)), "dividend": np.zeros((t, n))}
    given |= {"universe": np.ones((t, n), bool)}
    given["universe"][50:, 7] = False
    given["dividend"][100, 2] = 0.1
    given["close"][150:154, 1] = given["open"][150:154, 1] = np.nan
    weights, host, grid = books(t, n), bt.Panel(**given), {"commission_rate": [0.0, 0.001, 0.002]}
    wanted = bt.sweep(host, weights, bt.Config(lot=0.0), grid, engine="numpy", metrics="equity").table
    other = bt.run(host, weights, bt.Config(lot=2.0), engine="numpy")
    held = {"holdings": {"A1": 10.0, "A2": 4.0}, "start": "2001-01-05"}
    begun = bt.run(host, weights, engine="numpy", **held)
    fake.sent.clear()
    panel, own = bt.Panel(**moved(fake, given)), on_device(fake, weights, "torch", "F")
    for _ in range(2):
        found = bt.sweep(panel, own, bt.Config(lot=0.0), grid, engine="cuda", metrics="equity").table
        assert found.equals(wanted)
        result = bt.run(panel, own, bt.Config(lot=2.0), engine="cuda")
        np.testing.assert_array_equal(bt.run(panel, own, engine="cuda", **held).equity, begun.equity)
        assert max(fake.sent + fake.fetched) < t * n  # the record of a run is 11 columns of T numbers
        np.testing.assert_array_equal(result.equity, other.equity)
        assert result.advice == other.advice and result.notes == other.notes
        fake.sent.clear()
        fake.fetched.clear()


@exhaustive
@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_under_sanitizers(sanitizer):
    if (reason := why_not(sanitizer)) is not None:
        pytest.skip(reason)
    for seed in (1, 5, 8):
        panel, _, config = scenario(seed)
        given, rng = to_public(panel, config), np.random.default_rng(seed)
        host = told(lambda given=given: bt.Panel(**given))[0].market
        with installed(FakeCupy("random", sanitizer=sanitizer)) as fake:
            there = told(lambda given=given, fake=fake, rng=rng: bt.Panel(**moved(fake, given, rng)))[0].market
            for a, b in zip(*(dataclasses.astuple(events(market, 2)) for market in (there, host)), strict=True):
                np.testing.assert_equal(a, b)
            made = prepared(there, "close", 3.0, "last", lambda _, make, t=host.shape[0]: make(0, t))
            np.testing.assert_array_equal(made[0].values.read(), prices(host, "close", 3.0).values)
            np.testing.assert_array_equal(made[2].read(), marks(host, 3.0))


# --- all else that a panel is for ---


class Momentum(bt.Strategy):
    device = False  # CuPy rows are looked at in test_cuda_views.py

    def on_data_batch(self, timestamp, batch):
        history = batch.history("close", 2)
        self.order_target_percent(np.arange(history.shape[1]), np.where(history[-1] > history[0], 0.1, 0.0))


def two(fake, t: int = 40, n: int = 5) -> tuple[bt.Panel, bt.Panel]:
    """A panel on the device, and the same on the host."""
    given = clean(t, n) | {"prices": "raw", "split": np.ones((t, n)), "universe": np.ones((t, n), bool)}
    given["split"][9, 1] = 2.0
    given["close"][:9, 1] *= 2
    given["open"][:9, 1] *= 2
    given["universe"][20:, 3] = False
    return bt.Panel(**moved(fake, given)), bt.Panel(**given)


def test_cuts(fake):
    panel, host = two(fake)
    for key in (slice("2001-01-05", "2001-01-20"), (slice(None), ["A3", "A1"]), ("2001-01", "A2")):
        found, wanted = panel[key], host[key]
        assert repr(found) == repr(wanted) and isinstance(found.close, Resident)
        for name in ("close", "open", "split", "universe", "delisted_at"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_holdings_resume_and_a_folder(fake, tmp_path):
    """Saved on the host or on the device, each goes on with the other."""
    panel, host = two(fake)
    weights = books(*panel.shape)
    own, config, shares = on_device(fake, weights), bt.Config(lot=0.0), {"A0": 10.0, "A1": 3.0}
    a, b = slice(None, "2001-01-20"), slice("2001-01-21", None)
    whole = bt.run(host, weights, config, holdings=shares, engine="numpy")
    np.testing.assert_array_equal(bt.run(panel, own, config, holdings=shares, engine="cuda").equity, whole.equity)
    for first, then, name in ((panel, host, "d"), (host, panel, "h")):
        bt.run(first[a], weights[:20], config, engine="cuda").checkpoint(tmp_path / name)
        found = bt.run(then[b], weights[20:], config, engine="cuda", resume=tmp_path / name)
        wanted = bt.run(host[b], weights[20:], config, engine="numpy", resume=tmp_path / name)
        np.testing.assert_array_equal(found.equity, wanted.equity)
    grid = {"commission_rate": [0.0, 0.001]}
    one = bt.sweep(panel, own, config, grid, engine="cuda", out=tmp_path / "sweep")
    with pytest.raises(bt.ResultError):
        bt.sweep(panel, on_device(fake, weights / 2), config, grid, engine="cuda", out=tmp_path / "sweep")
    again = bt.sweep(host, weights, config, grid, engine="numpy", out=tmp_path / "sweep")
    assert again.run == 0 and again.table.equals(one.table)


def test_strategies(fake):
    panel, host = two(fake)
    for engine in ("numpy", "cuda"):
        found = bt.run(panel, Momentum(), bt.Config(lot=0.0), engine=engine)
        wanted = bt.run(host, Momentum(), bt.Config(lot=0.0), engine="numpy")
        np.testing.assert_array_equal(found.equity, wanted.equity)
    bt.check_lookahead(Momentum, panel, engine="numpy")
    assert panel.on_host().on_host().close is panel.close.host


def test_books_by_name_and_what_travels_to_workers(fake, tmp_path):
    panel, host = two(fake)
    named = {"a": books(*panel.shape, 1), "b": -books(*panel.shape, 2).astype(np.float32)}
    config, grid = bt.Config(account="margin", lot=0.0), {"weights": ["a", "b"], "signal_lag": [0, 1]}
    there = {name: on_device(fake, weights, "torch", "strided") for name, weights in named.items()}
    wanted = bt.sweep(host, named, config, grid, engine="numpy").table
    assert bt.sweep(panel, there, config, grid, engine="cuda").table.equals(wanted)
    assert bt.sweep(panel, there, config, grid, engine="numpy").table.equals(wanted)
    weights = tuple(check_weights(panel, array, "margin") for array in there.values())
    found = Spilled.write(Inputs(panel, weights, "key", np.ones((1, 40), bool)), tmp_path).read()
    for a, b in zip((*found.weights, found.panel.close), (*named.values(), host.close), strict=True):
        np.testing.assert_array_equal(a, b)
        assert type(a) is np.ndarray and a.dtype == b.dtype and not a.flags.owndata  # mapped


def test_pickled_it_is_a_panel_of_the_host(fake):
    panel, host = two(fake)
    found = pickle.loads(pickle.dumps(panel))
    assert type(found.close) is np.ndarray and not found.close.flags.writeable
    np.testing.assert_array_equal(found.close, host.close)


def test_what_was_settled_and_trades_again(fake):
    """Is told of from the columns in question alone."""
    given = clean(40, 5)
    given["close"][10:20, 2] = given["open"][10:20, 2] = np.nan
    weights, config = np.full((40, 5), 0.1), bt.Config(delist_after=3, lot=0.0)
    wanted, text = told(lambda: bt.run(bt.Panel(**given), weights, config, engine="numpy"))
    found, found_text = told(lambda: bt.run(bt.Panel(**moved(fake, given)), weights, config, engine="cuda"))
    assert found.advice == wanted.advice and found_text == text and "A2 was settled" in text[0]
