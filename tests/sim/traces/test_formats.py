"""Published formats are read as their descriptions say, and broken files are refused by line."""

import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kubelib.sim.cell import Job, Machines
from kubelib.sim.traces import google2011, google2019, openb, swf
from kubelib.sim.traces.formats import FORMATS, possible
from kubelib.sim.traces.schema import TraceError, read_cell, read_day
from reference_cluster.cli.simulate import simulate

SAMPLES = Path(__file__).parent / "samples"


def test_the_trace_of_2011() -> None:
    trace = google2011.read(sorted((SAMPLES / "google2011").glob("*.csv")))
    # the end of the trace is at second 1,000
    assert list(trace.day.prefill) == [Job(0.0, 1, 1000.0, 0.0625, 0.0318, 9)]
    batch = list(trace.day.batch)
    # a task that was evicted ran again, for longer: 60 s and 140 s are the longest runs
    assert batch == [Job(0.0, 2, 100.0, 0.025, 0.0159, 2, "kH5-z-x>3")]
    (service,) = trace.day.service
    assert service == Job(100.0, 1, 895.0, 0.25, 0.125, 10, "wN!=Q2x--x,!rs")
    assert trace.left_out == {"jobs that never ran": 1, "jobs without a request": 1}
    assert trace.cell
    assert set(trace.cell.machines) == {
        Machines(2, 0.5, 0.2493, {"kH5-z-x": "4"}),
        Machines(1, 1.0, 1.0, {"kH5-z-x": "8", "wN": "A1"}),
    }


def test_a_task_of_google_s_costs_some_bytes_however_many_events_it_has(tmp_path: Path) -> None:
    tasks, path = 5_000, tmp_path / "task_events.csv"
    with path.open("w") as file:
        for index in range(tasks):
            for run in range(3):  # it is evicted twice
                at = 600_000_000 + 1_000_000 * (index % 50 + 100 * run)
                file.write(f"{at},,7,{index},,0,u,0,0,0.5,0.25,0,0\n{at},,7,{index},3,1,u,0,0,0.5,0.25,0,0\n")
                file.write(f"{at + (run + 1) * 10_000_000},,7,{index},3,2,u,0,0,0.5,0.25,0,0\n")
    tracemalloc.start()
    try:
        (job,) = google2011.read([path]).day.batch
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert job == Job(0.0, tasks, 30.0, 0.5, 0.25)
    assert peak < 60 * tasks + 200_000


def test_the_traces_of_2019() -> None:
    trace = google2019.read(sorted((SAMPLES / "google2019").iterdir()))
    assert list(trace.day.prefill) == [Job(0.0, 1, 320.0, 0.02, 0.01, 200)]
    assert list(trace.day.batch) == [
        Job(10.0, 1, 300.0, 0.004, 0.002, 103, "Ao-x>6,zone"),
        Job(100.0, 2, 70.0, 0.02, 0.02, 25),
    ]
    assert list(trace.day.service) == [Job(30.0, 1, 280.0, 0.1, 0.05, 360)]
    assert trace.left_out == {"events of alloc sets": 1}
    assert trace.cell
    assert trace.cell.machines == (Machines(2, 0.5, 0.25), Machines(1, 1.0, 0.5))


def test_jobs_that_no_machine_could_take_are_left_out_and_counted() -> None:
    trace = possible(google2019.read(sorted((SAMPLES / "google2019").iterdir())))
    assert [job.submit for job in trace.day.batch] == [100.0]
    assert trace.left_out["jobs that no machine could take"] == 1
    assert len(trace.day.service) == 1


