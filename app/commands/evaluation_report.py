"""A report of `encore evaluate`: JSON as it is, or one HTML page that needs nothing else."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.domain.exceptions import InputError

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1b1f24 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .25rem .75rem; text-align: right }
th { border-bottom: 1px solid #c7ccd1 } td:first-child, th:first-child { text-align: left }
pre { background: #f5f6f8; padding: 1rem; overflow: auto } svg text { font: 12px system-ui, sans-serif }
"""
_COLOURS = ("#2457a6", "#c2571a", "#3d8b5f", "#8a4fa3", "#777777")
_SLICE_METRICS = 3
_BAR_HEIGHT, _BAR_WIDTH, _LABEL_WIDTH = 20, 420, 190


def write_report(path: Path, result: Mapping[str, object]) -> None:
    """Write `.json` or `.html`. Raises InputError for another suffix."""
    match path.suffix.lower():
        case ".json":
            text = json.dumps(result, indent=2, default=str, ensure_ascii=False, allow_nan=False)
        case ".html" | ".htm":
            text = page(result)
        case _:
            raise InputError("a report ends in .json or .html", "report")
    path.write_text(text, encoding="utf-8")


def page(result: Mapping[str, object]) -> str:
    """The whole page. Every text that comes from outside is escaped."""
    judged = _mapping(result.get("recommenders"))
    parts = ["<!doctype html><html lang='en'><meta charset='utf-8'><title>Encore: evaluation</title>"]
    parts += [f"<style>{_STYLE}</style><h1>Evaluation</h1>"]
    parts += [_metric_table(judged), *_metric_plots(judged), _slice_table(judged), _list_table(judged)]
    for name in (
        "benchmark",
        "measured",
        "must",
        "data",
        "recipe",
        "selection",
        "fold_in",
        "seconds",
        "peak_megabytes",
    ):
        if name in result:
            shown = json.dumps(result[name], indent=2, default=str, ensure_ascii=False)
            parts.append(f"<h2>{html.escape(name)}</h2><pre>{html.escape(shown)}</pre>")
    return "\n".join(part for part in parts if part)


def _metric_table(judged: Mapping[str, object]) -> str:
    rows = []
    for label, one in judged.items():
        for name, figure in _mapping(_mapping(one).get("metrics")).items():
            found = _mapping(figure)
            rows.append([label, name, *(f"{_number(found.get(key)):.4f}" for key in ("mean", "low", "high"))])
    return _table("Metrics, with 95 % bootstrap intervals", ["recommender", "metric", "mean", "low", "high"], rows)


def _metric_plots(judged: Mapping[str, object]) -> Iterator[str]:
    """One bar per recommender and its interval, for each metric."""
    names = list(_mapping(_mapping(next(iter(judged.values()), {})).get("metrics")))
    for name in names:
        figures = {label: _mapping(_mapping(_mapping(one).get("metrics")).get(name)) for label, one in judged.items()}
        yield f"<h3>{html.escape(name)}</h3>{_bars(figures)}"


def _bars(figures: Mapping[str, Mapping[str, object]]) -> str:
    highest = max((_number(figure.get("high")) for figure in figures.values()), default=0.0) or 1.0
    height = len(figures) * (_BAR_HEIGHT + 8)
    parts = [f"<svg width='{_LABEL_WIDTH + _BAR_WIDTH + 80}' height='{height}' role='img'>"]
    for row, (label, figure) in enumerate(figures.items()):
        mean, low, high = (_number(figure.get(key)) / highest * _BAR_WIDTH for key in ("mean", "low", "high"))
        top, middle = row * (_BAR_HEIGHT + 8), row * (_BAR_HEIGHT + 8) + _BAR_HEIGHT / 2
        colour = _COLOURS[row % len(_COLOURS)]
        parts.append(f"<text x='0' y='{middle + 4}'>{html.escape(label)}</text>")
        parts.append(f"<rect x='{_LABEL_WIDTH}' y='{top}' width='{mean:.1f}' height='{_BAR_HEIGHT}' fill='{colour}'/>")
        ends = f"x1='{_LABEL_WIDTH + low:.1f}' x2='{_LABEL_WIDTH + high:.1f}' y1='{middle}' y2='{middle}'"
        parts.append(f"<line {ends} stroke='#1b1f24' stroke-width='2'/>")
        parts.append(
            f"<text x='{_LABEL_WIDTH + high + 8:.1f}' y='{middle + 4}'>{_number(figure.get('mean')):.4f}</text>"
        )
    return "".join([*parts, "</svg>"])


def _slice_table(judged: Mapping[str, object]) -> str:
    rows = []
    for label, one in judged.items():
        for name, found in _mapping(_mapping(one).get("slices")).items():
            users, figures = _number(_mapping(found).get("users")), _mapping(_mapping(found).get("metrics"))
            for metric, figure in list(figures.items())[:_SLICE_METRICS]:
                ends = (f"{_number(_mapping(figure).get(key)):.4f}" for key in ("mean", "low", "high"))
                rows.append([label, name, f"{users:.0f}", metric, *ends])
    columns = ["recommender", "slice", "users", "metric", "mean", "low", "high"]
    return _table("Slices, with 95 % bootstrap intervals", columns, rows)


def _list_table(judged: Mapping[str, object]) -> str:
    rows = []
    for label, one in judged.items():
        for name, value in _mapping(_mapping(one).get("lists")).items():
            rows.append([label, name, f"{_number(value):.4f}"])
    return _table("What the lists are like", ["recommender", "figure", "value"], rows)


def _table(title: str, columns: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>{html.escape(title)}</h2><table><tr>{head}</tr>{body}</table>"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
