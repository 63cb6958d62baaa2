# SPDX-License-Identifier: Apache-2.0
"""jedi, which IPython, Jupyter, Spyder, Vim and Emacs ask, sees names, signatures, docs and definitions."""

from __future__ import annotations

from pathlib import Path

import pytest

import gpu_bt as bt
from gpu_bt.config import FIELDS

jedi = pytest.importorskip("jedi")
ROOT = Path(__file__).parents[2]
HEAD = "import cpu_fallback\nimport gpu_bt as bt\n"
RESULT = "result = bt.run(panel, weights)\n"
STRATEGY = "class Own(bt.Strategy):\n    def on_data_batch(self, timestamp, batch: bt.Batch):\n        "


def asked(what: str, code: str) -> list:
    """What jedi says at the end of the code."""
    script = jedi.Script(HEAD + code, path=ROOT / "a_users_file.py", project=jedi.Project(ROOT))
    return getattr(script, what)()


def names(code: str) -> set[str]:
    return {found.name for found in asked("complete", code)}


def types(code: str) -> set[str]:
    return {found.name for found in asked("infer", code)}


@pytest.mark.parametrize("module", ["bt", "cpu_fallback"])
def test_public_names_complete_and_lead_to_their_definition(module: str):
    assert set(bt.__all__) <= names(f"{module}.")
    for name, file in {"run": "runs/run.py", "Config": "config.py", "Batch": "runs/batch.py"}.items():
        script = jedi.Script(f"{HEAD}{module}.{name}", path=ROOT / "a_users_file.py", project=jedi.Project(ROOT))
        [place] = script.goto(follow_imports=True)
        assert place.module_path == ROOT / "gpu_bt" / file and place.docstring()


def test_a_call_shows_its_signature_and_docstring():
    [run] = asked("get_signatures", "bt.run(")
    assert [p.name for p in run.params][:3] == ["panel", "weights", "config"] and "NaN = no target" in run.docstring()
    [config] = asked("get_signatures", "bt.Config(")
    assert [p.name for p in config.params] == list(FIELDS)
    assert all(field.meaning in config.docstring() for field in FIELDS.values())
    [panel] = asked("get_signatures", "bt.Panel(")
    assert "dividend: cash per share" in panel.docstring()


def test_fields_complete_with_their_docs():
    assert {f"{name}=" for name in FIELDS} <= names("bt.Config(")
    texts = {found.name: found.docstring() for found in asked("complete", "bt.Config().")}
    assert all(field.meaning in " ".join(texts[name].split()) for name, field in FIELDS.items())
    assert "dividend=" in names("bt.Panel(close, div")
    [dividend] = asked("complete", "bt.read_panel('prices.parquet').div")
    assert "cash per share" in dividend.docstring()


def test_what_is_given_is_known():
    assert types("bt.run(panel, weights)") == {"Result"} and types("bt.Panel(close)['2020']") == {"Panel"}
    assert {"DataFrame"} < types(RESULT + "result.equity") | {""}
    assert "float" in types("bt.Config().slippage") and types("bt.read_weights(path, panel)") == {"Weights"}
    assert {"metrics", "fills", "positions", "plot"} <= names(RESULT + "result.")
    assert "SweepResult" in types("bt.sweep(panel, weights)")


def test_a_strategy_completes():
    assert {"order_target_percent", "portfolio", "close_others"} <= names(STRATEGY + "self.")
    assert {"close", "volume", "history", "top"} <= names(STRATEGY + "batch.")
    assert types(STRATEGY + "batch.close") == {"ndarray"} and types(STRATEGY + "self.portfolio.cash") == {"float"}
    assert names("class Own(bt.Strategy):\n    def on_data") == {"on_data_batch"}
    assert {"rank", "zscore", "top"} <= names("bt.books.")
