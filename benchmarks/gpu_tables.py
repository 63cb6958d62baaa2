# SPDX-License-Identifier: Apache-2.0
"""What a file of benchmarks.gpu_check says: text for a terminal, tables for docs/speed.md and docs/performance.md."""

from __future__ import annotations

import dataclasses
from typing import Any

from gpu_bt.cuda.module import Variant

__all__ = ["BARS", "KIND", "SECTIONS", "VARIANT", "bars", "measured", "merged", "page", "report", "summary"]

KIND = "gpu-check"
#: The lists of rows in a file.
SECTIONS = ("compile", "bits", "cases", "profile", "jax", "micro", "sanitizer", "blocks", "strategy", "clips", "clock",
            "several", "resident", "cpu", "left_out", "skipped")  # fmt: skip
#: What a kernel is compiled for, with what is usual.
VARIANT = dataclasses.asdict(Variant())
#: What a row of a section is known by; of a later stage it takes the place of an earlier one's.
_KNOWN_BY = {
    "compile": tuple(VARIANT), "bits": tuple(VARIANT),
    "cases": ("name", "bars", "assets", "density", "every", "scenarios", "note"), "sanitizer": ("tool",),
    "resident": ("what", "place", "bars", "assets"), "strategy": ("bars", "assets"),
}  # fmt: skip


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


