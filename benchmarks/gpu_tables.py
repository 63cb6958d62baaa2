# SPDX-License-Identifier: Apache-2.0
"""What a file of benchmarks.gpu_check says: text for a terminal, tables for the README and docs/performance.md."""

from __future__ import annotations

from typing import Any

__all__ = ["KIND", "measured", "page", "report", "summary"]

KIND = "gpu-check"


def measured(found: dict[str, Any]) -> dict[str, Any]:
    """The file itself; ValueError where it is no measurement on a device, or where a bit differed."""
    device = found.get("device")
    if found.get("kind") != KIND or not isinstance(device, dict):
        raise ValueError("this is no result of python -m benchmarks.gpu_check on a device")
    if found.get("emulated") is not False or device.get("emulated") is not False or device.get("name") == "emulated":
        raise ValueError("this result was emulated on a CPU: it measures nothing and stands in no table")
    if found.get("equal") is not True:
        raise ValueError("in this result a bit differs from the NumPy engine's, or none was compared")
    return found


def line(cells: list[str]) -> str:
    """A line of a markdown table."""
    return "| " + " | ".join(cells) + " |"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def _work(row: dict[str, Any]) -> list[str]:
    own = ", own float32 weights" if row["own_weights"] else ""
    decides = "every bar" if row["every"] == 1 else f"every {row['every']} bars"
    shape = f"{row['bars']:,} x {row['assets']:,}"
    return [shape, f"{row['scenarios']:,}{own}", f"{row['density']:.0%}", decides]


def summary(found: dict[str, Any]) -> str:
    """The table of cases, with JAX beside where it did the same work."""
    same = ("bars", "assets", "density", "every", "scenarios")
    jax = {
        tuple(row[n] for n in same): row for row in found["jax"] if row["platform"] in ("gpu", "cuda") and row["near"]
    }
    head = ["bars x assets", "scenarios", "weights not zero", "decides", "kernel", "resident", "first run"]
    head += ["million asset-bars a second", "JAX, simpler model"]
    lines = [line(head), line(["---"] * 4 + ["---:"] * 5)]
    for row in found["cases"]:
        beside = None if row["own_weights"] else jax.get(tuple(row[n] for n in same))
        lines.append(line([
            *_work(row), _time(row["kernel_seconds"]), _time(row["seconds"]), _time(row["cold_seconds"]),
            f"{row['rate'] / 1e6:,.0f}", "" if beside is None else _time(beside["seconds"]),
        ]))  # fmt: skip
    return "\n".join(lines)


def footnote(found: dict[str, Any]) -> str:
    """Where it was measured, and how."""
    device, made = found["device"], max((row["seconds"] for row in found["compile"]), default=0.0)
    compared = sum(row["scenarios"] for row in found["bits"])
    parts = [device["name"], f"driver {device.get('driver')}", f"CUDA {device.get('runtime_cuda')}"]
    parts += [f"CuPy {device.get('cupy')}", found["machine"]["cpu"], found["date"]]
    text = (
        ", ".join(parts) + f"; {compared:,} drawn scenarios on {len(found['bits'])} variants equal NumPy bit for bit."
    )
    if made:
        text += f" The first run excludes compilation, once a machine: {made:.1f} s for the slowest of the variants."
    return text + " Made by `python -m benchmarks.gpu_check`."


def page(found: dict[str, Any]) -> str:
    """The cases, the sweep over blocks, the small measurements."""
    parts = [summary(found)]
    if found["sweep"]:
        head = ["weights not zero", "threads", "scenarios a block", "holdings in", "kernel"]
        lines = [line(head), line(["---"] + ["---:"] * 2 + ["---", "---:"])]
        for row in found["sweep"]:
            where = "shared memory" if row["shared"] else "the arena"
            cells = [f"{row['density']:.0%}", str(row["threads"]), str(row["together"]), where]
            lines.append(line([*cells, _time(row["kernel_seconds"])]))
        scenarios = found["sweep"][0]["scenarios"]
        parts.append(f"Blocks, for {scenarios:,} scenarios with shared panels:\n\n" + "\n".join(lines))
    if found["micro"]:
        lines = [line(["what", "takes"]), line(["---", "---:"])]
        lines += [line([_micro_name(row), _micro_value(row)]) for row in found["micro"]]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, footnote(found)])


def _micro_name(row: dict[str, Any]) -> str:
    if "numbers" not in row:
        return row["name"]
    return f"a sum of {row['numbers']} numbers over a block of {row['threads']} threads, {row['blocks']} blocks at once"


def _micro_value(row: dict[str, Any]) -> str:
    if "bytes_per_second" in row:
        return f"{row['bytes_per_second'] / 1e9:,.0f} GB/s"
    return f"{row['microseconds']:.2f} us"


def report(found: dict[str, Any]) -> str:
    """A short table for a terminal: the verdict first."""
    wrong = [row for row in (*found["bits"], *found["cases"], *found["sweep"], *found["cpu"]) if row["difference"]]
    compared = sum(row["scenarios"] for row in found["bits"])
    lines = [f"bits: {compared:,} drawn scenarios on {len(found['bits'])} variants, {len(wrong)} rows differ"]
    lines += [f"  DIFFERS: {row['difference']}" for row in wrong[:3]]
    lines += [f"{row['tool']}: {_CLEAN[row['clean']]}" for row in found["sanitizer"]]
    lines += [f"{row['step']}: left out, {row['reason']}" for row in found["skipped"]]
    lines += [f"{name}: {s['status']}" for name, s in found["steps"].items() if s["status"] != "done"]
    for row in found["cases"]:
        kernel, resident, cold = (_time(row[name]) for name in ("kernel_seconds", "seconds", "cold_seconds"))
        lines.append(f"{', '.join(_work(row))}: kernel {kernel}, resident {resident}, cold {cold}")
    for row in found["jax"]:
        shape = f"{row['scenarios']:,} scenarios, {row['density']:.0%}"
        lines.append(f"JAX on {row['platform']}, {shape}: {_time(row['seconds'])}")
    for row in found["cpu"]:
        lines.append(f"{row['engine']}, {row['threads']} threads, {', '.join(_work(row))}: {_time(row['seconds'])}")
    lines += [f"{_micro_name(row)}: {_micro_value(row)}" for row in found["micro"]]
    if found["emulated"]:
        lines.append("EMULATED on the CPU: nothing was measured")
    return "\n".join(lines)


_CLEAN = {True: "clean", False: "FOUND SOMETHING", None: "not done in time"}