def test_openb() -> None:
    trace = openb.read([SAMPLES / "openb_node_list.csv", SAMPLES / "openb_pod_list.csv"])
    assert list(trace.day.service) == [
        Job(0.0, 1, 4000.0, 12.0, 16.0, 9, "", {"gpu": 1.0}),
        Job(200.0, 1, 700.0, 16.0, 32.0, 9, "model in (V100M16,V100M32)", {"gpu": 1.0}),
    ]
    assert list(trace.day.batch) == [
        Job(100.0, 1, 250.0, 4.0, 15.0, 0, "", {"gpu": 0.22}),
        Job(300.0, 1, 190.0, 8.0, 8.0, 0),
    ]
    assert trace.left_out == {"pods that never ran": 1}
    assert trace.cell
    assert trace.cell.machines == (
        Machines(1, 32.0, 256.0),
        Machines(2, 64.0, 256.0, {"model": "P100"}, {"gpu": 2.0}),
        Machines(1, 96.0, 768.0, {"model": "V100M32"}, {"gpu": 8.0}),
    )


def test_the_standard_workload_format() -> None:
    trace = swf.read([SAMPLES / "log.swf"])
    assert list(trace.day.batch) == [
        Job(0.0, 4, 100.0, 1.0, 2048 / 1024**2),
        Job(10.0, 8, 50.0, 1.0, 0.5),
        Job(30.0, 2, 60.0, 1.0, 1.0),
        Job(40.0, 4, 90.0, 1.0, 1.0),
    ]
    assert trace.left_out == {"jobs that never ran": 1, "lines for parts of jobs": 2}
    assert trace.cell
    assert trace.cell.machines == (Machines(16, 4.0, 4.0),)


