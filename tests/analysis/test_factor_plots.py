# SPDX-License-Identifier: Apache-2.0
"""The picture of a factor study: what its drawings show, and its errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpu_bt as bt


def study(bars: int = 80, assets: int = 30, **how) -> bt.FactorStudy:
    rng = np.random.default_rng(4)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (bars, assets)), axis=0))
    days = np.busday_offset("2020-01-01", np.arange(bars), roll="forward")
    zone = how.pop("time_zone", None)
    panel = bt.Panel(close, timestamps=days, assets=[f"A{i}" for i in range(assets)], time_zone=zone)
    return bt.factor(panel, rng.normal(size=close.shape), execution="same_close", **how)


def titles(figure: object) -> list[str]:
    return [ax.get_title(loc="left").split(",")[0] for ax in figure.axes]


def test_what_the_drawings_show():
    found = study(horizons=(1, 5))
    figure = found.plot()
    assert titles(figure) == [
        "Information coefficient", "Spread of quantile 5 over 1", "Mean return per bar", "Mean information coefficient",
    ]  # fmt: skip
    ic, spread, quantiles, decay = figure.axes
    values = found.series("ic")[:, 0]
    rolling = next(line for line in ic.lines if line.get_label() == "Mean of 63 bars").get_ydata()
    assert rolling[-1] == pytest.approx(np.nanmean(values[-63:])) and len(rolling) == 17
    mean = found.summary()["ic_mean"].to_list()
    assert ic.lines[-1].get_ydata()[0] == mean[0] and f"{mean[0]:.4f}" in ic.lines[-1].get_label()
    for k, h in enumerate((1, 5)):
        summed = spread.lines[k].get_ydata()
        assert np.isnan(summed[-h:]).all() and np.isfinite(summed[:-h]).all()
        assert summed[-h - 1] == pytest.approx(np.nansum(found.series("spread")[:, k]) / h)
    heights = [bar.get_height() for bar in quantiles.patches]
    means = found.by_quantile["mean"].to_numpy().reshape(2, 5) / [[1], [5]]
    np.testing.assert_array_equal(heights, means.ravel())
    assert decay.lines[0].get_ydata().tolist() == mean and decay.lines[0].get_xdata().tolist() == [1, 5]
    low, high = (f(decay.collections[0].get_paths()[0].vertices[:, 1]) for f in (np.min, np.max))
    t = found.summary()["ic_t_newey_west"].to_numpy()
    error = np.abs(2 * np.array(mean) / t)
    assert (low, high) == pytest.approx((np.min(mean - error), np.max(mean + error)))
    assert figure.get_suptitle() == "2020-01-01 to 2020-04-21   80 bars x 30 assets   5 quantiles   same_close"


@pytest.mark.parametrize(
    "how",
    [
        {"horizons": range(1, 31), "quantiles": 25, "demean": True},
        {"bars": 1, "horizons": 1},
        {"bars": 2, "horizons": 1},
        {"bars": 9, "groups": list("ab") * 15},
        {"assets": 3},
        {"time_zone": "Asia/Tokyo"},
    ],
)
def test_every_study_can_be_drawn(how, tmp_path: Path):
    found = study(**how)
    path = found.plot(tmp_path / "new" / "factor.png")
    assert path.read_bytes()[:4] == b"\x89PNG" and len(found.plot().axes[1].lines) <= 5


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(bt.ResultError, match="unknown format 'xlsx'"):
        study().plot(tmp_path / "x.xlsx")
    with pytest.raises(bt.ConfigError, match="name is 'IC': it must be one of 'ic', 'spread'"):
        study().series("IC")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(bt.ResultError, match=r"pip install matplotlib$"):
        study().plot()


def test_a_study_needs_no_matplotlib():
    code = "import sys; sys.path.insert(0, 'tests/analysis'); import test_factor_plots as t; print(t.study());"
    code += "assert 'matplotlib' not in sys.modules and 'pandas' not in sys.modules"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "FactorStudy(2020-01-01 to 2020-04-21, 80 bars x 30 assets, 5 quantiles, same_close; mean"
    )
