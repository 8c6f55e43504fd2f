from service.bench.split import STAGES, Split


def split(rows: int, runs: int, count: int, ns: int) -> Split:
    stages = {name: {"count": count, "ns": ns} for name in STAGES}
    return Split.of({"inference_count": rows, "execution_count": runs, "inference_stats": stages})


def test_only_what_came_between_two_looks_counts() -> None:
    found = split(100, 20, 60, 90_000_000).since(split(40, 10, 40, 50_000_000))
    assert found.rows_per_run == 6
    assert {found.ms(stage) for stage in STAGES} == {2.0}


def test_windows_and_versions_add_up_by_their_requests() -> None:
    found = split(1, 1, 1, 1_000_000).and_also(split(3, 1, 3, 11_000_000))
    assert (found.rows_per_run, found.ms("queue")) == (2.0, 3.0)


def test_where_nothing_came_there_is_no_mean() -> None:
    nothing = split(5, 5, 5, 5).since(split(5, 5, 5, 5))
    assert nothing.rows_per_run is None
    assert nothing.ms("queue") is None
    assert Split.of({}).ms("queue") is None
