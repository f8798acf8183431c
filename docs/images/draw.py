"""Draws a Grafana dashboard's panels with the numbers of a Prometheus: a picture for the README.

    python -m venv /tmp/draw && /tmp/draw/bin/pip install matplotlib requests
    /tmp/draw/bin/python docs/images/draw.py http://localhost:9090 docs/images/dashboard.png --minutes 15

Queries, mappings, units, thresholds and places are the dashboard's own; only the looks are imitated. The
queries go into the picture's metadata, by which a test notices that the dashboard has changed since.
"""

# ruff: noqa: INP001, T201, PLR2004, PLR0911 (a script, full of sizes that only a drawing has)
from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import requests

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch, Wedge

DASHBOARD = Path(__file__).parent.parent.parent / "deploy/grafana/loki-mode.json"
COLORS = {
    "green": "#73bf69", "red": "#f2495c", "yellow": "#fade2a", "blue": "#5794f2", "orange": "#ff9830",
    "text": "#ccccdc",
}  # fmt: skip
PALETTE = ("#73bf69", "#fade2a", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#96d98d", "#ffb357")
BACK, CARD, INK, DIM = "#111217", "#181b1f", "#ccccdc", "#8e8e9c"
CELL_W, CELL_H = 0.6, 0.36

Series = list[tuple[str, list[float], list[float]]]
"""Legend, times in Unix seconds, values."""


def main() -> None:
    """Draw what the arguments ask for."""
    parser = argparse.ArgumentParser(description="Draw the dashboard's panels.")
    parser.add_argument("prometheus", help="its URL")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dashboard", type=Path, default=DASHBOARD)
    parser.add_argument("--project", default=".*", help="regular expression of the chosen projects [.*]")
    parser.add_argument("--minutes", type=float, default=15.0, help="what the time axes show [15]")
    parser.add_argument("--at", type=float, default=None, help="the end of that, Unix seconds [now]")
    args = parser.parse_args()
    dashboard = json.loads(args.dashboard.read_text("utf-8"))
    end_s = args.at or time.time()
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in dashboard["panels"]) * CELL_H
    figure = plt.figure(figsize=(24 * CELL_W, height), dpi=72, facecolor=BACK)
    for panel in dashboard["panels"]:
        axes = _place(figure, panel, height)
        if panel["type"] == "row":
            axes.text(0, 0.4, panel["title"], color=INK, fontsize=13, va="center", transform=axes.transAxes)
            continue
        series = _ask(args, panel, end_s)
        print(f"{panel['title']}: {', '.join(f'{name}={values[-1]:g}' for name, _, values in series)}")
        DRAWN_BY[panel["type"]](axes, panel, series)
    metadata = {"Description": "\n".join(queries(dashboard))}
    figure.savefig(args.picture, facecolor=BACK, metadata=metadata)


def queries(dashboard: dict[str, Any]) -> list[str]:
    """Return title and queries of each panel."""
    return [
        f"{panel['title']}: {target['expr']}"
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def _ask(args: argparse.Namespace, panel: dict[str, Any], end_s: float) -> Series:
    found: Series = []
    for target in panel["targets"]:
        params = {"query": target["expr"].replace("$project", args.project)}
        if target["instant"]:
            params |= {"time": str(end_s)}
        else:
            params |= {"start": str(end_s - args.minutes * 60), "end": str(end_s), "step": "5"}
        path = "query" if target["instant"] else "query_range"
        answer = requests.get(f"{args.prometheus}/api/v1/{path}", params=params, timeout=30).json()
        if answer["status"] != "success":
            raise SystemExit(f"{panel['title']}: {answer}")
        for one in answer["data"]["result"]:
            points = one.get("values") or [one["value"]]
            legend = re.sub(r"{{(\w+)}}", lambda m, o=one: o["metric"].get(m[1], ""), target["legendFormat"])
            found.append((legend.strip(), [float(t) for t, _ in points], [float(v) for _, v in points]))
    return sorted(found)


def _place(figure: Any, panel: dict[str, Any], height: float) -> Any:
    grid, gap = panel["gridPos"], 0.06
    left, width = grid["x"] / 24, grid["w"] / 24
    top, tall = grid["y"] * CELL_H / height, grid["h"] * CELL_H / height
    inner = (
        left + gap / (24 * CELL_W), 1 - top - tall + gap / height,
        width - 2 * gap / (24 * CELL_W), tall - 2 * gap / height,
    )  # fmt: skip
    card = figure.add_axes(inner)
    card.set_axis_off()
    card.set_xlim(0, 1)
    card.set_ylim(0, 1)
    if panel["type"] == "row":
        return card
    card.add_patch(FancyBboxPatch((0, 0), 1, 1, boxstyle="square,pad=0", fc=CARD, ec="#2c3235", lw=1))
    card.text(0.025, 0.985 - 0.16 / (grid["h"] * CELL_H), panel["title"], color=INK, fontsize=11, va="center")
    head = 0.42 / (grid["h"] * CELL_H)
    left_margin = 0.12 if panel["type"] == "timeseries" else 0.03
    return figure.add_axes(
        (
            inner[0] + left_margin * inner[2], inner[1] + 0.04 * inner[3],
            (0.97 - left_margin) * inner[2], (0.96 - head) * inner[3],
        )
    )  # fmt: skip


def _text(panel: dict[str, Any], value: float) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    for mapping in defaults["mappings"]:
        shown = mapping["options"].get(f"{value:g}")
        if shown:
            return str(shown["text"])
    unit, decimals = defaults.get("unit"), defaults.get("decimals")
    if unit == "currencyUSD":
        return f"${value:.{decimals}f}"
    if unit == "percent":
        return f"{value:.1f}%"
    if unit == "dtdurations":
        minutes, seconds = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}h {minutes}m {seconds}s" if hours else f"{minutes}m {seconds}s"
    if unit == "s":
        return f"{value:.{decimals or 0}f} s"
    if value >= 1e6:
        return f"{value / 1e6:.2f} Mil"
    return f"{value / 1e3:.1f} K" if value >= 1e4 else f"{value:.3g}"


