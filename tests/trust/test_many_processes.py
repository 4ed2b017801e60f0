"""Several processes: they learn what one learns, and when one fails all end, soon, with one message."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mgil.engine.training.config import TrainConfig, config_from_dict
from mgil.engine.training.log import read_results
from mgil.engine.training.run import run_train
from mgil.engine.weights.checkpoints import load_checkpoint, save_checkpoint
from mgil.networks.detector import build_model
from tests.engine.tiny import NAMES, PLAIN, RECIPE, TINY, Playground, make_data, write_yaml
from tests.tasks.detect.judging import COLUMNS
from tests.tasks.toy.data import make_colours
from tests.trust.ranks import REPOSITORY, Launcher, Outcome, free_port

MINUTE = 60
PROGRAM = "tests/trust/ranks.py"  # train.py with a fault


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two batches an epoch for three epochs, images decoded by a process of their own."""
    folder = tmp_path_factory.mktemp("ground")
    # pictures of one, two and three objects: unequal batches must weigh as they do in one process
    places = ((8, 16, 12), (2, 2, 10), (20, 4, 9))
    pictures = [[(number % 3, *place) for place in places[: 1 + number % 3]] for number in range(16)]
    changes = {
        "data": str(make_data(folder / "squares", pictures, pictures[:4])),
        "hyp": write_yaml(folder / "plain.yaml", RECIPE | PLAIN),
        "epochs": 3,
        "freeze": (5,),
        "image_weights": True,
        "seed": 5,  # of those with which no half of a batch of the first epoch holds a picture twice
        "cache": "none",
        "workers": 1,
    }
    return vars(Playground(folder / "tiny").config(folder, **changes))


@pytest.fixture(scope="module")
def pair(launcher: Launcher, options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """An undisturbed run of two processes."""
    folder = tmp_path_factory.mktemp("pair")
    outcome = launcher.train(options | {"project": str(folder)})
    assert outcome.codes == [0, 0], outcome.errors
    return folder, outcome


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "weights" / "last.pt").state_dict


def same_run(first: Path, second: Path) -> bool:
    """Whether results and weights are the same bit by bit."""
    weights = weights_of(first), weights_of(second)
    same = all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    return same and (first / "results.csv").read_bytes() == (second / "results.csv").read_bytes()


def test_two_processes_learn_what_one_learns(
    pair: tuple[Path, Outcome], options: dict[str, Any], tmp_path: Path
) -> None:
    """Same global batches, same losses, same weights, up to rounding.

    So although the processes' batches hold unequal numbers of objects: their targets are summed over all. BatchNorm,
    which each process would feed with its own half of the batch, rests in frozen rows; augmentation, which each draws
    for itself, is off. The weights of --image-weights are measured by one process and must reach the other: the second
    epoch's pictures depend on them.
    """
    one = run_train(TrainConfig(**options | {"project": str(tmp_path)}), lambda _: None)
    two = pair[0] / "exp"
    rows = [read_results(run / "results.csv") for run in (one, two)]
    assert len(rows[0]) == len(rows[1]) == 3
    for first, second in zip(*rows, strict=True):
        for column in COLUMNS:
            assert float(second[column]) == pytest.approx(float(first[column]), rel=1e-4, abs=1e-5), column
    weights = weights_of(two)
    for key, value in weights_of(one).items():
        torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.nightly
def test_two_processes_learn_from_a_teacher_what_one_learns(
    launcher: Launcher, options: dict[str, Any], tmp_path: Path
) -> None:
    """Its scores too are divided by what all of them hold."""
    torch.manual_seed(1)
    teacher = build_model(TINY, names=NAMES, imgsz=64)
    with torch.no_grad():  # sure of some places, and of other numbers of them in every picture
        for layer in teacher.head.m:
            layer.weight.mul_(30)
    save_checkpoint(tmp_path / "teacher.pt", teacher, {})
    options = options | {"teacher": str(tmp_path / "teacher.pt"), "image_weights": False, "epochs": 2}
    one = run_train(TrainConfig(**options | {"project": str(tmp_path / "one")}), lambda _: None)
    outcome = launcher.train(options | {"project": str(tmp_path / "two")})
    assert outcome.codes == [0, 0], outcome.errors
    assert outcome.weights[0] == outcome.weights[1] and len(set(outcome.weights[0])) == 2
    rows = [read_results(run / "results.csv") for run in (one, tmp_path / "two" / "exp")]
    for first, second in zip(*rows, strict=True):
        assert float(first["train/teacher_loss"]) > 0.01
        for column in ("train/teacher_loss", *COLUMNS):
            assert float(second[column]) == pytest.approx(float(first[column]), rel=1e-4, abs=1e-5), column
    weights = weights_of(tmp_path / "two" / "exp")
    for key, value in weights_of(one).items():
        torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-5)