FILES: dict[str, list[str]] = {
    "google-2011": ["google2011/task_events-part-00000.csv", "google2011/task_constraints-part-00000.csv", "google2011/machine_events.csv", "google2011/machine_attributes.csv"],
    "google-2019": ["google2019/instance_events-000000000000.json", "google2019/instance_events-000000000001.csv", "google2019/machine_events.csv"],
    "openb": ["openb_node_list.csv", "openb_pod_list.csv"],
    "swf": ["log.swf"],
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_a_trace_that_runs(name: str, tmp_path: Path) -> None:
    files = [str(SAMPLES / file) for file in FILES[name]]
    out, machines = tmp_path / "trace.csv", tmp_path / "machines.csv"
    arguments = ["trace", "convert", "--format", name, *files, "--out", str(out), "--machines", str(machines)]
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 0, result.output
    assert f"are in {machines}." in result.output
    read = FORMATS[name]([Path(file) for file in files])
    day = read_day(out)
    for kind in ("prefill", "batch", "service"):
        assert list(getattr(day, kind)) == list(getattr(possible(read).day, kind))
    assert read_cell(machines) == read.cell
    sweep = tmp_path / "sweep.toml"
    sweep.write_text(
        'trace = "trace.csv"\ncell = { file = "machines.csv" }\n'
        "[sweep]\narchitecture = ['multi-path', 'shared-state', 'two-level']\nhorizon = 5000\n"
    )
    result = CliRunner().invoke(simulate, ["cell", str(sweep), "--processes", "1"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", FORMATS)
def test_compressed_files_are_read_too(name: str, tmp_path: Path) -> None:
    paths = []
    for file in FILES[name]:
        path = tmp_path / f"{Path(file).name}.gz"
        path.write_bytes(gzip.compress((SAMPLES / file).read_bytes()))
        paths.append(path)
    plain = FORMATS[name]([SAMPLES / file for file in FILES[name]])
    packed = FORMATS[name](paths)
    assert list(packed.day.batch) == list(plain.day.batch)
    assert packed.cell == plain.cell


BROKEN: list[tuple[str, str, bytes | None, str]] = [
    ("google-2011", "task_events.csv", None, "cannot be read: No such file"),
    ("google-2011", "task_events.csv", b"", "No job of the trace ever ran."),
    ("google-2011", "task_events.csv", b"1,2,3\n", "Line 1 of "),
    ("google-2011", "task_events.csv", b"x,,1,0,,0,u,0,0,0.1,0.1,0,0\n", "has 'x' where a whole number belongs"),
    ("google-2011", "task_events.csv", b"1,,1,0,,9,u,0,0,0.1,0.1,0,0\n", "an event of type 9"),
    ("google-2011", "task_events.csv", b"1,,1,0,,0,u,0,0,nan,0.1,0,0\n", "has 'nan' where a number belongs"),
    ("google-2011", "task_events.csv", b"1,,1,0,,0,u,0,0,-1,0.1,0,0\n", "has '-1' where a number belongs"),
    ("google-2011", "task_events.csv", b"1,,1,-1,,0,u,0,0,0.1,0.1,0,0\n", "cannot be right: there is no task -1 of a job"),
    ("google-2011", "task_events.csv", b"1,,1,99999999999,,0,u,0,0,0.1,0.1,0,0\n", "there is no task 99999999999"),
    ("google-2011", "task_events.csv", b"\xff\xfe", "is broken"),
    ("google-2011", "other.csv", b"", "is none of the tables task_events"),
    ("google-2011", "machine_events.csv", b"", "needs its task_events"),
    ("google-2011", "task_events.csv.gz", b"no gzip", "cannot be read: Not a gzipped file"),
    ("google-2011", "task_events.csv.gz", gzip.compress(b"1," * 9999, mtime=0)[:40], "is broken: it ends early"),
    ("google-2019", "instance_events.json", b"{", "Line 1 of "),
    ("google-2019", "instance_events.json", b"[]", "is no JSON object"),
    ("google-2019", "instance_events.json", b'{"time": 1}', "is no instance event: it has no type"),
    ("google-2019", "instance_events.json", b'{"time": 1, "type": 44}', "44 is none of SUBMIT"),
    ("google-2019", "instance_events.json", b'{"time": 1, "type": 3, "collection_id": 1, "instance_index": -2}', "is no instance event: there is no task -2 of a job."),
    ("google-2019", "instance_events.csv", b"time,type\n1\n", "has 1 fields, but there are 2 columns"),
    ("google-2019", "machine_events.json", b"", "need their instance_events"),
    ("openb", "pods.csv", b"", "its first line must name the columns"),
    ("openb", "pods.csv", b"name,cpu_milli\n", "has no rows"),
    ("openb", "pods.csv", b"name,cpu_milli\na,1\n", "there is no column scheduled_time"),
    ("openb", "nodes.csv", b"sn,cpu_milli,memory_mib,gpu,model\na,0,1,0,\n", "cpu_milli is '0', not a number above 0"),
    ("swf", "log.swf", b"", "No job of the log ran."),
    ("swf", "log.swf", b"1 2 3\n", "Line 1 of "),
    ("swf", "log.swf", b"a " * 18, "has something else than numbers"),
    ("swf", "log.swf", b"nan " * 18, "has something else than finite numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "content", "says"), BROKEN)
def test_broken_files_are_refused_in_one_sentence(
    tmp_path: Path, name: str, file: str, content: bytes | None, says: str
) -> None:
    path = tmp_path / file
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TraceError) as caught:
        FORMATS[name]([path])
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert message.endswith(".")


HEADER = "workload,submit,tasks,duration,cpu,memory"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty: its first line must name the columns."),
        (HEADER, "has no jobs."),
        ("workload,submit\nbatch,0", "Line 2 of .*: there is no column tasks."),
        (f"{HEADER}\nbatch,0,1,1,nan,1", "Line 2 of .*: cpu is 'nan', not a number above 0."),
        (f"{HEADER}\nbatch,0,1,1,1,inf", "memory is 'inf'"),
        (f"{HEADER}\nbatch,-1,1,1,1,1", "submit is '-1', not a number from 0."),
        (f"{HEADER}\nbatch,0,1.5,1,1,1", "tasks is '1.5', not a whole number from 1."),
        (f"{HEADER}\nbatch,0,0,1,1,1", "tasks is '0', not a whole number from 1."),
        (f"{HEADER}\nbatch,0,{10**12},1,1,1", "tasks is '1000000000000', further from 0 than 10,000,000."),
        (f"{HEADER},priority\nbatch,0,1,1,1,1,{-(10**10)}", "priority is '-10000000000', further from 0"),
        (f"{HEADER}\nbatch,0,1,,1,1", "duration is ''"),
        (f"{HEADER}\nbatch,0,1,1,1", "Line 2 of .* has 5 fields, but there are 6 columns."),
        (f"{HEADER}\nother,0,1,1,1,1", "workload is 'other', none of prefill, batch, service."),
        (f"{HEADER},constraint\nbatch,0,1,1,1,1,a in (", "constraint 'a in \\(' is no label selector"),
        (f"{HEADER},priority\nbatch,0,1,1,1,1,high", "priority is 'high', not a whole number."),
        (f"{HEADER},resources\nbatch,0,1,1,1,1,gpu=-1", "resources has gpu=-1, which is no amount"),
        (f"{HEADER},resources\nbatch,0,1,1,1,1,gpu", "resources has 'gpu', which is no key=value"),
        (f'{HEADER}\n"batch,0', "is not CSV: unexpected end of data."),
    ],
)
def test_broken_traces_are_refused_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=says) as caught:
        read_day(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("count,cpu,memory\n", "has no machines"),
        ("count,cpu,memory\n0,1,1\n", "count is '0'"),
        ("count,cpu,memory,resources\n1,1,1,cpu=2\n", "resources has cpu=2, which is no amount of a further"),
        ("count,cpu,memory,labels\n1,1,1,x\n", "labels has 'x', which is no key=value"),
    ],
)
def test_broken_machines_are_refused_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "machines.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=says):
        read_cell(path)


