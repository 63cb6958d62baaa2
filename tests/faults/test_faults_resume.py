# SPDX-License-Identifier: Apache-2.0
"""Where a saved run meets its later bars, and what goes wrong while a state is written."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import state_files as files
from faults.kit import fault, faults, refused, script, silence, survived, told

import gpu_bt as bt
from gpu_bt.runs.checkpoint import load

SEAM = "Resumed runs: prices and bars after the state"
LATER = files.CLOSE[files.CUT :]
RAW = {"prices": "raw"}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.saved(tmp_path_factory.mktemp("states") / "s.npz")


def times(*factors: float) -> np.ndarray:
    """The later prices on other scales, asset by asset."""
    return LATER * np.array(factors)


@faults(SEAM, "refused", {
    "2 for 1": 1 / 2, "3 for 1": 1 / 3, "3 for 2": 2 / 3, "4 for 1": 1 / 4, "10 for 1": 1 / 10, "20 for 1": 1 / 20,
    "50 for 1": 1 / 50, "1 for 2": 2.0, "1 for 5": 5.0, "1 for 10": 10.0, "1 for 100": 100.0,
}, "the history was adjusted anew after a split of ")  # fmt: skip
@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_adjusted_again(value: float, engine: str, state: Path):
    with refused(r"two scales, which no split explains: 'B' from 100.82 to .* accept_jumps=True", bt.PanelError):
        files.go_on(state, panel=files.later(times(1, value, 1)), engine=engine)


@fault(SEAM, "all of its assets are on another scale", "refused")
def test_all_on_another_scale(state: Path, tmp_path: Path):
    saved = files.saved(tmp_path / "s.npz", delisted_at=None)
    with refused("'A' from .*'B' from .*'C' from "):
        files.go_on(saved, panel=files.later(times(100, 100, 100)))


@fault(SEAM, "prices in cents, of which only a working order knows", "refused")
def test_an_order_alone(tmp_path: Path):
    config = files.CONFIG.replace(execution="next_open", participation=None, signal_lag=0)
    panel = bt.Panel(files.CLOSE[:1], timestamps=files.DAYS[:1], assets=["A", "B", "C"], open=files.CLOSE[:1],
                     volume=np.full((1, 3), 50.0), next_timestamp=files.DAYS[1])  # fmt: skip
    with pytest.warns(bt.BacktestWarning, match="nothing was traded"):
        made = bt.run(panel, np.full((1, 3), 0.3), config)
    made.checkpoint(tmp_path / "s.npz")
    cents = files.CLOSE[1:] * 100
    with refused("two scales"):
        files.go_on(tmp_path / "s.npz", config, files.later(cents, 1, open=cents))


@fault(SEAM, "the panel has the split already in its prices, and split= besides", "refused")
def test_a_split_twice(state: Path):
    split = np.ones(LATER.shape)
    split[0, 1] = 2.0
    with refused("no split explains"):
        files.go_on(state, panel=files.later(split=split, **RAW))


@fault(SEAM, "a short position whose price is a tenth", "refused")
def test_a_short_position(tmp_path: Path):
    config = files.CONFIG.replace(account="margin", signal_lag=0)
    bt.run(files.later(files.CLOSE[:6], 0, next_timestamp=files.DAYS[6]), np.full((6, 3), -0.2), config).checkpoint(
        tmp_path / "s.npz"
    )
    with refused("'C' from"):
        files.go_on(tmp_path / "s.npz", config, files.later(times(1, 1, 0.1)))


@fault(SEAM, "the first price of an asset on another scale comes some bars later", "refused")
def test_a_late_price(state: Path):
    close = times(1, 0.5, 1)
    close[:2, 1] = np.nan
    with refused("'B' from .* at 2024-03-12"):
        files.go_on(state, panel=files.later(close))


@fault(SEAM, "a split between the state and the panel, in raw prices with split=", "survived")
def test_a_split_that_explains(state: Path, tmp_path: Path):
    split = np.ones(LATER.shape)
    split[0, :] = (2.0, 1 / 3, 1.0)
    with silence():
        got = files.go_on(state, panel=files.later(times(0.5, 3, 1), split=split, **RAW))
    expected = files.go_on(state)
    # Twice the shares at half the price; orders meet the same volumes, so the bars after the first are not compared.
    survived(got.equity["equity"][0], expected.equity["equity"][0])


@fault(SEAM, "a dividend of half the price, in raw prices with dividend=", "survived")
def test_a_dividend_that_explains(state: Path):
    dividend = np.zeros(LATER.shape)
    dividend[0, 1] = 50.0
    close = LATER.copy()
    close[:, 1] -= 50.0
    with silence():
        got = files.go_on(state, panel=files.later(close, dividend=dividend, **RAW))
    survived(got.equity["dividends"][0] > 0, True)


def at_once(factor: float | np.ndarray) -> np.ndarray:
    """Later prices, the first of which are the state's last marks on another scale."""
    return LATER / LATER[0] * files.CLOSE[files.CUT - 1] * factor


