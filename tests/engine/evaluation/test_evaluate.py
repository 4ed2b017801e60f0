"""evaluate() with models whose right answer is known, and mapping back to original pixels."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mgil.datasets.batches.batch import EvalBatch
from mgil.datasets.reading.samples import Samples
from mgil.engine.evaluation.evaluate import _Clock
from mgil.tasks.detect.augmented import predict_augmented
from mgil.tasks.detect.ensemble import Ensemble
from mgil.tasks.detect.judge import DetectJudge, to_original
from mgil.tasks.detect.options import ValOptions
from mgil.tasks.detect.report import (
    all_line,
    evaluation_files,
    header_line,
    result_lines,
    write_label_files,
    write_per_class_csv,
)
from mgil.tasks.detect.scores import ClassResult
from tests.tasks.detect.judging import evaluate

NAMES = ("cat", "dog", "bird")
CONFIG = SimpleNamespace(names=NAMES, category_ids=(17, 18, 16))
SIZES_HW = [(48, 64), (64, 30), (100, 200)]
LABELS = [  # image, class, x1, y1, x2, y2 in original pixels
    (0, 0, 2.5, 3.0, 12.5, 20.0),
    (0, 1, 30.0, 10.0, 60.0, 40.0),
    (1, 1, 4.0, 5.0, 25.0, 60.0),
    (2, 2, 150.0, 20.0, 199.0, 99.0),
    (2, 2, 10.0, 10.0, 80.0, 90.0),
]
GAINS = np.array([[1.0, 1.0], [1.0, 1.0], [0.32, 0.32]])
PADS = np.array([[0.0, 8.0], [17.0, 0.0], [0.0, 16.0]])


def make_samples(labels: list[tuple] = LABELS) -> Samples:
    table = np.array(labels, np.float64).reshape(-1, 6)
    images = table[:, 0].astype(np.int64)
    scale = np.array([(w, h, w, h) for h, w in SIZES_HW], np.float64)[images]
    boxes = np.concatenate(((table[:, 2:4] + table[:, 4:]) / 2, table[:, 4:] - table[:, 2:4]), axis=1) / scale
    return Samples.from_rows(
        tuple(f"folder/{i}.png" for i in range(3)),
        np.array(SIZES_HW, np.int32),
        images,
        boxes,
        classes=table[:, 1],
        areas=(table[:, 4:] - table[:, 2:4]).prod(axis=1),
        image_ids=np.array([5, 3, 9]),
    )


def make_batch(indices: list[int]) -> EvalBatch:
    images = torch.zeros(len(indices), 3, 64, 64, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor(indices, dtype=torch.uint8)  # lets the fake model know which image it sees
    return EvalBatch(images, torch.zeros(0, 6), np.array(indices), GAINS[indices], PADS[indices])


LOADER = [make_batch([2, 0]), make_batch([1])]


class Oracle(torch.nn.Module):
    """Answers with the labels themselves, in input pixels."""

    def __init__(self, score: float = 0.9, noise: float = 0.0, labels: list[tuple] = LABELS) -> None:
        super().__init__()
        self.score, self.noise, self.labels = score, noise, labels
        self.names, self.imgsz, self.stride, self.max_stride = NAMES, 64, torch.tensor([8.0, 16.0, 32.0]), 32

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        predictions = torch.zeros(len(images), 10, 8)
        for row, image in enumerate(images):
            index = round(float(image[0, 0, 0]) * 255)
            for slot, (_, label, *box) in enumerate(entry for entry in self.labels if entry[0] == index):
                corners = np.array(box) * np.tile(GAINS[index], 2) + np.tile(PADS[index], 2) + self.noise
                predictions[row, slot, :2] = torch.from_numpy((corners[:2] + corners[2:]) / 2)
                predictions[row, slot, 2:4] = torch.from_numpy(corners[2:] - corners[:2])
                predictions[row, slot, 4] = 1.0
                predictions[row, slot, 5 + label] = self.score
        return predictions


def test_perfect_model_scores_one() -> None:
    model = Oracle().train()
    result = evaluate(model, LOADER, make_samples(), CONFIG)
    assert model.training  # put back
    assert result.map50_95 == pytest.approx(1.0)
    assert result.precision == result.recall == pytest.approx(1.0)
    assert result.f1 == pytest.approx(1.0)
    assert result.confusion.tolist() == np.diag([1, 2, 2, 0]).tolist()
    rows = [(row.name, row.images, row.instances) for row in result.per_class]
    assert rows == [("cat", 1, 1), ("dog", 2, 2), ("bird", 1, 2)]
    assert (result.images, result.instances, result.size_hw) == (3, 5, (64, 64))
    assert result.val_losses == ()


def test_classes_of_the_weights_in_another_order_are_matched_by_name(tmp_path: Any) -> None:
    order = ("Dog", "bird", "cat")
    labels = [(image, (2, 0, 1)[kind], *box) for image, kind, *box in LABELS]
    other = SimpleNamespace(names=order, category_ids=(18, 16, 17))
    result = evaluate(Oracle(), LOADER, make_samples(labels), other)
    assert result.map50_95 == pytest.approx(1.0)
    assert [(row.name, row.images, row.instances) for row in result.per_class] == [
        ("Dog", 2, 2),
        ("bird", 1, 2),
        ("cat", 1, 1),
    ]
    assert result.confusion.tolist() == np.diag([2, 2, 1, 0]).tolist()
    assert sorted(result.detections.classes.tolist()) == [0, 0, 1, 1, 2]
    strange = SimpleNamespace(names=("dog", "bird", "ox"), category_ids=(1, 2, 3))
    assert evaluate(Oracle(), LOADER, make_samples(labels), strange).map50_95 < 0.1  # which check_classes refuses


def test_boxes_return_to_the_very_pixels() -> None:
    found = evaluate(Oracle(), LOADER, make_samples(), CONFIG).detections
    rows = {
        (int(i), int(c), *np.round(box, 3))
        for i, c, box in zip(found.image_index, found.classes, found.boxes_xyxy, strict=True)
    }
    assert rows == set(LABELS)


def test_mapping_back_clips_and_keeps_order() -> None:
    batch = make_batch([2, 0])
    outside = torch.tensor([[-5.0, 0.0, 100.0, 80.0, 0.5, 2.0]])
    found = to_original([outside, torch.zeros(0, 6)], batch, np.array(SIZES_HW))
    assert found.boxes_xyxy.tolist() == [[0, 0, 200, 100]]
    assert found.image_index.tolist() == [2]
    assert len(to_original([], batch, np.array(SIZES_HW))) == 0


def test_model_that_sees_nothing() -> None:
    result = evaluate(Oracle(score=0.0), LOADER, make_samples(), CONFIG)
    assert (result.map50_95, result.recall, result.f1) == (0, 0, 0)
    assert result.confusion[-1].tolist() == [1, 2, 2, 0]


def test_a_class_that_is_not_found_has_precision_0(tmp_path: Any) -> None:
    """Wrong cats at score 0.3 make the best confidence one at which the wrong birds at 0.05 are long gone."""

    class Doubtful(Oracle):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            predictions = super().forward(images)
            for slot, label, score in ((8, 0, 0.3), (9, 2, 0.05)):
                predictions[:, slot, :5] = torch.tensor([50.0, 50.0, 4.0, 4.0, 1.0])
                predictions[:, slot, 5 + label] = score
            return predictions

    model = Doubtful(labels=[label for label in LABELS if label[1] != 2])
    result = evaluate(model, LOADER, make_samples(), CONFIG)
    assert 0.3 < result.best_confidence < 0.9
    rows = {row.name: (row.precision, row.recall, row.f1) for row in result.per_class}
    assert (rows["dog"], rows["bird"]) == ((1, 1, 1), (0, 0, 0))
    assert (result.precision, result.recall, result.f1) == pytest.approx(np.mean(list(rows.values()), axis=0))
    bird = next(line for line in result_lines(result, input_size=64, verbose=True) if "bird" in line)
    assert bird.split()[1:] == ["1", "2", "0", "0", "0", "0"]
    write_per_class_csv(tmp_path / "per_class.csv", result)
    assert (tmp_path / "per_class.csv").read_text().splitlines()[3] == "bird,1,2,0,0,0,0,0"


def test_split_without_labels() -> None:
    result = evaluate(Oracle(), LOADER, make_samples([]), CONFIG)
    assert math.isnan(result.map50_95)
    assert math.isnan(result.precision)
    assert result.confusion[:, -1].tolist() == [1, 2, 2, 0]
    assert any("all" in line for line in result_lines(result, input_size=64, verbose=True))


def test_no_batches_at_all() -> None:
    assert evaluate(Oracle(), [], make_samples(), CONFIG).map50_95 == 0


def test_broken_predictions_do_not_spoil_the_rest() -> None:
    class Broken(Oracle):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            predictions = super().forward(images)
            predictions[:, 9] = float("nan")
            predictions[:, 8, 4:] = float("inf")
            return predictions

    assert evaluate(Broken(), LOADER, make_samples(), CONFIG).map50_95 == pytest.approx(1.0)


def test_single_class_merges_everything() -> None:
    labels = [(image, 0, *box) for image, _, *box in LABELS]
    result = evaluate(Oracle(), LOADER, make_samples(labels), SimpleNamespace(names=("item",), category_ids=(1,)))
    assert [row.name for row in result.per_class] == ["item"]
    assert result.map50_95 == pytest.approx(1.0)


def test_loss_shares_the_forward_pass() -> None:
    class WithRaw(Oracle):
        calls = 0

        def __init__(self) -> None:
            super().__init__()
            self.head = SimpleNamespace(decode=lambda raws: Oracle.forward(self, raws[0]))

        def raw(self, images: torch.Tensor) -> list[torch.Tensor]:
            WithRaw.calls += 1
            return [images]

    class FixedLoss:
        terms = ("box", "obj", "cls")

        def __call__(self, raws: list[torch.Tensor], targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return raws[0].sum(), torch.tensor([1.0, 2.0, 3.0]) * len(raws[0])

    result = evaluate(WithRaw(), LOADER, make_samples(), CONFIG, loss=FixedLoss())
    assert result.map50_95 == pytest.approx(1.0)
    assert WithRaw.calls == len(LOADER)
    assert result.val_losses == pytest.approx((5 / 3, 10 / 3, 5.0))  # weighted by images: 2 and 1


def test_label_beyond_the_names_is_an_error() -> None:
    with pytest.raises(ValueError, match="class 7"):
        evaluate(Oracle(), LOADER, make_samples([(0, 7, 1, 1, 9, 9)]), CONFIG)


def test_label_files_round_trip(tmp_path: Any) -> None:
    samples = make_samples()
    samples = replace(samples, image_paths=("a/0.png", "b/0.png", "c/1.png"))
    result = evaluate(Oracle(), LOADER, samples, CONFIG)
    write_label_files(tmp_path / "labels", result, samples, with_score=True)
    assert sorted(file.name for file in tmp_path.glob("labels/*")) == ["0-2.txt", "0.txt", "1.txt"]
    rows = np.loadtxt(tmp_path / "labels" / "1.txt", ndmin=2)
    expected = samples.boxes_cxcywh[samples.offsets[2] :]
    np.testing.assert_allclose(sorted(rows[:, 1:5].tolist()), sorted(expected.tolist()), atol=1e-5)
    np.testing.assert_allclose(rows[:, 5], 0.9, atol=1e-6)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("a/x.png", "b/x.png", "b/x-2.png"), ["x", "x-3", "x-2"]),
        (("a/x-2.png", "b/x.png", "c/x.png"), ["x-2", "x", "x-3"]),
        (("x.png", "x.jpg", "x.bmp"), ["x", "x-2", "x-3"]),
    ],
)
def test_label_files_of_equal_names_get_numbers_that_are_free(
    paths: tuple[str, ...], names: list[str], tmp_path: Any
) -> None:
    samples = replace(make_samples(), image_paths=paths)
    result = evaluate(Oracle(), LOADER, samples, CONFIG)
    write_label_files(tmp_path, result, samples, with_score=False)
    for image, name in enumerate(names):
        rows = np.loadtxt(tmp_path / f"{name}.txt", ndmin=2)
        expected = samples.boxes_cxcywh[samples.offsets[image] : samples.offsets[image + 1]]
        np.testing.assert_allclose(sorted(rows[:, 1:].tolist()), sorted(expected.tolist()), atol=1e-5)
    listed = evaluation_files(samples, ValOptions(save_txt=True), "best")
    assert [name for name in listed if name.startswith("labels")] == [f"labels/{name}.txt" for name in names]


def test_an_image_without_detections_counts_in_the_numbers_of_label_files(tmp_path: Any) -> None:
    """The files that are written are those that were checked beforehand, and names do not change with the weights."""
    samples = replace(make_samples(), image_paths=("a/x.png", "b/x.png", "c/x.png"))
    result = evaluate(Oracle(), LOADER, samples, CONFIG).scores
    found = result.detections
    kept = found.image_index == 2
    parts = {item.name: getattr(found, item.name)[kept] for item in fields(found)}
    write_label_files(tmp_path, replace(result, detections=replace(found, **parts)), samples, with_score=False)
    assert [path.name for path in tmp_path.iterdir()] == ["x-3.txt"]
    # of an earlier run into the same folder, and of nothing that is found at all
    (tmp_path / "x.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    none = {name: values[:0] for name, values in parts.items()}
    write_label_files(tmp_path, replace(result, detections=replace(found, **none)), samples, with_score=False)
    assert list(tmp_path.iterdir()) == []


def test_console_rows_align_and_the_row_all_is_last() -> None:
    result = evaluate(Oracle(), LOADER, make_samples(), CONFIG)
    lines = result_lines(result, input_size=64, verbose=False)
    table = lines[-5:]
    assert table[0] == header_line()
    assert [line.split()[0] for line in table[1:]] == ["cat", "dog", "bird", "all"]
    assert len({len(line) for line in table}) == 1
    assert table[-1].split() == ["all", "3", "5", "1", "1", "1", "1"]
    assert "at 64 px" in lines[-6]


@pytest.mark.parametrize(("classes", "listed"), [(20, True), (21, False)])
def test_more_than_20_classes_are_listed_on_request_only(classes: int, listed: bool) -> None:
    """Of 80 classes, some have labels; class k's AP is k / 100, and class 1 has two labels of AP 0."""
    rows = [ClassResult(f"class{k}", 1, 1 + (k == 1), 1, 1, 1, k / 100 * (k > 1), k / 100 * (k > 1)) for k in range(80)]
    rows = [row if k < classes else replace(row, instances=0) for k, row in enumerate(rows)]
    result = replace(evaluate(Oracle(), LOADER, make_samples(), CONFIG).scores, per_class=tuple(rows))
    short, long = (result_lines(result, input_size=64, verbose=verbose) for verbose in (False, True))
    assert short[-1] == long[-1] == all_line(result)
    assert [line.split()[0] for line in long[-classes - 2 :]] == ["Class", *(row.name for row in rows[:classes]), "all"]
    assert (short == long) is listed
    if not listed:
        assert len(short) <= 6
        assert short[-3] == (
            "mAP50-95 of 21 classes with labels: best class20 0.200, class19 0.190, class18 0.180; worst class1 0.000, "
            "class0 0.000, class2 0.020; all are in per_class.csv (val.py --verbose lists them)"
        )