def test_rows_may_come_in_any_order_and_columns_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("memory,cpu,duration,tasks,submit,workload\n1,0.5,60,2,9,batch\n1,0.5,60,1,3,batch\n")
    assert list(read_day(path).batch) == [Job(3.0, 1, 60.0, 0.5, 1.0), Job(9.0, 2, 60.0, 0.5, 1.0)]


def generated(directory: Path, *more: str) -> Any:
    arguments = [
        "trace",
        "generate",
        "--count",
        "50",
        "--hours",
        "0.25",
        "--load",
        "0.02",
        "--prefill",
        "0.3",
        *more,
    ]
    out = [str(directory / "trace.csv"), "--machines", str(directory / "machines.csv")]
    return CliRunner().invoke(simulate, [*arguments, "--out", *out])


def test_the_sample_is_what_the_generator_makes(tmp_path: Path) -> None:
    assert generated(tmp_path).exit_code == 0
    assert (tmp_path / "trace.csv").read_bytes() == (SAMPLES / "mixed.csv").read_bytes()
    assert (tmp_path / "machines.csv").read_bytes() == (SAMPLES / "mixed-machines.csv").read_bytes()


def test_traces_in_parquet_say_the_same(tmp_path: Path) -> None:
    from kubelib.sim.traces.schema import write_day

    day = read_day(SAMPLES / "mixed.csv")
    write_day(tmp_path / "trace.parquet", day)
    again = read_day(tmp_path / "trace.parquet")
    assert list(again.batch) == list(day.batch)
    assert list(again.prefill) == list(day.prefill)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(TraceError, match=r"broken\.parquet cannot be read"):
        read_day(tmp_path / "broken.parquet")


def test_a_share_of_the_generated_jobs_is_choosy_and_all_can_run() -> None:
    from kubelib.sim.cell import Architecture, Setup
    from kubelib.sim.traces.synthetic import constrained_day, mixed_cell

    cell = mixed_cell(500)
    day = constrained_day(cell, load=0.5, horizon=7_200.0, prefill=0.0, share=0.5)
    choosy = [bool(text) for text in day.batch.constraint]
    assert 0.35 < sum(choosy) / len(choosy) < 0.6
    # what no machine could take would be refused here
    Setup(cell, (day.batch, day.service), Architecture.monolithic(), horizon=7_200.0)
    plain = constrained_day(cell, load=0.5, horizon=7_200.0, prefill=0.0, share=0.0)
    assert not any(plain.batch.constraint)
    assert (plain.batch.submit == day.batch.submit).all()
    with pytest.raises(ValueError, match=r"A share of 2 of jobs"):
        constrained_day(cell, share=2)
    with pytest.raises(ValueError, match="A mixed cell of 10 machines"):
        mixed_cell(10)