def merged(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stages of each device as one, of which `smoke` is the first; ValueError where they are of different sources,
    and so of different kernels."""
    found: dict[str, dict[str, Any]] = {}
    for one in sorted(map(measured, files), key=lambda one: one["stage"] != "smoke"):
        name = one["device"]["name"]
        if name not in found:
            found[name] = one | {section: list(one.get(section, [])) for section in SECTIONS}
            continue
        whole = found[name]
        if one["sources"] != whole["sources"]:
            raise ValueError(f"the results on one {name} were made of different sources: keep those of one of them")
        whole["date"] = max(whole["date"], one["date"])
        for section in SECTIONS:
            keys = _KNOWN_BY.get(section)
            rows = one.get(section, [])  # of before there was such a section
            ours = {tuple(row.get(key) for key in keys) for row in rows} if keys else ()
            whole[section] = [r for r in whole[section] if not keys or tuple(r.get(k) for k in keys) not in ours]
            whole[section] += rows
    return list(found.values())


def line(cells: list[str]) -> str:
    """A line of a markdown table."""
    return "| " + " | ".join(cells) + " |"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def _work(row: dict[str, Any]) -> list[str]:
    note = f", {row['note']}" if row["note"] else ""
    decides = "every bar" if row["every"] == 1 else f"every {row['every']} bars"
    shape = f"{row['bars']:,} x {row['assets']:,}"
    return [shape, f"{row['scenarios']:,}{note}", f"{row['density']:.0%}", decides]


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
        beside = None if row["note"] else jax.get(tuple(row[n] for n in same))
        lines.append(line([
            *_work(row), _time(row["kernel_seconds"]), _time(row["seconds"]), _time(row["cold_seconds"]),
            f"{row['rate'] / 1e6:,.0f}", "" if beside is None else _time(beside["seconds"]),
        ]))  # fmt: skip
    return "\n".join(lines)


#: (name of a case, scenarios, weights not zero, bars between decisions) -> seconds of kernel that would do on an H100,
#: reckoned of its bandwidth, its float64 rate and the machine code of a kernel that looks at each asset once a bar.
BARS = {
    ("shared panels", 1000, 1.0, 1): 0.040, ("shared panels", 1000, 0.1, 1): 0.012,
    ("own float32 weights", 1000, 1.0, 1): 0.060, ("one scenario", 1, 1.0, 1): 0.005,
    ("one scenario", 1, 0.1, 1): 0.003, ("one scenario", 1, 1.0, 21): 0.002, ("one scenario", 1, 0.1, 21): 0.002,
}  # fmt: skip
#: And this much faster than JAX with its simpler model.
_FASTER = 5


def bars(found: dict[str, Any]) -> str:
    """The table of what was wanted beside what was measured; "" where nothing was."""
    lines = []
    for row in found["cases"]:
        bar = BARS.get((row["name"], row["scenarios"], row["density"], row["every"]))
        if bar is not None and (row["bars"], row["assets"]) == (2520, 5000):
            lines.append([*_work(row), _time(bar), _time(row["kernel_seconds"]), f"{row['kernel_seconds'] / bar:,.1f}"])
        for jax in found["jax"] if row["name"] in ("one scenario", "shared panels") else ():
            same = all(row[name] == jax[name] for name in ("bars", "assets", "density", "every", "scenarios"))
            if same and jax["near"] and jax["platform"] in ("gpu", "cuda"):
                bar = jax["seconds"] / _FASTER
                lines.append([*_work(row), f"{_time(bar)}, a fifth of JAX's", _time(row["kernel_seconds"]),
                              f"{row['kernel_seconds'] / bar:,.1f}"])  # fmt: skip
    head = ["bars x assets", "scenarios", "weights not zero", "decides", "wanted", "kernel", "times"]
    return "\n".join([line(head), line(["---"] * 4 + ["---:"] * 3), *map(line, lines)]) if lines else ""


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
    if found["blocks"]:
        head = ["weights not zero", "threads", "scenarios a block", "holdings in", "kernel"]
        lines = [line(head), line(["---"] + ["---:"] * 2 + ["---", "---:"])]
        for row in found["blocks"]:
            where = "shared memory" if row["shared"] else "the arena"
            cells = [f"{row['density']:.0%}", str(row["threads"]), str(row["together"]), where]
            lines.append(line([*cells, _time(row["kernel_seconds"])]))
        scenarios = found["blocks"][0]["scenarios"]
        parts.append(f"Blocks, for {scenarios:,} scenarios with shared panels:\n\n" + "\n".join(lines))
    if text := bars(found):
        parts.append(f"What would do on an H100, which these were not all measured on, beside the kernel:\n\n{text}")
    others = _others(found)
    if found["micro"] or others:
        lines = [line(["what", "takes"]), line(["---", "---:"])]
        lines += [line([_micro_name(row), _micro_value(row)]) for row in found["micro"]]
        lines += [line(list(cells)) for cells in others]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, footnote(found)])


def _others(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Lines of the table of small things that are no kernels of their own."""
    lines = [(f"a bar of a strategy, {r['assets']:,} assets", f"{r['microseconds']:.0f} us") for r in found["strategy"]]
    lines += [(f"bars at which cash clips, {r['density']:.0%}", f"{r['share']:.1%}") for r in found["clips"]]
    for row in found["resident"]:
        name = f"{row['what']}, data on the {row['place']}, {row['bars']:,} x {row['assets']:,}"
        moved = f"{row['sent'] / 1e6:,.1f} MB sent, {row['fetched'] / 1e6:,.1f} MB fetched"
        first = f"first {_time(row['first_seconds'])}, then " if "first_seconds" in row else ""
        lines.append((name, f"{first}{_time(row['seconds'])}; {moved}"))
    for row in found["clock"]:
        if "clocks.sm" in row:
            lines.append(("clock under load, median", f"{row['clocks.sm'][1]:,.0f} MHz"))
    return lines


def _micro_name(row: dict[str, Any]) -> str:
    if "numbers" not in row:
        return row["name"]
    return f"a sum of {row['numbers']} numbers over a block of {row['threads']} threads, {row['blocks']} blocks at once"


def _micro_value(row: dict[str, Any]) -> str:
    if "bytes_per_second" in row:
        return f"{row['bytes_per_second'] / 1e9:,.0f} GB/s"
    return f"{row['microseconds']:.2f} us"


def _variant(row: dict[str, Any]) -> str:
    return (
        ", ".join(f"{name}={row[name]}" for name, usual in VARIANT.items() if row.get(name, usual) != usual) or "lean"
    )


def report(found: dict[str, Any]) -> str:
    """A short table for a terminal: the verdict first."""
    wrong = [row for name in SECTIONS for row in found[name] if row.get("difference")]
    compared = sum(row["scenarios"] for row in found["bits"])
    lines = [f"bits: {compared:,} drawn scenarios on {len(found['bits'])} variants, {len(wrong)} rows differ"]
    lines += [f"  DIFFERS: {row['difference']}" for row in wrong[:3]]
    lines += [f"{_variant(r)}: does not compile" for r in found["compile"] if r.get("log")]
    lines += [f"{_variant(r)}: compiled in {r['seconds']:.1f} s" for r in found["compile"] if not r.get("log")]
    lines += [f"{row['tool']}: {_CLEAN[row['clean']]}" for row in found["sanitizer"]]
    lines += [f"{row['step']}: left out, {row['reason']}" for row in found["skipped"]]
    lines += [f"{name}: {s['status']}" for name, s in found["steps"].items() if s["status"] != "done"]
    for row in found["cases"]:
        kernel, resident, cold = (_time(row[name]) for name in ("kernel_seconds", "seconds", "cold_seconds"))
        lines.append(f"{', '.join(_work(row))}: kernel {kernel}, resident {resident}, cold {cold}")
    lines += bars(found).splitlines()
    for row in found["several"]:
        each = f"{row['scenarios']:,} scenarios on each of {row['workers']} GPUs at once"
        lines.append(f"{each}: {_time(row['seconds'])}")
    for row in found["jax"]:
        shape = f"{row['scenarios']:,} scenarios, {row['density']:.0%}"
        lines.append(f"JAX on {row['platform']}, {shape}: {_time(row['seconds'])}")
    for row in found["cpu"]:
        lines.append(f"{row['engine']}, {row['threads']} threads, {', '.join(_work(row))}: {_time(row['seconds'])}")
    lines += [f"{_micro_name(row)}: {_micro_value(row)}" for row in found["micro"]]
    lines += [f"{name}: {value}" for name, value in _others(found)]
    for row in found["profile"]:
        counted = sum(value for name, value in row["metrics"].items() if name.startswith("smsp__inst_executed.sum"))
        shape = f"{'many scenarios' if row['many'] else 'one scenario'}, {row['density']:.0%}"
        lines.append(f"counted over {row['bars']} bars, {shape}: {counted:,.0f} warp instructions")
    if found["emulated"]:
        lines.append("EMULATED on the CPU: nothing was measured")
    return "\n".join(lines)


_CLEAN = {True: "clean", False: "FOUND SOMETHING", None: "not done in time"}
