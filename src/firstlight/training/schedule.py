"""The learning rate as a function of the step."""

from firstlight.recipe import ScheduleChoice


def learning_rate_factor(choice: ScheduleChoice, step: int, steps: int) -> float:
    """The share of the peak learning rate used at ``step`` of ``steps`` (0 to steps - 1).

    ``one-cycle`` rises linearly to the peak and falls linearly to the end (Smith and Topin 2018,
    without the momentum cycle).
    """
    if not 0 <= step < steps:
        raise ValueError(f"step {step} is outside 0..{steps - 1}")
    if choice.name == "constant":
        return 1.0
    done = step / max(1, steps - 1)
    if done < choice.warmup_fraction:
        rise = done / choice.warmup_fraction
        return choice.start_fraction + (1 - choice.start_fraction) * rise
    fall = (done - choice.warmup_fraction) / max(1e-12, 1 - choice.warmup_fraction)
    return 1 + (choice.final_fraction - 1) * fall