def test_one_of_them_talks_validates_and_writes(pair: tuple[Path, Outcome]) -> None:
    folder, outcome = pair
    assert [path.name for path in folder.iterdir()] == ["exp"]
    assert sorted(path.name for path in (folder / "exp" / "weights").iterdir()) == ["best.pt", "last.pt"]
    assert outcome.said[0].count("epoch 2/3") == 1 and outcome.said[0].count("mAP50-95") >= 3
    assert outcome.said[1] == ""
    assert outcome.weights[0] == outcome.weights[1]  # both hold the same weights and momenta after each epoch
    assert len(set(outcome.weights[0])) == 3


def test_a_bad_batch_of_one_process_is_left_out_by_all(
    launcher: Launcher, options: dict[str, Any], pair: tuple[Path, Outcome], tmp_path: Path
) -> None:
    """The main process names the other's images; both hold the same weights from then on."""
    outcome = launcher.train(options | {"project": str(tmp_path)}, "nan")
    assert outcome.codes == [0, 0], outcome.errors
    assert outcome.said[0].count("epoch 1, batch 2: the loss is nan; this step is skipped. Images: ") == 1
    assert outcome.said[0].count("this step is skipped") == 1 and outcome.said[1] == ""
    (line,) = (line for line in outcome.said[0].splitlines() if "skipped" in line)
    assert line.count(".png") == 4  # its half of the batch
    assert outcome.weights[0] == outcome.weights[1]
    assert outcome.weights[0][0] != pair[1].weights[0][0]


def test_all_processes_stream_if_one_has_no_memory(launcher: Launcher, options: dict[str, Any], tmp_path: Path) -> None:
    """Images in memory here and streamed there would be mosaics of two kinds; a resumed run knows only one of them."""
    outcome = launcher.train(options | {"project": str(tmp_path), "cache": "auto"}, "memory")
    assert outcome.codes == [0, 0], outcome.errors
    said = "images: streamed (16 images at 32 px are 0 MiB, more than another process has free); 1 decoding processes"
    assert said in outcome.said[0]
    assert load_checkpoint(tmp_path / "exp" / "weights" / "last.pt").training["store"] == "streamed"


@pytest.mark.parametrize(("cache", "workers"), [("none", 0), ("none", 1), ("ram", 0)])
def test_an_image_that_one_process_cannot_read_is_told_once(
    launcher: Launcher, options: dict[str, Any], tmp_path: Path, cache: str, workers: int
) -> None:
    options = options | {"project": str(tmp_path), "cache": cache, "workers": workers}
    outcome = launcher.train(options, "lost")
    assert outcome.codes == [0, 0], outcome.errors
    assert outcome.said[0].count("image 0 is lost; skipped\n") == 1 and outcome.said[1] == ""
    assert outcome.weights[0] == outcome.weights[1]


def test_a_disk_that_one_process_lost_ends_all(launcher: Launcher, options: dict[str, Any], tmp_path: Path) -> None:
    """Its half of the images is not yet too much, with what it is asked for in the second epoch it is."""
    outcome = launcher.train(options | {"project": str(tmp_path)}, "disk")
    assert outcome.codes == [1, 1]
    errors = "".join(outcome.errors)
    assert errors.count("error:") == 1 and "more than half of the images (9) cannot be read" in errors


ENDS = {
    "diverged": "error: epoch 5, batch 2: 10 steps in a row gave NaN or Inf",
    "error": "error: a batch that rank 1 alone finds bad",
    "kill": "error: another process of this job ended, killed or out of memory; go on with --resume",
}


