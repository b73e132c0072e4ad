"""What can be read off: the columns of the tables, and under which names evaluations have them."""

from __future__ import annotations

from ranksrgan.pipeline.reproduction.findings import Column

#: Of pictures, by the name in evaluations. Honesty asks for all of these in every table.
PICTURE_COLUMNS: dict[str, Column] = {
    "psnr": Column("PSNR-Y", True, 2, "dB"),
    "ssim": Column("SSIM", True, 4),
    "niqe": Column("NIQE", False, 3),
    "lpips": Column("LPIPS", False, 4),
}

#: Those that an experiment asks for.
EXTRA_COLUMNS: dict[str, Column] = {"fused": Column("NIQE + 0.4 RMSE", False, 3)}

#: The score of the experiment's judge: a Ranker's scores follow its metric.
JUDGE_COLUMN = Column("Ranker", False, 3)

#: Of Rankers on held-out crops, by the name in `RankEvaluation`.
RANKER_COLUMNS: dict[str, Column] = {
    "srocc": Column("SROCC", True, 4),
    "srocc_per_content": Column("SROCC per content", True, 4),
    "pair_accuracy": Column("pairs in order", True, 4),
    "reversed_accuracy": Column("reversed pairs in order", True, 4),
    "gap": Column("score gap", True, 4),
    "normalised_gap": Column("normalised gap", True, 4),
}

#: Of training steps.
STEP_COLUMNS: dict[str, Column] = {
    "milliseconds": Column("step", False, 1, "ms"),
    "ratio": Column("step / control's", False, 3),
}

#: The groups of rows that are no test set.
RANKER_GROUP = "Rankers, held-out crops"
STEP_GROUP = "Training step"
