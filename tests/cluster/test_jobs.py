"""Job scripts as text, for every batch scheduler; what the lines mean is in each scheduler's own manual."""

import random
import re
import subprocess
from pathlib import Path

import pytest

from hsi_dask.cluster import ClusterConfig
from hsi_dask.cluster.jobs import make_job
from hsi_dask.cluster.queue import _parse_line, job_states, last_log_line
from hsi_dask.cluster.submit import write_scripts
from hsi_dask.errors import ClusterError, ConfigError, HsiDaskError

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SIZE = {"cores": 4, "memory": "8GiB", "walltime": "04:00:00", "queue": "long"}
# memory: 8 GiB, 10 % and 200 MiB = 9212 MiB
HEADERS = {
    "slurm": ["#SBATCH -p long", "#SBATCH --cpus-per-task=4", "#SBATCH --mem=9212M", "#SBATCH -t 04:00:00"],
    "pbs": ["#PBS -q long", "#PBS -l select=1:ncpus=4:mem=9212mb", "#PBS -l walltime=04:00:00"],
    "lsf": ["#BSUB -q long", "#BSUB -n 4", '#BSUB -R "span[hosts=1]"', "#BSUB -M 9658644", "#BSUB -W 04:00"],
    "sge": ["#$ -q long", "#$ -l h_rt=04:00:00", "#$ -S /bin/bash", "#$ -pe smp 4"],
    "htcondor": ["RequestCpus = MY.DaskWorkerCores", "MY.DaskWorkerCores = 4", "MY.DaskWorkerMemory = 9658643252"],
}


@pytest.fixture(params=HEADERS)
def config(request, tmp_path):
    options = SIZE | {"log_directory": str(tmp_path / "logs"), "processes": 1}
    if request.param == "lsf":
        options |= {"walltime": "04:00", "lsf_units": "kb"}
    if request.param == "sge":
        options |= {"job_extra_directives": ["-pe smp 4"]}
    if request.param == "htcondor":
        options = {key: value for key, value in options.items() if key not in ("walltime", "queue")} | {"disk": "2GB"}
    return ClusterConfig(kind=request.param, options=options)


def test_a_worker_job_asks_for_its_size_with_room_for_what_is_not_dasks(config):
    script = make_job(config).job_script()
    for line in HEADERS[config.kind]:
        assert line in script.splitlines()


def test_a_worker_proves_itself_and_its_pages_are_for_its_machine_only(config):
    script = make_job(config).job_script()
    assert "--preload hsi_dask.cluster.worker --dashboard-address 127.0.0.1:0" in script
    assert "--nthreads 4 --memory-limit 8.00GiB" in script
    assert "--death-timeout 60" in script
    for line in ("export HDF5_USE_FILE_LOCKING=FALSE", "export HSI_DASK_EXPECTED="):
        assert line in script


def test_several_processes_share_a_job(config):
    two = config.model_copy(update={"options": config.options | {"processes": 2}})
    assert "--nthreads 2 --memory-limit 4.00GiB --nworkers 2" in make_job(two).job_script()


