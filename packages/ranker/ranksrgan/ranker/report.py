"""``ranksrgan-ranker eval --report out.html``: one page that needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import torch

from ranksrgan.contracts import atomic
from ranksrgan.contracts.images import encode_image, from_tensor
from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.ranker.agreement import misplaced
from ranksrgan.ranker.compare import (
    COLUMNS,
    Comparison,
    Judged,
    facts,
    figures,
    level_table,
    number,
    pair_table,
)
from ranksrgan.ranker.plots import histograms, scatter, score_label

#: Contents shown for each scorer, and the largest side of a picture; of a larger image the middle.
WORST = 4
SIDE = 320

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ccc; text-align: right; }
th:first-child, td:first-child { text-align: left; }
.contents { display: flex; flex-wrap: wrap; gap: .6rem; margin: .5rem 0 1.5rem; }
figure { margin: 0; } figcaption { font-size: 14px; }
img { max-width: 100%; display: block; } figure img { image-rendering: pixelated; }
.verdict { font-size: 1.15rem; padding: .6rem 1rem; border-left: 4px solid #2a6; }
.verdict.no { border-color: #c33; }
"""

_NOTES = (
    "Correlations are 1 for perfect agreement. Per content: mean over the contents of Spearman's "
    "correlation among the versions of each. The usual order is the fixed order of the levels that "
    "correlates best with the metric on these very contents; it looks at no image.",
    "Pairs right: share of the pairs of one content that come out in the metric's order. Reversed "
    "right: the same of those pairs alone that contradict the usual order, of which that order has "
    "none right and a coin has half.",
    "E|s1-s2|: mean difference of the scores in a pair, in units of the scores (in places, for the "
    "usual order); normalised: in standard deviations of all scores.",
)


def write_report(path: Path, found: Comparison, source: PairSource) -> None:
    """Write the page, whole or not at all.

    Args:
        path: of the HTML file.
        found: what `compare` returned for ``source``.
        source: read once more for the images that are shown.
    """
    title = f"{', '.join(found.scorers)} against {found.metric}"
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        f"<title>{_say(title)}</title><style>{_STYLE}</style><h1>{_say(title)}</h1>",
        *(_verdict(name, one) for name, one in found.scorers.items()),
        *(_paragraph(fact) for fact in facts(found)),
        _table([["", *COLUMNS], *([name, *figures(row)] for name, row in found.rows)]),
        *(_paragraph(note) for note in _NOTES),
        "<h2>Levels</h2>",
        _paragraph(
            "Mean values over the contents that have the level, best first by the metric, and in "
            "brackets the place by the mean score."
        ),
        _table(level_table(found)),
        "<h2>Pairs of levels</h2>",
        _paragraph("Of each pair the usual order has the first level as the better one."),
        _table(pair_table(found)),
    ]
    worst = {name: worst_contents(one, found.min_gap) for name, one in found.scorers.items()}
    wanted = {place for places in worst.values() for place in places}
    shown = {place: content for place, content in enumerate(source.contents()) if place in wanted}
    for name, one in found.scorers.items():
        parts += [f"<h2>{_say(name)}</h2>", *_details(name, one)]
        if worst[name]:
            parts.append("<h3>Contents ranked worst</h3>")
        parts += [_content(one, place, shown[place]) for place in worst[name]]
    atomic.write_output(path, "\n".join(parts) + "</html>\n")


def worst_contents(one: Judged, min_gap: float = 0.0) -> list[int]:
    """The contents with the largest true differences in wrong order, worst first: see `misplaced`.

    Returns:
        Up to `WORST` places in ``predictions.contents``, none without a wrong pair.
    """
    amounts = misplaced(one.predictions, min_gap=min_gap)
    order = torch.argsort(amounts, descending=True, stable=True)[:WORST].tolist()
    return [place for place in order if amounts[place] > 0]


def _verdict(name: str, one: Judged) -> str:
    """Metric or levels? Nothing where no pair can tell."""
    found = one.evaluation
    ours, usual = found.srocc_per_content, found.usual_srocc_per_content
    if ours is None or usual is None or found.reversed_accuracy is None:
        return ""
    sentence = (
        f"{name} orders the versions of a content {'better' if ours > usual else 'no better'} than "
        f"the best fixed order of the levels ({ours:.3f} against {usual:.3f}), and has "
        f"{found.reversed_accuracy:.0%} of the pairs right that reverse this order."
    )
    good = ours > usual and found.reversed_accuracy > 0.5
    return f'<p class="verdict{"" if good else " no"}">{_say(sentence)}</p>'


def _details(name: str, one: Judged) -> list[str]:
    fit = one.calibration
    shown = [_picture(f"{name}: histograms", histograms(name, one.predictions))]
    if fit is None:
        return shown
    intercept, slope = fit.line
    unit = one.predictions.metric
    calibration = (
        f"{unit} ≈ {intercept:.4g} {'-' if slope < 0 else '+'} {abs(slope):.4g} * "
        f"{score_label(one.predictions)}, with an error of {fit.rmse:.4f} (RMSE); "
        f"{fit.cubic_rmse:.4f} by a polynomial of third order, {fit.spread:.4f} by the mean alone."
    )
    infinite = int(one.predictions.present.sum()) - fit.images
    if infinite:
        calibration += f" Without {infinite} images of an infinite value."
    heading = ["tenth by score", "images", "mean score", "by the line", f"mean {unit}", "spread"]
    tenths = [
        [
            *(str(place), str(tenth.images)),
            *map(number, (tenth.predicted, tenth.line, tenth.truth, tenth.spread)),
        ]
        for place, tenth in enumerate(fit.tenths, start=1)
    ]
    return [
        *shown,
        "<h3>Calibration</h3>",
        _paragraph(calibration),
        _picture(f"{name}: calibration", scatter(name, one.predictions, fit)),
        _table([heading, *tenths]),
    ]


def _content(one: Judged, place: int, content: RankedContent) -> str:
    found = one.predictions
    columns = [found.levels.index(level) for level in content.levels]
    truth, predicted = found.truth[place, columns], found.predicted[place, columns]
    best_first = torch.argsort(truth, descending=found.higher_is_better, stable=True).tolist()
    by_score = torch.argsort(predicted, descending=found.higher_is_better, stable=True).tolist()
    shown = []
    for rank, index in enumerate(best_first, start=1):
        level = content.levels[index]
        caption = (
            f"<b>{rank}. {_say(level)}</b><br>{_say(found.metric)} {number(float(truth[index]))}"
            f"<br>{_say(score_label(found))} {number(float(predicted[index]))} "
            f"(place {by_score.index(index) + 1})"
        )
        picture = _inline(encode_image(from_tensor(_middle(content.images[index]))))
        alt = _say(f"{content.content}: {level}")
        shown.append(
            f'<figure><img alt="{alt}" src="{picture}"><figcaption>{caption}</figcaption></figure>'
        )
    return f'<h4>{_say(content.content)}</h4><div class="contents">{"".join(shown)}</div>'


def _middle(image: torch.Tensor) -> torch.Tensor:
    top, left = (max(0, size - SIDE) // 2 for size in image.shape[-2:])
    return image[:, top : top + SIDE, left : left + SIDE]


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_say(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{_say(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _paragraph(text: str) -> str:
    return f"<p>{_say(text)}</p>"


def _picture(title: str, png: bytes) -> str:
    return f'<img alt="{_say(title)}" src="{_inline(png)}">'


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _say(text: str) -> str:
    return html.escape(text)