@pytest.mark.parametrize("fault", [pytest.param("diverged", marks=pytest.mark.nightly), "error", "kill"])
def test_all_end_with_one_message(launcher: Launcher, options: dict[str, Any], tmp_path: Path, fault: str) -> None:
    outcome = launcher.train(options | {"project": str(tmp_path), "epochs": 5}, fault)
    assert outcome.codes == [1, -signal.SIGKILL if fault == "kill" else 1]
    errors = "".join(outcome.errors)
    assert errors.count("error:") == 1 and ENDS[fault] in errors
    assert "Traceback" not in errors
    assert outcome.seconds < MINUTE


def test_a_bug_of_one_process_is_one_traceback(launcher: Launcher, options: dict[str, Any], tmp_path: Path) -> None:
    outcome = launcher.train(options | {"project": str(tmp_path)}, "bug")
    assert outcome.codes == [1, 1]
    assert outcome.errors[0] == "" and outcome.errors[1].count("KeyError: 'a bug in rank 1 alone'") == 1


def test_a_wrong_option_is_told_once(launcher: Launcher, options: dict[str, Any], tmp_path: Path) -> None:
    outcome = launcher.train(options | {"project": str(tmp_path), "batch_size": 7})
    assert outcome.codes == [1, 1]
    assert "".join(outcome.errors) == "error: --batch-size 7 is not a multiple of the 2 processes\n"
    outcome = launcher.train(options | {"project": str(tmp_path), "weights": "nowhere.pt"})
    assert "".join(outcome.errors).count("error: weights nowhere.pt do not exist") == 1
    assert "".join(outcome.errors).count("\n") == 1


@pytest.fixture(scope="module")
def toy_options(toy_task: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two batches an epoch for three epochs, of another task than detection."""
    folder = tmp_path_factory.mktemp("toy")
    recipe = {"nbs": 8, "lr0": 0.02, "warmup_epochs": 0.0, "flip": 0.0}
    options = {"imgsz": 32, "epochs": 3, "batch_size": 8, "workers": 0, "noplots": True, "device": "cpu"}
    files = {"data": make_colours(folder / "colours"), "hyp": write_yaml(folder / "hyp.yaml", recipe)}
    return {"task": "toy", **options, **files}


def test_two_processes_learn_the_toy_that_one_learns(
    launcher: Launcher, toy_options: dict[str, Any], tmp_path: Path
) -> None:
    """Without dropout and BatchNorm it does not matter how the images are shared out."""
    options = toy_options | {"cfg": "toy-plain"}
    one = run_train(config_from_dict(options | {"project": str(tmp_path / "one")}), lambda _: None)
    outcome = launcher.train(options | {"project": str(tmp_path / "two")})
    assert outcome.codes == [0, 0], outcome.errors
    assert outcome.weights[0] == outcome.weights[1] and len(set(outcome.weights[0])) == 3
    rows = [read_results(run / "results.csv") for run in (one, tmp_path / "two" / "exp")]
    assert len(rows[0]) == len(rows[1]) == 3
    assert len({row["train/colour_loss"] for row in rows[0]}) == 3
    for first, second in zip(*rows, strict=True):
        assert first.keys() == second.keys() >= {"train/colour_loss", "train/light_loss", "val/light_loss"}
        for column, value in first.items():
            assert float(second[column]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), column
    weights = weights_of(tmp_path / "two" / "exp")
    for key, value in weights_of(one).items():
        torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-5)


def test_two_processes_with_dropout_hold_the_same_weights(
    launcher: Launcher, toy_options: dict[str, Any], tmp_path: Path
) -> None:
    """Also when a batch of one of them is NaN: all leave it out, and the main process names its images."""
    whole = launcher.train(toy_options | {"project": str(tmp_path)})
    spoilt = launcher.train(toy_options | {"project": str(tmp_path)}, "nan")
    for outcome in (whole, spoilt):
        assert outcome.codes == [0, 0], outcome.errors
        assert outcome.weights[0] == outcome.weights[1] and len(set(outcome.weights[0])) == 3
        assert outcome.said[1] == ""
    assert whole.weights[0][0] != spoilt.weights[0][0] and "skipped" not in whole.said[0]
    (line,) = (line for line in spoilt.said[0].splitlines() if "skipped" in line)
    assert line.startswith("epoch 1, batch 2: the loss is nan; this step is skipped. Images: ")
    assert line.count(".png") == 4  # its half of the batch


@pytest.fixture
def torchrun() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts jobs, and stops those that a failed test leaves."""
    jobs = []

    def start(*arguments: str, fault: str = "") -> subprocess.Popen[str]:
        settings = {"OMP_NUM_THREADS": "1", "FAULT": fault, "PYTHONPATH": str(REPOSITORY), "PYTHONFAULTHANDLER": "1"}
        job = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *arguments],
            cwd=REPOSITORY,
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        jobs.append(job)
        return job

    yield start
    for job in jobs:
        if job.poll() is None:
            print(stacks_of(job))


