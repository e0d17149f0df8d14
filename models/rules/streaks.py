"""Runs of consecutive periods, as (first period, length), and their streaks."""


def with_period(runs: list[tuple[int, int]], period: int) -> list[tuple[int, int]]:
    """The runs, oldest first, with one more period: joined to its neighbours, or on its own."""
    if any(start <= period < start + length for start, length in runs):
        return runs
    start, end = period, period + 1
    apart = []
    for run_start, length in runs:
        if run_start + length == start:
            start = run_start
        elif run_start == end:
            end = run_start + length
        else:
            apart.append((run_start, length))
    return sorted([*apart, (start, end - start)])


def streak_up_to(runs: list[tuple[int, int]], last: int, grace: int) -> int:
    """The periods that count in the longest streak ending with a run: back over at most ``grace`` missed ones."""
    counted, missed = runs[last][1], 0
    for index in range(last - 1, -1, -1):
        start, length = runs[index]
        missed += runs[index + 1][0] - (start + length)
        if missed > grace:
            break
        counted += length
    return counted