@pytest.mark.parametrize(
    ("amp", "layout"), [("off", torch.contiguous_format), ("bf16", torch.channels_last), ("fp16", torch.channels_last)]
)
def test_scaling_in_shared_memory_equals_division(amp: str, layout: torch.memory_format) -> None:
    clock = _Clock(torch.device("cpu"), amp, loss=None)
    for shape in ((2, 3, 8, 8), (1, 3, 4, 6), (3, 3, 16, 8)):
        images = torch.randint(0, 256, shape, dtype=torch.uint8)
        scaled = clock._scaled(images)
        assert torch.equal(scaled, images.float() / 255) and scaled.is_contiguous(memory_format=layout)


class SpotModel(torch.nn.Module):
    """Every prediction is the box around what is brighter than the padding."""

    stride, max_stride = torch.tensor([8.0, 16.0, 32.0]), 32

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cells = images.shape[2] * images.shape[3] // 32**2 * 21
        boxes = []
        for image in images.mean(1) > 0.5:
            rows, columns = image.nonzero(as_tuple=True)
            low = torch.stack((columns.min(), rows.min())).float()
            high = torch.stack((columns.max(), rows.max())).float() + 1
            boxes.append(torch.cat(((low + high) / 2, high - low, torch.tensor([0.9, 0.9, 0.1, 0.1]))))
        return torch.stack(boxes)[:, None].expand(-1, cells, -1)


