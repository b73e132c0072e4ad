"""Learning rates as a function of the step alone, so that a resumed run has nothing to restore."""

from __future__ import annotations

import math

from ranksrgan.srgan.config import Cosine, MultiStep, Schedule


def learning_rate(schedule: Schedule, base: float, step: int, warmup: int = 0) -> float:
    """The learning rate of a step.

    Args:
        schedule: constant, multistep, or cosine with restarts (Loshchilov and Hutter, 2017).
        base: the learning rate at the start.
        step: counted from 1; the step that is a milestone already has the lower rate.
        warmup: over so many steps the rate rises linearly to the schedule's (Goyal et al., 2017).
    """
    return _scheduled(schedule, base, step) * min(1.0, step / warmup if warmup else 1.0)


def _scheduled(schedule: Schedule, base: float, step: int) -> float:
    match schedule:
        case MultiStep():
            passed = sum(step >= milestone for milestone in schedule.milestones)
            return base * schedule.factor**passed
        case Cosine():
            phase = ((step - 1) % schedule.period) / schedule.period
            swing = (1 + math.cos(math.pi * phase)) / 2
            return schedule.minimum + (base - schedule.minimum) * swing
        case _:
            return base