@pytest.mark.parametrize("array", [None, 3])
def test_a_submitted_job_is_a_shell_script_that_queues_up_again(config, array, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scripts = write_scripts(config, ["tiles", "--out", "a run"], "a run", array=array)
    assert len(scripts) == (array if array and config.kind != "slurm" else 1)
    for number, script in enumerate(scripts, 1):
        shell = script.path.with_suffix(".sh")
        subprocess.run(["bash", "-n", shell], check=True)
        text = shell.read_text()
        assert "hsi_dask run tiles --out 'a run'" in text
        again = {"slurm": "scontrol requeue", "pbs": "qsub -W depend=afterany:", "lsf": "bsub -w", "sge": "exit 99"}
        assert again.get(config.kind, "exit 138") in text
        if array:
            assert "export DASK_NUM_WORKERS=4" in text
            assert f"--part {number}/3 &" in text or '--part "$SLURM_ARRAY_TASK_ID/3" &' in text
    if config.kind == "slurm":
        assert "#SBATCH --signal=B:USR1@300" in text
        assert ("#SBATCH --array=1-3" in text) == bool(array)
    elif config.kind != "htcondor":
        assert "sleep 14100 && kill -USR1 $$ &" in text  # 300 s before the wall time


def test_scripts_have_names_that_nobody_can_expect_and_are_their_users_alone(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (write_scripts(config, ["--out", "run"], "run")[0].path for _ in range(2))
    assert first.stem != second.stem
    job = make_job(config)
    with job.job_file() as one, job.job_file() as other:
        assert one != other
        assert Path(one).read_text() == job.job_script()
        found = [first, Path(one), *first.parent.iterdir()]
    assert not Path(one).exists()
    assert not any(path.stat().st_mode & 0o077 for path in found if path.exists())
    assert first.parent.stat().st_mode & 0o777 == 0o700


def test_a_log_folder_that_others_can_write_to_is_refused(config, tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs").chmod(0o777)
    for use in (make_job, lambda config: write_scripts(config, ["--out", "run"], "run")):
        with pytest.raises(ConfigError, match=r"logs can be written by others \(mode 0777\); chmod go-w it, or set"):
            use(config)


def test_a_script_that_is_warned_stops_the_run_in_order_and_queues_up_again(tmp_path, monkeypatch):
    """The script itself, with a Python that tells of its signals and a qsub that tells of its arguments."""
    monkeypatch.chdir(tmp_path)
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/bash\nmkdir -p run/records; touch started run/records/$RANDOM.json\n"
        "trap 'sleep 0.3; exit 138' USR1\nfor i in {1..100}; do sleep 0.1; done\n"
    )
    (tmp_path / "qsub").write_text('#!/bin/bash\necho "$@"\n')
    for path in (python, tmp_path / "qsub"):
        path.chmod(0o755)
    config = ClusterConfig(kind="pbs", options={"cores": 1, "memory": "1GB", "python": str(python)})
    (script,) = write_scripts(config, ["--out", "run"], "run")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PBS_JOBID": "7.head"}
    running = subprocess.Popen(["bash", script.path], env=environment, stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "started").exists():
        assert running.poll() is None
    running.send_signal(10)
    out, _ = running.communicate(timeout=20)
    assert out.split() == ["-W", "depend=afterany:7.head", str(script.path)]


@pytest.mark.parametrize(
    "path", sorted(p for p in WORKFLOWS.iterdir() if p.suffix in (".sh", ".sbatch")), ids=lambda p: p.name
)
def test_a_workflow_for_clusters_is_a_shell_script_of_commands_that_exist(path):
    subprocess.run(["bash", "-n", path], check=True)
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    verbs = re.findall(r"hsi-dask (\w+)", "\n".join(lines))
    assert verbs
    assert set(verbs) <= {"cluster", "run", "submit", "verify"}


def test_only_a_batch_scheduler_has_jobs_to_submit():
    with pytest.raises(ConfigError, match="kind local has no jobs to submit"):
        write_scripts(ClusterConfig(), [], "run")


# ------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cores": 2}, "options.memory is missing; it must be the memory of all processes of a job, such as 16GiB"),
        ({**SIZE, "memory": "much"}, "options.memory is 'much'; it must be the memory of all processes of a job"),
        ({**SIZE, "walltime": 14400}, 'options.walltime is 14400; it must be text in quotes, such as "04:00:00"'),
        ({**SIZE, "processes": 5}, "options.processes is 5, more than options.cores, 4"),
        (
            {**SIZE, "env_extra": []},
            "options.env_extra is deprecated by dask-jobqueue; write options.job_script_prologue",
        ),
        ({**SIZE, "header_skip": []}, "write options.job_directives_skip"),
        ({**SIZE, "extra": []}, "write options.worker_extra_args"),
        ({**SIZE, "job_extra": []}, "write options.job_extra_directives"),
        ({**SIZE, "project": "x"}, "options.project is deprecated by dask-jobqueue; write options.account"),
        ({**SIZE, "scheduler_options": 3}, "options.scheduler_options is 3; it must be a mapping"),
        ({**SIZE, "walltime": ["x" * 9999]}, "options.walltime is ["),
    ],
)
def test_a_wrong_option_is_a_sentence_before_anything_is_imported(options, sentence):
    with pytest.raises(ConfigError) as refused:
        ClusterConfig(kind="slurm", options=options)
    assert sentence in str(refused.value)