@pytest.mark.parametrize("size_hw", [(64, 64), (96, 160), (320, 320), (32, 32)])
def test_augmented_views_agree_on_position(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    images = torch.full((1, 3, height, width), 0.1)
    top, left, side_h, side_w = height // 8, width // 4, height // 2, width // 4
    images[:, :, top : top + side_h, left : left + side_w] = 1.0
    predictions = predict_augmented(SpotModel(), images)[0]
    expected = torch.tensor([left + side_w / 2, top + side_h / 2, side_w, side_h])
    # One pixel of a view's own grid is the best that its box can do.
    assert (predictions[:, :4] - expected).abs().max() <= 1 / 0.67


def test_augmented_drops_coarsest_and_finest() -> None:
    predictions = predict_augmented(SpotModel(), torch.ones(2, 3, 320, 320))
    full, smaller, smallest = 10 * 10, 9 * 9, 7 * 7  # cells at stride 32 of 320, 288 (265 padded), 224 (214 padded)
    assert predictions.shape == (2, full * 20 + smaller * 21 + smallest * 5, 8)


@pytest.mark.parametrize("strides", [[4, 16], [32, 8, 16], [8.0], [4, 8, 16, 32]])
def test_augmented_drops_the_coarsest_and_finest_of_any_levels(strides: list[float]) -> None:
    """Each prediction tells its level by its class score; sides of 256, 224 and 192 px."""

    def model(images: torch.Tensor) -> torch.Tensor:
        cells = [images.shape[2] * images.shape[3] // int(stride) ** 2 for stride in strides]
        return torch.cat(
            [torch.full((1, count, 6), float(stride)) for count, stride in zip(cells, strides, strict=True)], 1
        )

    kept = predict_augmented(model, torch.ones(1, 3, 256, 256), level_strides=strides)[0, :, 5]
    for stride in strides:
        views = [(side // int(stride)) ** 2 for side in (256, 224, 192)]
        views[0] *= stride != max(strides) or len(strides) == 1
        views[2] *= stride != min(strides) or len(strides) == 1
        assert (kept == stride).sum() == sum(views)


def test_augmented_evaluation_finds_the_spot() -> None:
    batch = make_batch([0])
    batch.images[:] = 20
    batch.images[:, :, 8 + 10 : 8 + 40, 20:60] = 255
    result = evaluate(SpotModel(), [batch], make_samples([(0, 0, 20, 10, 60, 40)]), CONFIG, augment=True)
    assert result.map50 == pytest.approx(1.0)


def test_ensemble_pools_and_checks_names() -> None:
    left = Oracle(labels=[entry for entry in LABELS if entry[1] != 2])
    right = Oracle(labels=[entry for entry in LABELS if entry[1] == 2])
    both = Ensemble([left, right], ["left.pt", "right.pt"])  # type: ignore[list-item]
    assert evaluate(both, LOADER, make_samples(), CONFIG).map50_95 == pytest.approx(1.0)
    for names, said in ((NAMES[:2], "2 and 3 classes; class 2 is None and 'bird'"), (NAMES[::-1], "'bird' and 'cat'")):
        right.names = names
        with pytest.raises(ValueError, match=rf"right\.pt and left\.pt have different class names .*{said}"):
            Ensemble([left, right], ["left.pt", "right.pt"])  # type: ignore[list-item]


def test_augmented_ensemble_pools_what_each_member_sees() -> None:
    """Each member loses the coarsest level of the first view and the finest of the last, as it would alone."""
    members = [SpotModel(), SpotModel()]
    for member in members:
        member.names, member.imgsz = NAMES, 64  # type: ignore[assignment]
    seen = []
    for model in (*members, Ensemble(members, ["a.pt", "b.pt"])):  # type: ignore[list-item,arg-type]
        judge = DetectJudge(model, make_samples(), CONFIG, ValOptions(augment=True))  # type: ignore[arg-type]
        seen.append(judge.forward(torch.ones(1, 3, 64, 64), False)[0])
    assert torch.equal(torch.cat(seen[:2], dim=1), seen[2])
