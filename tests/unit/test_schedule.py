"""When faces are looked for: on frames whose costs are made up."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edgeharfer.runtime.schedule import MAX_INTERVAL_S, MAX_LOAD, TRACKING_FPS, LiveSchedule, SamplingSchedule

FPS = 30


def play(
    schedule: LiveSchedule, seconds: float, *, look_s: float, rest_s: float, start_s: float = 0.0
) -> list[float]:
    """Frames at 30 a second, each with so much work; the times of the looks."""
    looks = []
    for number in range(round(seconds * FPS)):
        pts_s = start_s + number / FPS
        if schedule.due(pts_s, rest_s):
            schedule.record_detection(pts_s, look_s)
            looks.append(pts_s)
        schedule.record_frame(pts_s, rest_s)
    return looks


def test_while_there_is_time_looks_come_as_wanted() -> None:
    schedule = LiveSchedule(0.1)
    schedule.set_real_time(None)
    looks = play(schedule, 10, look_s=0.004, rest_s=0.002)
    assert len(looks) == 100
    assert schedule.interval_s == 0.1


def test_faces_that_keep_still_are_looked_at_half_as_often() -> None:
    schedule = LiveSchedule(0.1)
    schedule.record_detection(0.0, 0.004, faces_still=True)
    assert not schedule.due(0.1, 0.0)
    assert schedule.due(0.2, 0.0)
    schedule.record_detection(0.2, 0.004)
    assert schedule.due(0.3, 0.0), "they move again"
    schedule.record_detection(0.3, 0.004, faces_still=True)
    schedule.forget_faces()
    assert schedule.due(0.33, 0.0), "another scene"


def test_every_frame_is_every_frame_for_faces_that_keep_still() -> None:
    schedule = LiveSchedule(0.0)
    schedule.record_detection(0.0, 0.004, faces_still=True)
    assert schedule.due(1 / FPS, 0.0)


def test_under_load_calm_costs_no_further_look() -> None:
    """The load's interval is longer than that of calm faces, and stands as it is."""
    schedule = LiveSchedule(0.1)
    schedule.set_real_time(None)
    play(schedule, 20, look_s=0.05, rest_s=1.5 / FPS)
    schedule.record_detection(20.0, 0.05, faces_still=True)
    assert schedule.interval_s == MAX_INTERVAL_S
    assert not schedule.due(20.9, 0.0)
    assert schedule.due(21.0, 0.0)


def test_a_file_read_at_full_speed_is_never_looked_at_less() -> None:
    assert len(play(LiveSchedule(0.1), 10, look_s=0.5, rest_s=0.5)) == 100


def test_every_frame_where_that_is_wanted() -> None:
    assert len(play(LiveSchedule(0.0), 2, look_s=0.0, rest_s=0.0)) == 2 * FPS


def test_under_load_looks_get_what_the_rest_leaves() -> None:
    schedule = LiveSchedule(0.1)
    schedule.set_real_time(None)
    rest_s = 0.6 / FPS  # 60 % of the time
    looks = play(schedule, 30, look_s=0.05, rest_s=rest_s)
    late = [b - a for a, b in pairwise(looks) if a > 10]
    wanted = 0.05 / (MAX_LOAD - 0.6)
    assert sum(late) / len(late) == pytest.approx(wanted, rel=0.2)
    assert max(late) - min(late) <= 1 / FPS + 1e-9, "it swings"


def test_when_nothing_is_left_faces_are_still_looked_for() -> None:
    schedule = LiveSchedule(0.1)
    schedule.set_real_time(None)
    looks = play(schedule, 30, look_s=0.05, rest_s=1.5 / FPS)
    assert looks[-1] - looks[-2] == pytest.approx(MAX_INTERVAL_S, abs=1 / FPS)


def test_it_recovers_when_the_load_is_gone() -> None:
    schedule = LiveSchedule(0.1)
    schedule.set_real_time(None)
    play(schedule, 20, look_s=0.05, rest_s=1.5 / FPS)
    assert schedule.interval_s == MAX_INTERVAL_S
    play(schedule, 20, look_s=0.004, rest_s=0.002, start_s=20)
    assert schedule.interval_s == 0.1


def test_a_look_that_would_miss_the_deadline_waits_for_a_frame_with_less_to_do() -> None:
    schedule = LiveSchedule(0.1)
    schedule.set_real_time(0.030)
    assert schedule.due(0.0, 0.0)
    schedule.record_detection(0.0, 0.020)
    assert not schedule.due(0.1, 0.015), "15 ms old, and a look takes 20"
    assert schedule.due(0.133, 0.005)


def test_a_look_does_not_wait_for_ever() -> None:
    schedule = LiveSchedule(0.1)
    schedule.set_real_time(0.030)
    schedule.record_detection(0.0, 0.050)
    assert not schedule.due(0.19, 0.0)
    assert schedule.due(0.2, 0.0)


def test_a_jump_back_in_time_is_a_new_start() -> None:
    schedule = LiveSchedule(0.1)
    schedule.record_detection(5.0, 0.001)
    assert schedule.due(1.0, 0.0)
    assert not schedule.due(5.05, 0.0)


def test_forgetting_and_another_source_are_new_starts() -> None:
    schedule = LiveSchedule(0.1)
    schedule.record_detection(5.0, 0.001)
    schedule.forget_faces()
    assert schedule.due(5.01, 0.0)
    schedule.set_real_time(None)
    play(schedule, 20, look_s=0.05, rest_s=1.5 / FPS, start_s=6)
    schedule.reset()
    assert schedule.interval_s == 0.1


def test_samples_come_at_their_rate_and_looks_at_eight_a_second_or_more() -> None:
    for fps, looks in ((0.5, 8), (4.0, 8), (20.0, 20)):
        schedule = SamplingSchedule(fps)
        for _ in range(2):  # a second source begins at zero again
            due = [(schedule.due(n / 60, 0.0), schedule.sampled) for n in range(240)]
            assert sum(look for look, _ in due) == 4 * looks == 4 * max(fps, TRACKING_FPS)
            assert sum(sample for _, sample in due) == 4 * fps
            assert all(look for look, sample in due if sample)
            schedule.reset()


def test_a_sample_reads_all_faces_and_a_cut_does_not_move_it() -> None:
    schedule = SamplingSchedule(4.0)
    assert schedule.faces_at_once(30, new=0) == 30
    assert schedule.due(0.0, 0.0)
    schedule.forget_faces()
    assert not schedule.due(0.1, 0.0) and not schedule.sampled