def test_an_option_that_the_class_does_not_know_is_a_sentence():
    with pytest.raises(ConfigError, match=r"unknown key options\.que; did you mean options\.queue\?"):
        make_job(ClusterConfig(kind="slurm", options=SIZE | {"que": "x"}))


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("slurm", {"scheduler_options": {"dashboard_address": ":::8787"}}, "a page for everybody on the network"),
        ("slurm", {"job_extra_directives": {"a": "b"}}, "must be a list of lines with kind slurm"),
        ("htcondor", {"disk": "1GB", "job_extra_directives": ["a"]}, "must be a mapping with kind htcondor"),
    ],
)
def test_a_value_that_a_kind_cannot_have_is_a_sentence(kind, options, sentence, tmp_path):
    options = {"cores": 1, "memory": "1GB", "log_directory": str(tmp_path / "logs")} | options
    with pytest.raises(ConfigError, match=sentence):
        make_job(ClusterConfig(kind=kind, options=options))


def test_keys_for_batch_schedulers_are_refused_elsewhere():
    with pytest.raises(ConfigError, match="jobs is for batch schedulers"):
        ClusterConfig(kind="local", jobs=2)


def test_two_dollars_leave_a_variable_to_the_shell_of_the_job():
    config = ClusterConfig(kind="slurm", options=SIZE | {"local_directory": "$$SLURM_TMPDIR/x"})
    assert "--local-directory $SLURM_TMPDIR/x" in make_job(config).job_script()


def test_a_machine_without_the_command_is_a_sentence(tmp_path, monkeypatch):
    from hsi_dask.cluster import connect

    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ClusterError, match="bsub is not on this machine"),
        connect(ClusterConfig(kind="lsf", options={"cores": 1, "memory": "1GB", "log_directory": str(tmp_path)})),
    ):
        pass


# ------------------------------------------------------------------------------------------------ queues


@pytest.mark.parametrize(
    ("kind", "line", "number", "running", "reason"),
    [
        ("slurm", "17|RUNNING|None", "17", True, "running"),
        ("slurm", "17|PENDING|Resources", "17", False, "Resources"),
        ("pbs", "17.head     hsi-dask   me    0 Q long", "17", False, "queued"),
        ("lsf", "17|PEND|Not enough hosts;", "17", False, "Not enough hosts;"),
        ("lsf", "17|RUN| - ", "17", True, ""),
        ("sge", "  17 0.5 hsi-dask me Eqw 11/22/2026 16:00:00 1", "17", False, "in an error state"),
        ("sge", "  17 0.5 hsi-dask me r 11/22/2026 16:00:00 all.q@node 1", "17", True, "waiting"),
        ("sge", "  17 0.5 hsi-dask me Rr 11/22/2026 16:00:00 all.q@node 1", "17", True, "waiting"),
        ("sge", "  17 0.5 hsi-dask me S 11/22/2026 16:00:00 all.q@node 1", "17", False, "suspended"),
        ("htcondor", "17,0,5,disk, too small", "17.0", False, "held: disk, too small"),
        ("htcondor", "17,0,2,undefined", "17.0", True, "idle"),
    ],
)
def test_a_line_of_a_queue_is_a_job_and_how_it_stands(kind, line, number, running, reason):
    job, state = _parse_line(kind, line)
    assert (job, state.running) == (number, running)
    if not running:
        assert state.reason == reason


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("pbs", "Job id   Name  User  Time Use S Queue"),
        ("pbs", "------- ------ ------ ---- - -----"),
        ("pbs", "17.head hsi-dask me 0 F long"),
        ("lsf", "17|EXIT|-"),
        ("sge", "job-ID  prior   name  user state submit/start at queue slots"),
        ("sge", "  17 0.5 hsi-dask me dr 11/22/2026 16:00:00 all.q@node 1"),
        ("htcondor", "17,0,4,undefined"),
    ],
)
def test_headings_and_jobs_that_have_ended_are_not_alive(kind, line):
    assert _parse_line(kind, line) is None


def test_a_scheduler_that_does_not_answer_is_not_one_without_jobs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert job_states("slurm", ["17"]) is None
    (tmp_path / "squeue").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    assert job_states("slurm", ["17"]) is None


