// One frame after the other through the network.

import { findDetections, toPicture } from "./detections.js";
import { letterbox, toPlanes } from "./letterbox.js";
import { findJoints, jointsInPicture, squared } from "./poses.js";

/** A canvas that holds the frame that is looked at, while a video goes on. */
export class Frame {
  constructor() {
    this.image = document.createElement("canvas");
    this.context = this.image.getContext("2d", { willReadFrequently: true });
  }

  get width() {
    return this.image.width;
  }

  get height() {
    return this.image.height;
  }

  /** @param {import("./sources.js").Source} source */
  take({ picture, width, height }) {
    if (this.width !== width || this.height !== height) Object.assign(this.image, { width, height });
    this.context.clearRect(0, 0, width, height);
    this.context.drawImage(picture, 0, 0, width, height);
  }

  pixels() {
    return this.context.getImageData(0, 0, this.width, this.height);
  }
}

/** What the network said about one frame; thresholds can be changed afterwards without running it again. */
export class Seen {
  constructor(model, boxed, output, spans) {
    Object.assign(this, { model, boxed, output, spans });
  }

  /**
   * @param {{minScore: number, maxIou: number}} thresholds
   * @param {Frame} frame the picture in whose pixels boxes or joints are given.
   * @returns {{inPicture: object[], inInput: object[]}} the same boxes, or all joints, also in pixels of the network's
   *     input.
   */
  found(thresholds, frame) {
    const start = performance.now();
    const found = this.model.task === "pose" ? this.#joints(thresholds) : this.#detections(thresholds, frame);
    this.spans.suppress = performance.now() - start;
    return found;
  }

  #detections(thresholds, frame) {
    const { hasNms, names } = this.model;
    const inInput = findDetections(this.output, { hasNms, classCount: names.length, ...thresholds });
    return { inInput, inPicture: toPicture(inInput, this.boxed, frame.width, frame.height) };
  }

  #joints({ minScore }) {
    const inInput = findJoints(this.output, this.model.names, minScore);
    return { inInput, inPicture: jointsInPicture(inInput, this.boxed) };
  }
}

/**
 * @param {import("./model.js").Model} model
 * @param {Frame} frame
 * @param {import("./sources.js").Source | null} source whose present frame is taken first; null: the frame as it is.
 * @returns {Promise<Seen>}
 */
export async function look(model, frame, source) {
  const start = performance.now();
  if (source) frame.take(source);
  const { task, inputHw, crop } = model;
  const boxed = task === "pose" ? squared(frame.pixels(), inputHw[0], crop) : letterbox(frame.pixels(), inputHw);
  const planes = toPlanes(boxed);
  const prepared = performance.now();
  const output = await model.run(planes);
  const spans = { prepare: prepared - start, network: performance.now() - prepared, suppress: 0 };
  return new Seen(model, boxed, output, spans);
}
