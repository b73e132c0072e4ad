from __future__ import annotations

from collections.abc import Mapping

import pytest

from ranksrgan.pipeline.reproduction.figures import Series, gap_notes, picture_figures, seed_note


def niqe(method: str, seed: int | None, scores: Mapping[str, float | None]) -> Series:
    return Series("Set14", method, "NIQE", seed, scores)


def test_means_are_over_the_images_that_all_methods_have() -> None:
    # The worst image of RankSRGAN has no value: without it RankSRGAN would seem the better one.
    series = [
        niqe("SRGAN", 0, {"a": 3.0, "b": 4.0, "c": 8.0}),
        niqe("SRGAN", 1, {"a": 3.5, "b": 4.5, "c": 8.0}),
        niqe("RankSRGAN", 0, {"a": 4.0, "b": 5.0, "c": None}),
        niqe("RankSRGAN", 1, {"a": 4.0, "b": 5.5, "c": 9.0}),
        niqe("upper bound", None, {"a": 2.0, "b": 3.0, "c": 4.0}),
    ]
    figures = picture_figures(series)
    assert figures["Set14", "SRGAN", "NIQE"].values == (3.5, 4.0)
    assert figures["Set14", "RankSRGAN", "NIQE"].values == (4.5, 4.75)
    bound = figures["Set14", "upper bound", "NIQE"]
    assert (bound.values, bound.fixed, bound.without) == ((2.5,), True, ())
    assert list(gap_notes(series)) == [
        "NIQE has no value for some images. Its means are over those for which all that have any "
        "value have one: Set14 2 of 3 (missing 1 of RankSRGAN, seed 0)."
    ]


def test_a_seed_without_any_value_has_no_figure_and_takes_none_from_others() -> None:
    series = [
        niqe("SRGAN", 0, {"a": 3.0, "b": 4.0}),
        niqe("SRGAN", 1, {"a": None, "b": None}),
        niqe("bicubic", None, {"a": 7.0, "b": 8.0}),
        niqe("never asked", None, {}),
    ]
    figures = picture_figures(series)
    of_srgan = figures["Set14", "SRGAN", "NIQE"]
    assert (of_srgan.values, of_srgan.without, of_srgan.is_whole) == ((3.5,), (1,), False)
    assert figures["Set14", "bicubic", "NIQE"].mean == 7.5
    assert figures["Set14", "never asked", "NIQE"].values == ()
    assert list(seed_note(figures)) == [
        "Seeds without a figure, whose means are of the others: Set14, NIQE of SRGAN (seed 1)."
    ]
    (note,) = gap_notes(series)
    assert note.endswith("have one: Set14 2 of 2 (missing 2 of SRGAN, seed 1).")


@pytest.mark.parametrize(
    ("value", "said"),
    [(4.0, []), (None, ["Set14 1 of 2 (missing 1 of each)."])],
)
def test_an_image_that_is_too_small_is_missing_of_each(
    value: float | None, said: list[str]
) -> None:
    scores = {"a": 3.0, "small": value}
    notes = list(gap_notes([niqe("SRGAN", 0, scores), niqe("ground truth", None, scores)]))
    assert [note.split("have one: ")[1] for note in notes] == said


def test_images_that_no_two_methods_share_make_no_figure() -> None:
    figures = picture_figures(
        [niqe("a", 0, {"x": 1.0, "y": None}), niqe("b", 0, {"x": None, "y": 2})]
    )
    assert [figure.values for figure in figures.values()] == [(), ()]
    assert [figure.without for figure in figures.values()] == [(0,), (0,)]