def test_grid_engine_is_asked_why_a_job_waits(tmp_path, monkeypatch):
    """The answers are those of a Son of Grid Engine, in part."""
    for name, text in {
        "list": "job-ID  prior   name  user  state submit/start at\n----\n"
        "  36 0.2 hsi-dask root Eqw 11/22/2026 19:56:47  1\n  37 0.2 hsi-dask root r   11/22/2026 19:56:47 q@n 1\n"
        "  38 0.5 hsi-dask root qw  11/22/2026 19:56:47  9\n",
        "jobs": "====\njob_number:                 36\n"
        "error reason          1:      11/22/2026 19:56:47 [0:8184]: error: can't chdir to /no: No such file\n"
        "scheduling info:            Job is in error state\n====\njob_number:                 38\n"
        'scheduling info:            cannot run in PE "smp" because it only offers 0 slots\n',
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "qstat").write_text(
        f'#!/bin/sh\n[ "$*" = "-j 36,38" ] && exec cat {tmp_path}/jobs\ncat {tmp_path}/list\n'
    )
    (tmp_path / "qstat").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    broken, working, waiting = job_states("sge", ["36", "37", "38"]).values()
    assert working.running
    assert broken.reason == "in an error state: error: can't chdir to /no: No such file"
    assert broken.never_starts
    assert waiting.reason == 'waiting: cannot run in PE "smp" because it only offers 0 slots'
    assert not waiting.never_starts


def test_of_a_log_the_line_counts_that_says_why(tmp_path):
    traceback = "Traceback (most recent call last):\n    raise RuntimeError\nRuntimeError: Nanny failed to start.\n"
    text = f"one\nModuleNotFoundError: No module named 'dask'\n{traceback}bye\n"
    (tmp_path / "hsi-dask-17.err").write_text(text)
    (tmp_path / "hsi-dask-117.err").write_text("killed\n")
    assert last_log_line(str(tmp_path), "17") == "ModuleNotFoundError: No module named 'dask'"
    assert last_log_line(str(tmp_path), "17.head") == "ModuleNotFoundError: No module named 'dask'"
    assert last_log_line(str(tmp_path), "18") == ""


@pytest.mark.parametrize("kind", HEADERS)
def test_the_keys_commented_out_in_a_file_are_known_to_its_class(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "all.yaml").write_text("\n".join(uncommented(WORKFLOWS.parent / f"cluster_configs/{kind}.yaml")))
    config = ClusterConfig.from_yaml(tmp_path / "all.yaml")
    assert {"interface", "local_directory", "python", "job_script_prologue"} <= set(config.options)
    assert "/shared/env/bin/python -m distributed" in make_job(config).job_script()
    assert make_job(config, driver=True)


def uncommented(path):
    """The lines of a cluster file with the keys that are commented out."""
    before, options = path.read_text().split("\noptions:\n")
    lines = [line.replace("#  ", "  ", 1) if line.startswith("#  ") else line for line in options.splitlines()]
    return [line for line in [*before.splitlines(), "options:", *lines] if line and not line.startswith("#")]


VALUES = [
    *("[]", "{}", "null", "1", "-1", "1.5", ".nan", "true", "''", "[1]", "{a: 1}", "{1: 2}", "[[[]]]", "/dev/null"),
    *('"\\e[31m"', "$NOPE", "9999999999999999999999", "a b", "04:00:00", "2019-01-01", "!!bool 3", "&a b", "%s {x}"),
]


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # some values make dask-jobqueue warn
def test_mutated_cluster_files_give_a_job_or_one_sentence(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    lines, draw, refusals = uncommented(WORKFLOWS.parent / f"cluster_configs/{kind}.yaml"), random.Random(1), []
    for _ in range(100):
        mutated = list(lines)
        for at in draw.sample(range(len(lines)), draw.randrange(1, 3)):
            mutated[at] = f"{mutated[at].partition(':')[0]}: {draw.choice(VALUES)}"
        (tmp_path / "cluster.yaml").write_text("\n".join(mutated))
        try:
            make_job(ClusterConfig.from_yaml(tmp_path / "cluster.yaml")).job_script()
        except HsiDaskError as error:
            refusals.append(str(error))
    assert 20 < len(refusals) < 100
    assert all(text.isprintable() and len(text) < 1500 for text in refusals)