def _color(panel: dict[str, Any], value: float, index: int, name: str) -> str:
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == name:
            return COLORS[override["properties"][0]["value"]["fixedColor"]]
    defaults = panel["fieldConfig"]["defaults"]
    if defaults["color"]["mode"] != "thresholds":
        return PALETTE[index % len(PALETTE)]
    for mapping in defaults["mappings"]:
        if f"{value:g}" in mapping["options"]:
            return COLORS[mapping["options"][f"{value:g}"]["color"]]
    steps = defaults["thresholds"]["steps"]
    return COLORS[[s["color"] for s in steps if s["value"] is None or value >= s["value"]][-1]]


def _stat(axes: Any, panel: dict[str, Any], series: Series) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, len(series))
    axes.set_ylim(0, 1)
    filled = panel["options"]["colorMode"] == "background"
    for index, (name, _, values) in enumerate(series):
        color = _color(panel, values[-1], index, name)
        if filled:
            axes.add_patch(
                FancyBboxPatch((index + 0.02, 0), 0.96, 1, boxstyle="square,pad=0", fc=color, ec=CARD)
            )
        ink = "#111217" if filled else color
        axes.text(
            index + 0.5, 0.5, _text(panel, values[-1]), color=ink, fontsize=22, ha="center", va="center"
        )
        axes.text(
            index + 0.5, 0.14, name, color=ink if filled else DIM, fontsize=10, ha="center", va="center"
        )


def _gauge(axes: Any, panel: dict[str, Any], series: Series) -> None:
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-1.15, 2.5 * len(series) - 1.35)
    axes.set_ylim(-0.35, 1.15)
    for index, (name, _, values) in enumerate(series):
        x, value = 2.5 * index, values[-1]
        axes.add_patch(Wedge((x, 0), 1, 0, 180, width=0.3, fc="#2c3235"))
        share = min(max(value / panel["fieldConfig"]["defaults"]["max"], 0), 1)
        color = _color(panel, value, index, name)
        axes.add_patch(Wedge((x, 0), 1, 180 - 180 * share, 180, width=0.3, fc=color))
        axes.text(x, 0.1, _text(panel, value), color=color, fontsize=15, ha="center", va="center")
        axes.text(x, -0.22, name, color=DIM, fontsize=10, ha="center", va="center")


def _pie(axes: Any, panel: dict[str, Any], series: Series) -> None:
    axes.set_axis_off()
    colors = [_color(panel, v[-1], n, name) for n, (name, _, v) in enumerate(series)]
    wedges, _ = axes.pie([v[-1] for _, _, v in series], colors=colors, startangle=90, radius=1.0)
    axes.set_xlim(-1.1, 2.6)
    labels = [f"{name}  {values[-1]:g}" for name, _, values in series]
    axes.legend(
        wedges,
        labels,
        loc="center left",
        bbox_to_anchor=(0.62, 0.5),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )


def _bars(axes: Any, panel: dict[str, Any], series: Series) -> None:
    axes.set_axis_off()
    most = max(values[-1] for _, _, values in series) or 1
    axes.set_xlim(0, 1)
    axes.set_ylim(len(series), 0)
    for index, (name, _, values) in enumerate(series):
        color = _color(panel, values[-1], index, name)
        axes.barh(index + 0.5, 0.36, left=0.44, height=0.6, color="#2c3235")
        axes.barh(index + 0.5, 0.36 * values[-1] / most, left=0.44, height=0.6, color=color)
        axes.text(0.42, index + 0.5, name, color=INK, fontsize=8, va="center", ha="right")
        axes.text(
            0.99,
            index + 0.5,
            _text(panel, values[-1]),
            color=color,
            fontsize=8 if len(series) > 8 else 11,
            va="center",
            ha="right",
        )


def _lines(axes: Any, panel: dict[str, Any], series: Series) -> None:
    axes.set_facecolor(CARD)
    for index, (name, times, values) in enumerate(series):
        color = _color(panel, values[-1], index, name)
        axes.plot(times, values, color=color, lw=1.5, label=name)
        axes.fill_between(times, values, color=color, alpha=0.1)
    axes.set_ylim(bottom=0)
    axes.tick_params(colors=DIM, labelsize=8, length=0)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda t, _: time.strftime("%H:%M:%S", time.gmtime(t)))
    axes.grid(color="#2c3235", lw=0.6)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.46, -0.09), ncol=4, frameon=False, labelcolor=INK,
        fontsize=7 if len(series) > 4 else 8, handlelength=1, columnspacing=1.0,
    )  # fmt: skip
    box = axes.get_position()
    lift = 0.16 + 0.03 * len(series)
    axes.set_position((box.x0, box.y0 + lift * box.height, box.width, (1 - lift) * box.height))


DRAWN_BY = {"stat": _stat, "gauge": _gauge, "piechart": _pie, "bargauge": _bars, "timeseries": _lines}

if __name__ == "__main__":
    main()