@faults(SEAM, "told", {
    "5 for 4, a day": (4 / 5, 1), "4 for 3, a day": (3 / 4, 1), "4 for 5, a day": (5 / 4, 1),
    "3 for 2, 31 days": (2 / 3, 31),
    "2 for 1, 92 days": (1 / 2, 92), "4 for 1, a year": (1 / 4, 365), "1 for 2, 92 days": (2.0, 92),
}, "the history was adjusted anew, by so little for so long a gap that it may be a move: ")  # fmt: skip
def test_near_a_split(value: tuple[float, int], state: Path):
    factor, days = value
    when = files.DAYS[files.CUT - 1] + (days + np.arange(len(LATER))) * np.timedelta64(1, "D")
    with told(r"prices on two scales, .*: 'B' from 100.82 to .* \(times|bars are missing"):
        panel = files.later(at_once(np.array([1, factor * 1.005, 1])), timestamps=when)
        result = files.go_on(state, panel=panel)
    assert (
        "'B' from 100.82" in result.advice["prices adjusted again"]
        and "'A'" not in result.advice["prices adjusted again"]
    )


@faults(
    SEAM, "told", {"0.97": 0.97, "1.1": 1.1, "0.9 and a little": np.array([0.9, 0.902, 0.901])}, "all prices times "
)
def test_all_by_one_factor(value: Any, tmp_path: Path):
    saved = files.saved(tmp_path / "s.npz", delisted_at=None)
    with told("multiplied by one factor: 'A' from .*, 'B' from .*, 'C' from"):
        files.go_on(saved, panel=files.later(at_once(value), delisted_at=None))


@fault(SEAM, "prices move as prices do, five hundred times", "survived")
def test_ordinary_moves_are_not_told_of(tmp_path: Path):
    saved, rng, said = files.saved(tmp_path / "s.npz", delisted_at=None), np.random.default_rng(8), 0
    for _ in range(500):
        close = at_once(1) * np.exp(rng.normal(0, 0.01, (1, 3)))
        panel = files.later(close, delisted_at=None)
        said += bool(load(saved, panel, files.CONFIG).doubts)
    survived(said, 0)


@fault(SEAM, "an asset that was settled comes back at twice its price", "survived")
def test_settled_and_back(state: Path):
    close = times(1, 2, 1)
    close[:-1, 1] = np.nan
    config = files.CONFIG.replace(delist_after=3)
    with pytest.warns(bt.BacktestWarning, match="trade"):
        saved = files.saved(state.with_name("three.npz"), config)
        got = files.go_on(saved, config, files.later(close))
    survived("accepted_jumps" in got.notes, False)


@fault(SEAM, "a price that really doubled, with accept_jumps=True", "survived")
def test_accepted(state: Path):
    got = files.go_on(state, panel=files.later(times(2, 1, 1)), accept_jumps=True)
    survived(got.notes["accepted_jumps"], 1)
    assert "accepted_jumps: 1" in str(got)


@faults(SEAM, "told", {"20 days": 20, "a year": 366, "13 days": 13}, "bars of a daily panel are missing for ")
def test_a_gap(value: int, state: Path):
    with told(rf"after 2024-03-09, {value} days before the first bar.* if bars are missing"):
        shift = np.timedelta64(value - 1, "D")
        got = files.go_on(state, panel=files.later(timestamps=files.DAYS[6:] + shift))
    assert got.notes["resumed"] == f"after 2024-03-09, {value} days before the first bar"


@faults(SEAM, "survived", {
    "a day": 1, "a long weekend": 4, "a holiday week": 9, "a spring festival": 12,
}, "between the state and the panel lies ")  # fmt: skip
def test_no_gap(value: int, state: Path):
    with silence():
        got = files.go_on(state, panel=files.later(timestamps=files.DAYS[6:] + np.timedelta64(value - 1, "D")))
    survived(got.notes["resumed"], f"after 2024-03-09, {value} day{'s' * (value > 1)} before the first bar")


@fault(SEAM, "monthly bars, the next of which is 31 days later", "survived")
def test_monthly(tmp_path: Path):
    days = np.array([np.datetime64("2023-01", "M") + i for i in range(12)]).astype("datetime64[D]")
    panel = {"assets": ["A", "B", "C"]}
    config = bt.Config(execution="next_close")
    first = bt.Panel(files.CLOSE[:6], timestamps=days[:6], **panel)
    bt.run(first, np.full((6, 3), 0.3), config).checkpoint(tmp_path / "s.npz")
    fallen = files.CLOSE[6:] * np.array([0.63, 0.7, 0.82])  # in a month a stock may
    with silence():
        got = bt.run(bt.Panel(fallen[:1], timestamps=days[6:7], **panel), np.full((1, 3), 0.3), config,
                     resume=tmp_path / "s.npz")  # fmt: skip
    survived(got.notes["resumed"], "after 2023-06-01, 30 days before the first bar")


@faults(SEAM, "refused", {"a text": "yes", "1": 1, "None": None, "a table": np.ones((2, 2))}, "accept_jumps= is ")
def test_accept_jumps(value: Any, state: Path):
    with refused("accept_jumps is .* must be True or False", bt.ConfigError):
        files.go_on(state, accept_jumps=value)


