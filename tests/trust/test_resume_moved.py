"""`--resume` where the data set or the run lies elsewhere: the same content goes on exactly, any other is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mgil.engine.training.config import TrainConfig
from mgil.engine.training.run import run_train
from mgil.engine.weights.checkpoints import Checkpoint, load_checkpoint
from tests.engine.tiny import Playground, make_data, random_squares, same_tensors
from tests.trust.cutting import cut_run, train


@pytest.fixture(scope="module")
def interrupted(ground: Playground, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A run of two epochs of which one is done."""
    project = tmp_path_factory.mktemp("runs")
    cut_run(ground.config(project))
    return load_checkpoint(project / "exp" / "weights" / "last.pt")


def test_a_run_whose_files_all_moved_goes_on_exactly(ground: Playground, tmp_path: Path) -> None:
    """Data set and run folder elsewhere, model and recipe gone: the end is that of the run that was never cut."""
    for path in (ground.cfg, ground.hyp):
        shutil.copy(path, tmp_path)
    named = {"cfg": str(tmp_path / Path(ground.cfg).name), "hyp": str(tmp_path / Path(ground.hyp).name)}
    old = make_data(tmp_path / "old", random_squares(16, seed=3), random_squares(4, seed=4))
    cut_run(ground.config(tmp_path, data=str(old), **named))
    for path in named.values():
        Path(path).unlink()
    run = (tmp_path / "exp").rename(tmp_path / "elsewhere")
    new = (tmp_path / "old").rename(tmp_path / "new") / old.name
    said = rf"^--resume: \S*last\.pt was trained on {old}, which is not there any more; .* with --data NEW\.yaml$"
    with pytest.raises(FileNotFoundError, match=said):
        train(TrainConfig(resume=str(run)))
    with pytest.raises(FileNotFoundError, match="nowhere.yaml not found"):
        train(TrainConfig(resume=str(run), data="nowhere.yaml"))
    lines: list[str] = []
    assert run_train(TrainConfig(resume=str(run), data=str(new)), lines.append) == run
    (line,) = (line for line in lines if line.startswith("--data "))
    boxes = [sum(map(len, random_squares(count, seed=seed))) for count, seed in ((16, 3), (4, 4))]
    counts = f"train: 16 images, {boxes[0]} boxes; val: 4 images, {boxes[1]} boxes"
    assert line == f"--data {new} instead of {old}: the same content ({counts})"
    whole = train(ground.config(tmp_path, name="whole"))
    ends = [load_checkpoint(folder / "weights" / "last.pt") for folder in (run, whole)]
    assert same_tensors(ends[0].state_dict, ends[1].state_dict)
    assert (run / "results.csv").read_text() == (whole / "results.csv").read_text()
    assert ends[0].info["data"] == str(new)


def test_another_data_set_is_no_moved_one(ground: Playground, interrupted: Checkpoint, tmp_path: Path) -> None:
    """The same pictures under other names, fewer, with other labels or classes; what differs is said."""
    make_data(tmp_path / "fewer", random_squares(15, seed=3), random_squares(4, seed=4))
    make_data(tmp_path / "labels", random_squares(16, seed=3), random_squares(4, seed=4))
    label = tmp_path / "labels" / "labels" / "val" / "002.txt"
    label.write_text(label.read_text().replace(label.read_text()[0], "012"[int(label.read_text()[0]) - 1], 1))
    make_data(tmp_path / "files", random_squares(16, seed=3), random_squares(4, seed=4))
    for kind, suffix in (("images", "png"), ("labels", "txt")):
        (tmp_path / "files" / kind / "train" / f"001.{suffix}").rename(
            tmp_path / "files" / kind / "train" / f"0001.{suffix}"
        )
    names = make_data(tmp_path / "names", random_squares(16, seed=3), random_squares(4, seed=4))
    names.write_text(names.read_text().replace("green", "yellow"))
    for folder, said in {
        "fewer": r"train: 15 images, \d+ boxes, the run had 16 images, \d+ boxes\.",
        "labels": r"val: other labels or image sizes\.",
        "files": r"train: other file names, or their order\.",
        "names": r"names: red, yellow, blue, the run had red, green, blue\.",
    }.items():
        data = str(tmp_path / folder / "squares.yaml")
        with pytest.raises(ValueError, match=rf"^--resume \S*last\.pt: {data} is not what it was trained on; {said}"):
            train(TrainConfig(resume=str(interrupted.path), data=data))


def test_images_that_moved_alone(ground: Playground, tmp_path: Path) -> None:
    """The YAML is where it was: its `path` is mended, or --data is named."""
    old = make_data(tmp_path / "old", random_squares(16, seed=3), random_squares(4, seed=4))
    cut_run(ground.config(tmp_path, data=str(old), noval=True))
    for kind in ("images", "labels"):
        (tmp_path / "old" / kind).rename(tmp_path / kind)
    said = r"^data set not found: .*; the data set is the one named in \S*last\.pt: give its new place with --data NEW"
    with pytest.raises(FileNotFoundError, match=said):
        train(TrainConfig(resume=str(tmp_path / "exp")))
    old.write_text("path: ..\n" + old.read_text())
    lines: list[str] = []
    run_train(TrainConfig(resume=str(tmp_path / "exp")), lines.append)
    assert not [line for line in lines if "another run" in line or "instead of" in line]


def test_weights_are_not_what_resume_takes(
    ground: Playground, interrupted: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where there is no run
    said = r"^--weights (\S+) --resume: .*; give the file to --resume itself: --resume \1$"
    with pytest.raises(FileNotFoundError, match=said):
        train(TrainConfig(weights=str(interrupted.path), resume="latest"))
    with pytest.raises(ValueError, match=said):
        train(TrainConfig(weights="w.pt", resume="latest", project=str(interrupted.path.parents[2])))
