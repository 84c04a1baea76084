"""Tasks go to whoever holds least; what a lost worker held comes next."""

from rollout.assignment import Assignment, window


def test_a_window_fills_the_engine_and_keeps_to_the_share() -> None:
    assert window(max_concurrent=64, group_size=6, tasks=1000, workers=2) == 12  # 11 groups hold 66 episodes, and one
    assert window(max_concurrent=64, group_size=6, tasks=10, workers=2) == 5
    assert window(max_concurrent=4, group_size=6, tasks=1000, workers=2) == 2
    assert window(max_concurrent=64, group_size=1, tasks=1, workers=4) == 1
    assert window(max_concurrent=64, group_size=1, tasks=0, workers=4) == 1


def test_the_one_with_least_in_flight_gets_the_next() -> None:
    assignment = Assignment(6, window=2)
    assert [assignment.take([1, 0]) for _ in range(3)] == [(0, 0), (1, 1), (0, 2)]
    assignment.finish(0)
    assignment.finish(2)
    assert assignment.take([0, 1]) == (0, 3)  # 0 held nothing, 1 still has a task
    assert assignment.take([1]) == (1, 4)
    assert assignment.take([1]) is None  # two are its window
    assert assignment.take([]) is None
    assert assignment.take([0, 1]) == (0, 5)
    assert assignment.take([0, 1]) is None
    assert not assignment.done
    for position in (1, 3, 4, 5):
        assignment.finish(position)
    assert assignment.done


def test_lost_tasks_are_the_next_in_their_order_and_only_they() -> None:
    assignment = Assignment(6, window=3)
    taken = [assignment.take([0, 1]) for _ in range(4)]
    assert taken == [(0, 0), (1, 1), (0, 2), (1, 3)]
    assignment.lose([2, 0])
    assert [assignment.take([1]), assignment.take([0]), assignment.take([0])] == [(1, 0), (0, 2), (0, 4)]
    assert assignment.losses == {0: 1, 2: 1}
    assert assignment.losses[1] == 0


def test_no_tasks_are_done_at_once() -> None:
    assignment = Assignment(0, window=1)
    assert assignment.done
    assert assignment.take([0]) is None