@fault(SEAM, "accept_jumps=True without resume=", "refused")
def test_accept_jumps_alone():
    with refused("True only with resume=", bt.ConfigError):
        bt.run(files.later(), files.WEIGHTS[6:], files.CONFIG, accept_jumps=True)


WRITES = "State files: while they are written"


def result() -> bt.Result:
    return bt.run(files.later(files.CLOSE[:6], 0, next_timestamp=files.DAYS[6]), files.WEIGHTS[:6], files.CONFIG)


@faults(WRITES, "refused", {
    "a number": 3, "None": None, "bytes": b"s.npz", "an object": object(), "an empty text": "", "NUL": "a\0b",
    "half a surrogate": "\ud800", "a name that is too long": "x" * 300, "a folder": ".", "the root": "/",
    "a device": "/dev/null", "below a file": "/dev/null/s.npz",
}, "checkpoint() is given ")  # fmt: skip
def test_paths(value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with refused("path is|was not written"):
        result().checkpoint(value)
    assert not list(tmp_path.iterdir()) and not os.path.isfile("/dev/null")


@fault(WRITES, "a pipe of that name", "refused")
def test_a_pipe(tmp_path: Path):
    os.mkfifo(tmp_path / "s.npz")
    with refused("it is no regular file"):
        result().checkpoint(tmp_path / "s.npz")
    assert (tmp_path / "s.npz").is_fifo()


@faults(WRITES, "refused", {
    "the disk is full": OSError(errno.ENOSPC, "No space left on device"),
    "the disk fails": OSError(errno.EIO, "Input/output error"),
    "the folder may not be written to": PermissionError(errno.EACCES, "Permission denied"),
})  # fmt: skip
@pytest.mark.parametrize("at", ["savez", "fsync", "replace"])
def test_disks(value: OSError, at: str, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    old = files.saved(tmp_path / "s.npz").read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise value

    monkeypatch.setattr(np if at == "savez" else os, at, fail)
    with refused(f"(?i)s.npz was not written: {value.strerror}"):
        result().checkpoint(tmp_path / "s.npz")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"] and (tmp_path / "s.npz").read_bytes() == old


@fault(WRITES, "it is interrupted, and an older state lies there", "survived")
def test_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files.saved(tmp_path / "s.npz")
    expected = files.go_on(tmp_path / "s.npz")

    def stop(file: Any, **arrays: Any) -> None:
        file.write(b"PK\x03\x04 half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", stop)
    with pytest.raises(KeyboardInterrupt):
        result().checkpoint(tmp_path / "s.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]
    survived(files.go_on(tmp_path / "s.npz"), expected)


@fault(WRITES, "the process is killed in the middle, and an older state lies there", "survived")
def test_killed(tmp_path: Path):
    files.saved(tmp_path / "s.npz")
    expected = files.go_on(tmp_path / "s.npz")
    text = """
import os, sys
import numpy as np
import state_files as files
import gpu_bt as bt
def die(file, **arrays):
    file.write(b"half")
    file.flush()
    os._exit(7)
np.savez = die
bt.run(files.later(files.CLOSE[:6], 0), files.WEIGHTS[:6], files.CONFIG).checkpoint(sys.argv[1])
"""
    assert script(text, tmp_path / "s.npz", folder=tmp_path).returncode == 7
    survived(files.go_on(tmp_path / "s.npz"), expected)


@fault(WRITES, "eight threads write one state at once, and others read it", "survived")
def test_at_once(state: Path, tmp_path: Path):
    path, made, panel, wrong = files.saved(tmp_path / "s.npz"), result(), files.later(), []

    def work(reads: bool) -> None:
        try:
            for _ in range(5):
                load(path, panel, files.CONFIG) if reads else made.checkpoint(path)
        except bt.BacktestError as error:
            wrong.append(str(error))

    threads = [threading.Thread(target=work, args=(i % 2 == 0,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [found.name for found in tmp_path.iterdir()] == ["s.npz"]
    survived(files.go_on(path), files.go_on(made.checkpoint(tmp_path / "t.npz")))


@fault(WRITES, "what was written is not on the disk when the power fails", "survived")
def test_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        seen.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        sync(handle)

    def replaced(*paths: Any) -> None:
        seen.append("renamed")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    result().checkpoint(tmp_path / "s.npz")
    assert seen.index("file") < seen.index("renamed")
    survived(seen[-1], "folder")


@fault(WRITES, "the state that a run goes on from is written over by it", "survived")
def test_written_over(state: Path, tmp_path: Path):
    path = tmp_path / "s.npz"
    path.write_bytes(state.read_bytes())
    panel = files.later(LATER[:3], next_timestamp=files.DAYS[9])
    middle = bt.run(panel, files.WEIGHTS[6:9], files.CONFIG, resume=path)
    middle.checkpoint(path)
    got = bt.run(files.later(LATER[3:], 9), files.WEIGHTS[9:], files.CONFIG, resume=path)
    survived(got.raw.money[:, 0], files.go_on(state).raw.money[:, 0, 3:])
