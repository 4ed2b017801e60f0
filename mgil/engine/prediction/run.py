"""Detection on pictures, videos and streams: what detect.py does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mgil.datasets.reading.depths import Advice, DepthTally
from mgil.engine.data_of_weights import has_other_order, load_data
from mgil.engine.degradations import points_of
from mgil.engine.devices import FOUND_AMX, lacks_display
from mgil.engine.prediction.config import DetectFlags
from mgil.engine.prediction.feature_maps import recorded_maps, save_feature_maps
from mgil.engine.prediction.load import open_model
from mgil.engine.prediction.predictor import Model
from mgil.engine.prediction.trackers import tracker_classes
from mgil.engine.prediction.tracking import Trackers, check_sequence, following
from mgil.engine.prediction.writers import ResultWriter
from mgil.engine.runs import TRAIN_PROJECT, new_run_folder, oldest_first
from mgil.engine.sources.sources import Frame, Source, open_source
from mgil.engine.sources.streams import StreamsGone
from mgil.engine.sources.video import quiet_opencv
from mgil.engine.stopping import StopRequest, stop_requests
from mgil.engine.weights.released import fetch_weights
from mgil.files.flags import check_foreign
from mgil.files.fonts import tell_missing_letters
from mgil.files.text import Report
from mgil.networks.network import Network
from mgil.tasks.abilities import BoxTask
from mgil.tasks.base import Result, Task
from mgil.tasks.registry import options_of

BY_FLAG = Advice(*(f"give {flag}, unless the weights learned from the like" for flag in ("--bits {}", "--range {} {}")))


@dataclass(frozen=True)
class DetectSummary:
    """What a run of `run_detect` did: where its outputs are (None: nowhere), and how much it saw, found and skipped."""

    folder: Path | None
    frames: int
    detections: int
    skipped: tuple[str, ...]


def run_detect(config: DetectFlags, report: Report = print) -> DetectSummary:
    """Detect on everything that the source gives, print a line for each picture, and write what is asked for.

    Ctrl-C and SIGTERM end the run after the picture in hand, with all files closed; a second one ends it at once. For
    streams and the screen that is the regular end. For files it is not: KeyboardInterrupt or SystemExit follows.

    Raises:
        FileNotFoundError: no weights or no source.
        ValueError: a flag, the weights or the source cannot be used, or no file of the source could be read.
        OSError: an output cannot be written.
        StreamsGone: every stream was lost and did not come back.
    """
    if config.view_img:
        check_display()
    if config.track is not None:
        tracker_classes()  # a missing package ends the run before anything is read
    weights = config.weights or (str(newest_weights()),)
    for path in weights if config.download else ():
        fetch_weights(path, report)
    task, model = _open(config, weights, report)
    with ExitStack() as stack:
        stack.enter_context(quiet_opencv())
        stop = stack.enter_context(stop_requests())
        model.depths = DepthTally(model.depths.values, BY_FLAG, chosen=config.values is not None)
        source = open_source(config.source, vid_stride=config.vid_stride, report=report, depths=model.depths)
        stack.enter_context(closing(source))
        run = stack.enter_context(closing(_Run(config, task, model, source, report, stop)))
        if config.track is not None:
            check_sequence(source, report)
        if (config.view_img or not config.nosave) and not config.hide_labels:
            tell_missing_letters(model.names, report)
        height, width = model.size_hw
        room = f"input up to {height}x{width} pixels, on {model.device}"
        classes = f"{len(model.names)} class{'es' * (len(model.names) != 1)}"
        report(f"{' + '.join(weights)}: {classes}, {room}")
        try:
            run.everything()
        except (KeyboardInterrupt, StreamsGone) as end:
            run.print_summary()
            if isinstance(end, StreamsGone) or not source.endless:
                raise
        else:
            run.print_summary()
            if run.cut_short and not source.endless:
                stop.end()
    if not run.frames and source.skipped:
        raise ValueError(f"none of the {len(source.skipped)} files could be read; the first: {source.skipped[0]}")
    return DetectSummary(run.folder, run.frames, run.detections, tuple(source.skipped))


def newest_weights() -> Path:
    """The best.pt in train.py's own folder that was written last.

    Raises:
        FileNotFoundError: nothing was trained there yet.
    """
    found = oldest_first(TRAIN_PROJECT, "weights/best.pt")
    if not found:
        raise FileNotFoundError(
            f"no --weights given and no weights/best.pt in {TRAIN_PROJECT}: train first, or give --weights FILE"
        )
    return found[-1]


def check_display() -> None:
    """Raise ValueError if no window can be opened here; OpenCV itself may end the whole process then."""
    information = cv2.getBuildInformation()
    if "GUI:" in information and information.split("GUI:", 1)[1].split(None, 1)[0] == "NONE":
        raise ValueError("--view-img: this OpenCV is headless; install opencv-python, or look at the saved pictures")
    if lacks_display():
        raise ValueError("--view-img: there is no display here (DISPLAY is not set); look at the saved pictures")


def _open(config: DetectFlags, weights: Sequence[str], report: Report) -> tuple[Task, Model]:
    source = " + ".join(weights)

    def own(task: Task) -> Any:
        parts = (DetectFlags, options_of(task.name, "detect"))
        check_foreign(config, parts, f"{source} is of the task {task.name}")
        return config

    sides = config.imgsz or ()
    task, model = open_model(
        weights, config.device, sides, config.half, own, report, config.values, config.amp, config.download
    )
    data = None if config.data is None else load_data(task, config.data)
    if config.amp == "auto" and getattr(model.model, "amp", "off") == "bf16":
        report(FOUND_AMX)
    if config.visualize and not isinstance(model.model, Network):
        one = "one file of " if len(weights) > 1 else ""
        raise ValueError(f"--visualize needs {one}PyTorch weights (.pt), whose layers can be looked into")
    if config.visualize and isinstance(task, BoxTask):
        raise ValueError(f"--visualize: {source} looks at every person by itself, not at pictures; leave it out")
    if config.track is not None:
        following(model.predictor)
    if data is not None:
        model.depths = DepthTally(config.values or data.values or model.depths.values)
        if len(data.names) != len(model.names):
            count = len(data.names)
            raise ValueError(f"{config.data} has {count} class names, {source} has {len(model.names)} classes")
        if has_other_order(model.names, data):
            report(f"{config.data} has the classes of {source} in another order; the names of the weights are used")
        else:
            model.names = data.names
    return task, model


class _Run:
    """The loop over frames, with its outputs and sums."""

    def __init__(
        self,
        config: DetectFlags,
        task: Task,
        model: Model,
        source: Source,
        report: Report,
        stop: StopRequest,
    ) -> None:
        self.config, self.task, self.model = config, task, model
        self.source, self.report, self.stop = source, report, stop
        self.folder: Path | None = None
        self.cut_short = False  # whether a stop request came before the end
        self.frames = 0
        self.detections = 0
        self.last_input_hw = (0, 0)
        self._writer: ResultWriter | None = None
        self._trackers = None if config.track is None else Trackers(model.predictor, config.track, source)
        (point,) = points_of(config.degrade)
        self._degradation = point.degradation
        self._spent: dict[str, float] = {}  # milliseconds by stage
        self._live, self._latency_s, self._longest_latency_s = 0, 0.0, 0.0  # frames, their sum and their worst

    def everything(self) -> None:
        """Detect on every frame of the source, until it ends, or the user wants to stop or presses q or Esc."""
        with ExitStack() as stack:
            if self.config.view_img:
                stack.callback(cv2.destroyAllWindows)
            for frames in self.source:
                now_s = time.monotonic()
                if self.stop:
                    self.cut_short = True
                    return
                if frames and not self._moment(frames):
                    return
                if self._writer is not None:
                    self._writer.pass_time(now_s)

    def close(self) -> None:
        """Finish the files."""
        if self._writer is not None:
            self._writer.close()

    def print_summary(self) -> None:
        """Mean times, where the results are, and what was skipped."""
        if self.frames:
            times = [spent / self.frames for spent in self._spent.values()]
            stages = ("pre-process", "inference", self.task.last_stage, *[*self._spent][3:])
            shown = ", ".join(f"{time_ms:.1f}ms {stage}" for time_ms, stage in zip(times, stages, strict=True))
            self.report(f"Speed: {shown} per image at shape (1, 3, {self.last_input_hw[0]}, {self.last_input_hw[1]})")
        if self._live:
            mean_ms, longest_ms = self._latency_s / self._live * 1e3, self._longest_latency_s * 1e3
            self.report(f"Latency: {mean_ms:.0f}ms from a picture's arrival to its result, {longest_ms:.0f}ms at most")
        if self.folder is not None:
            labels = self._writer.labels_written if self._writer is not None and self.config.save_txt else None
            written = "" if labels is None else f"; {labels} label files in {self.folder / 'labels'}"
            self.report(f"Results saved to {self.folder}{written}")
        if self.frames:
            self.model.depths.close(self.report)
        for line in (*self.source.sums(), *(self._trackers.sums() if self._trackers is not None else ())):
            self.report(line)

    def _moment(self, frames: list[Frame]) -> bool:
        """Detect on the frames of one moment; false when the user wants to stop."""
        if self._degradation is not None:
            frames = [replace(frame, image=self._degradation(frame.image)) for frame in frames]
        self._open_outputs()
        found = self._look_into(frames) if self.config.visualize else self._look(frames)
        self._clock(frames)
        go_on = True
        for frame, result in zip(frames, found, strict=True):
            self._count(frame, result)
            picture = self._picture(result)
            if self._writer is not None:
                self._writer.write(frame, result, picture)
            if self.config.view_img and picture is not None:
                go_on = _show(frame, picture, self.stop) and go_on
        return go_on

    def _look(self, frames: list[Frame]) -> Sequence[Result]:
        if self._trackers is not None:
            return self._trackers(frames)
        return self.model.predictor([frame.image for frame in frames], [frame.path for frame in frames])

    def _look_into(self, frames: list[Frame]) -> list[Result]:
        """As `_look`, a frame at a time: those of other shapes pass through the network by themselves."""
        found: list[Result] = []
        for frame in frames:
            with recorded_maps(self.model.model) as maps:
                found += self._look([frame])
            if self.folder is not None and self._writer is not None:
                save_feature_maps(maps, 0, self.folder / "features" / frame.name, self._writer.written)
        return found

    def _open_outputs(self) -> None:
        # made with the first frame, so that a source that gives none leaves no empty folder
        if self._writer is not None or not self.config.writes:
            return
        config = self.config
        self.folder = new_run_folder(config.project, config.name, config.exist_ok)
        self._writer = ResultWriter(
            self.folder,
            (*self.task.table_columns, *(() if self._trackers is None else ("Track",))),
            media=not config.nosave,
            txt=config.save_txt,
            conf=config.save_conf,
            table=config.save_csv,
            crops=config.save_crop,
            side_by_side=self.source.endless,
        )

    def _picture(self, result: Result) -> np.ndarray | None:
        config = self.config
        if config.nosave and not config.view_img:
            return None
        return result.draw(config.line_thickness, not config.hide_labels, not config.hide_conf)

    def _clock(self, frames: list[Frame]) -> None:
        now = time.monotonic()
        for frame in frames:
            if frame.arrived is not None:
                self._live += 1
                self._latency_s += now - frame.arrived
                self._longest_latency_s = max(self._longest_latency_s, now - frame.arrived)

    def _count(self, frame: Frame, result: Result) -> None:
        self.frames += 1
        self.detections += len(result)
        self.last_input_hw = result.input_hw
        for stage, spent_ms in result.speed.items():
            self._spent[stage] = self._spent.get(stage, 0.0) + spent_ms
        height, width = result.input_hw
        self.report(f"{frame.title}{height}x{width} {result.text()}, {result.speed['inference']:.1f}ms")


def _show(frame: Frame, picture: np.ndarray, stop: StopRequest) -> bool:
    """Show a picture, a still one until a key is pressed; false after q or Esc."""
    cv2.imshow(frame.stem, np.ascontiguousarray(picture[..., ::-1]))
    key = cv2.waitKey(1)
    while frame.fps is None and key == -1 and not stop:
        key = cv2.waitKey(100)  # signals are heard only between calls
    return key & 0xFF not in (ord("q"), 27)