def stacks_of(job: subprocess.Popen[str]) -> str:
    """End a job that hangs; the stacks of all its processes, which they print when they are aborted."""
    os.killpg(job.pid, signal.SIGABRT)
    try:
        return job.communicate(timeout=20)[1]
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        return job.communicate()[1]


def flags_of(options: dict[str, Any], project: Path) -> list[str]:
    flags = ["--image-weights", "--noplots", "--noautoanchor", "--device", "cpu", "--project", str(project)]
    for name in ("cfg", "data", "hyp", "imgsz", "epochs", "batch_size", "workers", "cache"):
        flags += [f"--{name.replace('_', '-')}", str(options[name])]
    return [*flags, "--freeze", "5"]


def left_over(folder: Path, patience_s: float = 20) -> list[str]:
    """Command lines of the processes that still work for a run into this folder, after giving them time to end."""
    end = time.monotonic() + patience_s
    while True:
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line:
                lines.append(line.decode().replace("\0", " "))
        if not lines or time.monotonic() > end:
            return lines
        time.sleep(0.2)


needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="lists processes through /proc")


@needs_proc
@pytest.mark.nightly
def test_a_killed_rank_ends_the_job_and_two_machines_go_on(
    torchrun: Callable[..., subprocess.Popen[str]],
    pair: tuple[Path, Outcome],
    options: dict[str, Any],
    tmp_path: Path,
) -> None:
    """SIGKILL in the second epoch; then --resume as the README shows it for two machines, which both are this one.

    What comes out is bit by bit the run that was never killed.
    """
    flags = ["--standalone", "--nproc_per_node", "2", PROGRAM, *flags_of(options, tmp_path)]
    job = torchrun(*flags, fault="kill")
    _, errors = job.communicate(timeout=2 * MINUTE)
    last = tmp_path / "exp" / "weights" / "last.pt"
    assert job.returncode != 0 and time.time() - last.stat().st_mtime < MINUTE  # it is written shortly before the kill
    assert errors.count("error: another process of this job ended") <= 1  # torchrun may have stopped it first
    assert "Signal 9 (SIGKILL) received by PID" in errors
    assert "[rank0]" not in errors and errors.count("Traceback") <= 1  # torchrun's own
    assert left_over(tmp_path) == []
    run = tmp_path / "exp"
    assert load_checkpoint(last).info["epoch"] == 0
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{free_port()}", "--rdzv-id", "mgil"]
    command = ["--nnodes", "2", "--nproc_per_node", "1", *rendezvous, "train.py", "--resume", str(run)]
    nodes = [torchrun(*command) for _ in range(2)]
    said = [node.communicate(timeout=3 * MINUTE) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert sorted("resuming" in text for text, _ in said) == [False, True]
    assert same_run(run, pair[0] / "exp")
    assert left_over(tmp_path) == []


@needs_proc
@pytest.mark.nightly
def test_ctrl_c_ends_all_processes(
    torchrun: Callable[..., subprocess.Popen[str]], options: dict[str, Any], tmp_path: Path
) -> None:
    """Sent to the whole group, as a terminal does; the checkpoint of the last whole epoch stays."""
    flags = flags_of(options | {"epochs": 100_000}, tmp_path)
    job = torchrun("--standalone", "--nproc_per_node", "2", "train.py", *flags)
    last = tmp_path / "exp" / "weights" / "last.pt"
    deadline = time.monotonic() + 2 * MINUTE
    while not last.exists() and job.poll() is None:
        if time.monotonic() > deadline:
            pytest.fail(f"no checkpoint within two minutes: {stacks_of(job)}")
        time.sleep(0.1)
    os.killpg(job.pid, signal.SIGINT)
    _, errors = job.communicate(timeout=MINUTE)
    assert job.returncode != 0 and last.exists(), errors
    assert left_over(tmp_path) == []
    assert errors.count("Traceback") <= 1 and "[rank" not in errors
    assert load_checkpoint(last).training["progress"]["epoch"] >= 1
