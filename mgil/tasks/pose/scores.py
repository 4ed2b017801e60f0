"""What an evaluation of pose found: OKS AP on labelled boxes and on a detector's, PCK, by joint and by size."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgil.files.text import Report
from mgil.tasks.pose.crops import PADDING
from mgil.tasks.pose.oks import OksAverages, Poses, SizeBin, oks_averages, size_bins
from mgil.tasks.pose.oks_nms import oks_nms, person_scores
from mgil.tasks.pose.options import ValOptions
from mgil.tasks.pose.pck import Pck, pck_of
from mgil.tasks.pose.people import People

if TYPE_CHECKING:
    from mgil.tasks.pose.plots import BatchPictures

METRICS = ("metrics/OKS_AP", "metrics/OKS_AP50", "metrics/OKS_AP75", "metrics/OKS_AR", "metrics/PCK")
LABELLED, DETECTED = "ground-truth boxes", "detector boxes"
SHARE_OF_PCK = 1e-6  # in fitness: it decides between equals alone


@dataclass(frozen=True)
class BoxScores:
    """OKS AP on one kind of boxes.

    Attributes:
        boxes: `LABELLED` or `DETECTED`.
        poses: What was found, scored as people and without doubles.
        oks: COCO's ten numbers.
        bins: AP by the longer side of the box.
    """

    boxes: str
    poses: Poses
    oks: OksAverages
    bins: tuple[SizeBin, ...]


@dataclass(frozen=True)
class PoseScores:
    """What an evaluation found.

    Attributes:
        labelled: On the labels' own boxes.
        detected: On a detector's boxes; None: there are none.
        pck: On the labels' own boxes.
        images: Pictures that count, those without anybody too.
        instances: Labelled people who count.
        people: The split, without the people of pictures that could not be read.
        options: What to write.
        network_px: Side of what the network saw, to which crops of another side were resized; None: not known.
        batch_pictures: Kept while the batches came.
    """

    labelled: BoxScores
    detected: BoxScores | None
    pck: Pck
    images: int
    instances: int
    people: People
    options: ValOptions
    network_px: int | None = None
    batch_pictures: BatchPictures | None = None

    @property
    def fitness(self) -> float:
        """What the best epoch is chosen by, on labelled boxes.

        Of data sets that are measured by PCK (MPII's by heads, LSP's by torsos) its mean, else OKS AP. That may be 0
        for the first epochs, of which the best is then that of the highest PCK.
        """
        by_pck = self.people.head_sizes is not None or self.people.torso is not None
        pck, ap = (float(np.nan_to_num(value)) for value in (self.pck.mean, self.labelled.oks.ap))
        return pck if by_pck else ap + SHARE_OF_PCK * pck

    def columns(self) -> dict[str, float]:
        """The columns of results.csv, on labelled boxes."""
        oks = self.labelled.oks
        return dict(zip(METRICS, (oks.ap, oks.ap50, oks.ap75, oks.ar, self.pck.mean), strict=True))

    def summary(self) -> str:
        """For an epoch's line."""
        oks = self.labelled.oks
        return f"OKS AP {oks.ap:.3f}  AP50 {oks.ap50:.3f}  AP75 {oks.ap75:.3f}  {self.pck.name} {self.pck.mean:.3f}"

    def lines(self, imgsz: int, verbose: bool) -> list[str]:
        """The console's report."""
        from mgil.tasks.pose.report import result_lines

        return result_lines(self, input_size=imgsz, verbose=verbose)

    def row(self) -> dict[str, float]:
        """The columns of the table over input sizes."""
        names = [item.name for item in fields(OksAverages)]
        detected = self.detected.oks if self.detected else OksAverages(*[float("nan")] * len(names))
        row = {title: getattr(self.labelled.oks, name) for name, title in zip(names, TITLES, strict=True)}
        return row | {"PCK": self.pck.mean, "AP_detector": detected.ap, "AR_detector": detected.ar}

    def write(self, folder: Path, pictures: bool) -> None:
        """Write the tables, per_joint.csv last; with `pictures` the PCK curves and some batches too."""
        from mgil.tasks.pose.report import write_tables

        if pictures:
            from mgil.tasks.pose.plots import plot_pck

            if self.batch_pictures:
                self.batch_pictures.write()
            plot_pck(self.pck, self.people.skeleton.names, folder)
        write_tables(self, folder)

    def save(self, folder: Path, stem: str, report: Report) -> None:
        """Write label files (--save-txt) and COCO results (--save-json), which pycocotools then scores."""
        from mgil.tasks.pose.saving import save_json, save_txt

        if self.options.save_txt:
            save_txt(self, folder / "labels")
            report(f"label files saved to {folder / 'labels'}")
        if self.options.save_json:
            save_json(self, folder, stem, report)


TITLES = ("AP", "AP50", "AP75", "AP_M", "AP_L", "AR", "AR50", "AR75", "AR_M", "AR_L")  # of OksAverages, for tables


def summarise(
    people: People,
    poses: Poses,
    skipped: Collection[int],
    options: ValOptions,
    batch_pictures: BatchPictures | None = None,
) -> PoseScores:
    """Every figure from the joints of a whole split.

    Args:
        people: The split.
        poses: Of the people who were cropped; those of ignored people are left out.
        skipped: People whose picture could not be read; pictures of theirs do not count.
        options: Thresholds.
        batch_pictures: To be written with the scores.
    """
    unread = np.unique(people.image_ids[list(skipped)]) if skipped else np.zeros(0, np.int64)
    images = people.image_count - len(unread)
    if len(unread):
        kept = ~np.isin(people.image_ids, unread)
        place = np.cumsum(kept) - 1
        poses = poses.rows(kept[poses.items])
        poses, people = Poses(place[poses.items], poses.key_points, poses.scores), people.rows(kept)
    poses = poses.rows(~people.ignored[poses.items])
    of_detector = people.found[poses.items]
    labelled = poses.rows(~of_detector)
    return PoseScores(
        labelled=box_scores(LABELLED, people, labelled, options),
        detected=box_scores(DETECTED, people, poses.rows(of_detector), options) if people.found.any() else None,
        pck=pck_of(people, labelled.items, labelled.key_points[..., :2]),
        images=images,
        instances=int((~people.found & ~people.ignored).sum()),
        people=people,
        options=options,
        batch_pictures=batch_pictures,
    )


def box_scores(boxes: str, people: People, poses: Poses, options: ValOptions) -> BoxScores:
    """OKS AP of what was found in one kind of boxes: people scored by their joints, doubles left out."""
    scores = person_scores(people.scores[poses.items], poses.key_points[..., 2], options.joint_thres)
    sides = PADDING * people.boxes[poses.items, 2:].max(axis=1, initial=1.0)  # of the crops
    kept = oks_nms(
        people.image_ids[poses.items],
        poses.key_points,
        scores,
        sides**2,
        people.skeleton.sigmas,
        options.oks_nms,
    )
    poses = Poses(poses.items, poses.key_points, scores).rows(kept)
    return BoxScores(boxes, poses, oks_averages(people, poses), size_bins(people, poses))
