// From the network's output to boxes, by the rule of mgil/tasks/detect/nms.py.

const MAX_CANDIDATES = 30000; // by score, before suppression
const MAX_DETECTIONS = 1000; // as detect.py

/**
 * @typedef {object} Detection
 * @property {number} x1 left, pixels
 * @property {number} y1 top
 * @property {number} x2 right
 * @property {number} y2 bottom
 * @property {number} score 0..1
 * @property {number} classIndex
 */

/**
 * What a model found, best first, in pixels of its input.
 *
 * @param {{data: Float32Array, dims: number[]}} output (1, N, 5 + classes), or (1, N, 6) of a model with suppression.
 * @param {{hasNms: boolean, classCount: number, minScore: number, maxIou: number}} options classCount 0: not known.
 * @returns {Detection[]}
 */
export function findDetections(output, { hasNms, classCount, minScore, maxIou }) {
  if (hasNms) return suppressedRows(output, minScore, classCount || Infinity);
  return suppress(candidates(output, minScore), maxIou);
}

/** A box counts when its objectness, and that times the score of its best class, exceed `minScore`. */
export function candidates({ data, dims: [, count, columns] }, minScore) {
  const found = [];
  for (let row = 0; row < count; row++) {
    const start = row * columns;
    const objectness = data[start + 4];
    if (!(objectness > minScore)) continue;
    let best = 5;
    let sum = 0; // of a row with a NaN or an infinite value: such a value
    for (let column = 0; column < columns; column++) {
      sum += data[start + column];
      if (column > 5 && data[start + column] > data[start + best]) best = column;
    }
    const score = Math.fround(objectness * data[start + best]);
    if (!Number.isFinite(sum) || !(score > minScore)) continue;
    const [x, y, width, height] = data.subarray(start, start + 4);
    found.push({
      x1: x - width / 2,
      y1: y - height / 2,
      x2: x + width / 2,
      y2: y + height / 2,
      score,
      classIndex: best - 5,
    });
  }
  found.sort((a, b) => b.score - a.score); // stable
  return found.slice(0, MAX_CANDIDATES);
}

/** Of two boxes of one class that overlap more than `maxIou`, keep the better one. */
export function suppress(sorted, maxIou) {
  const kept = [];
  const keptOfClass = new Map();
  for (const box of sorted) {
    if (!keptOfClass.has(box.classIndex)) keptOfClass.set(box.classIndex, []);
    const rivals = keptOfClass.get(box.classIndex);
    if (rivals.some((rival) => iou(rival, box) > maxIou)) continue;
    rivals.push(box);
    kept.push(box);
    if (kept.length === MAX_DETECTIONS) break;
  }
  return kept;
}

/**
 * Rows of a model with suppression inside: x1 y1 x2 y2 score class; zeros after the last one found. A class that has no
 * name is no detection.
 */
function suppressedRows({ data, dims: [, count] }, minScore, classCount) {
  const found = [];
  for (let row = 0; row < count; row++) {
    const [x1, y1, x2, y2, score, classIndex] = data.subarray(row * 6, row * 6 + 6);
    if (!(score > minScore && classIndex >= 0 && classIndex < classCount)) continue;
    if ([x1, y1, x2, y2].every(Number.isFinite)) found.push({ x1, y1, x2, y2, score, classIndex });
  }
  return found.sort((a, b) => b.score - a.score);
}

export function iou(a, b) {
  const width = Math.min(a.x2, b.x2) - Math.max(a.x1, b.x1);
  const height = Math.min(a.y2, b.y2) - Math.max(a.y1, b.y1);
  if (width <= 0 || height <= 0) return 0;
  const shared = width * height;
  return shared / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - shared);
}

/**
 * Take boxes from the network's input back to the picture, cut at its edges.
 *
 * @param {Detection[]} detections
 * @param {{gain: number[], pad: number[]}} place as letterbox() gives it.
 * @param {number} width of the picture.
 * @param {number} height of the picture.
 */
export function toPicture(detections, { gain, pad }, width, height) {
  const back = (value, axis, limit) => Math.min(Math.max((value - pad[axis]) / gain[axis], 0), limit);
  return detections.map((box) => ({
    ...box,
    x1: back(box.x1, 0, width),
    y1: back(box.y1, 1, height),
    x2: back(box.x2, 0, width),
    y2: back(box.y2, 1, height),
  }));
}
