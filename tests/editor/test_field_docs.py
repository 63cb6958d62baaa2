# SPDX-License-Identifier: Apache-2.0
"""What editors show of fields and choices is what the product checks."""

from __future__ import annotations

import inspect
import pydoc
from typing import get_args

import pytest
from editor.docs import WRITTEN, said

import gpu_bt as bt
from gpu_bt import typing
from gpu_bt.config import FIELDS
from gpu_bt.data.fields import FIELDS as PANEL
from gpu_bt.engine.registry import _CHOICES, ENGINES
from gpu_bt.law.layout import SCHEMES
from gpu_bt.runs.batch import FIELDS as SHOWN
from gpu_bt.sweeps.result import METRICS


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_docs_are_those_of_the_fields(path):
    assert path.read_text("utf-8") == WRITTEN[path](), "run: PYTHONPATH=. python tests/editor/docs.py"


def test_every_field_of_a_config_says_what_it_is():
    texts = said("config.py", "Config")
    help_text = pydoc.plain(pydoc.render_doc(bt.Config))
    assert texts.keys() == FIELDS.keys()
    for name, field in FIELDS.items():
        for shown in (texts[name], " ".join(help_text.split())):
            assert field.meaning in shown and field.unit in shown and repr(field.default) in shown, name


def test_every_field_of_a_panel_says_what_it_is():
    texts = said("typing.py", "Fields") | said("data/panel.py", "Panel")
    assert tuple(said("typing.py", "Fields")) == SHOWN == get_args(typing.FieldName)
    assert PANEL.keys() <= texts.keys() and all(texts[name] for name in PANEL)
    assert PANEL.keys() <= inspect.signature(bt.Panel).parameters.keys()
    doc = inspect.getdoc(bt.Panel) or ""
    assert all(f"    {name}: " in doc for name in PANEL)


def test_choices_are_those_that_are_checked():
    """Most are checked against the type itself; these have a table of their own."""
    assert set(get_args(typing.EngineName)) == {*_CHOICES, *ENGINES}
    assert get_args(typing.Scheme) == SCHEMES
    assert {*get_args(typing.Metric), *get_args(typing.CountMetric)} == set(METRICS)


@pytest.mark.parametrize("function", [bt.run, bt.sweep, bt.Panel, bt.read_panel, bt.read_weights, bt.Scores])
def test_no_argument_is_of_any_type(function):
    parameters = inspect.signature(function).parameters.values()
    assert [p.name for p in parameters if str(p.annotation) in ("Any", "typing.Any", str(p.empty))] == []
