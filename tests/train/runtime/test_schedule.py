"""The learning rate at the ends and in the middle of a schedule, with values worked out by hand."""

import pytest

from linnaea.train.runtime.schedule import rate_at


def test_the_rate_rises_in_equal_steps_and_falls_as_half_a_cosine():
    found = [rate_at(step, steps=110, warm_up=10, peak=2.0, final_share=0.1) for step in (0, 4, 9, 10, 35, 60, 85, 110)]
    # a quarter down the cosine is (1 + 0.70711) / 2 of the way above the end, 0.2
    assert found == pytest.approx([0.2, 1.0, 2.0, 2.0, 1.7363961, 1.1, 0.4636039, 0.2])


def test_without_a_warm_up_the_first_step_has_the_peak_and_without_a_share_the_end_is_nothing():
    assert rate_at(0, steps=4, warm_up=0) == 1.0
    assert [rate_at(step, steps=4, warm_up=0) for step in (2, 4)] == pytest.approx([0.5, 0.0])


def test_a_run_that_is_all_warm_up_ends_at_the_peak():
    assert [rate_at(step, steps=4, warm_up=4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_the_bundled_models_schedules_end_at_a_fiftieth_of_their_peak():
    from linnaea.train.bundled.encoders.optimization import Schedule

    config = Schedule(steps=1000, warm_up=100)
    assert config.rate_at(99) == 1.0
    assert config.rate_at(100) == 1.0
    assert config.rate_at(1000) == pytest.approx(0.02)
    assert config.rate_at(550) == pytest.approx(0.51)
