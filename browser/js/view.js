// What the page shows of a result: the drawn frame, a sentence, the times and the table.

import { classColour, draw, drawPose, nameOf, sideColour } from "./draw.js";
import { sizeText } from "./model.js";

const element = (id) => document.getElementById(id);
const canvas = element("canvas");
const stage = element("stage");
const PARTS = ["prepare", "network", "suppress", "total"];
const COLUMNS = { detect: ["Class", "Score", "Left", "Top", "Width", "Height"], pose: ["Key point", "Score", "X", "Y"] };

export function showError(message) {
  element("error").textContent = message;
  element("error").hidden = !message;
}

/**
 * Draw a frame; returns how many times it is enlarged.
 *
 * @param {{image: CanvasImageSource, width: number, height: number}} picture
 * @param {object[]} found detections, or joints of a model for key points.
 * @param {import("./model.js").Model | null} model
 */
export function showPicture(picture, found, model) {
  const style = getComputedStyle(stage);
  const room = {
    width: stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
    height: Math.max(320, window.innerHeight * 0.72),
  };
  element("placeholder").hidden = true;
  canvas.hidden = false;
  if (model?.task === "pose") return drawPose(canvas, picture, found, model.skeleton, room);
  return draw(canvas, picture, found, model?.names ?? [], room);
}

/**
 * Say what was found, for those who do not see the drawing too.
 *
 * @param {string} text
 * @param {{width: number, height: number}} picture
 * @param {number} factor how many times it is enlarged.
 * @param {boolean} moves whether more frames follow.
 */
export function showSummary(text, { width, height }, factor, moves) {
  const times = Number(factor.toFixed(factor < 10 ? 1 : 0));
  element("size").textContent = `${sizeText([height, width])}${times === 1 ? "" : `, shown ${times} times as large`}`;
  const summary = element("summary");
  summary.setAttribute("aria-live", moves ? "off" : "polite"); // a video would never stop talking
  summary.textContent = text;
  canvas.setAttribute("aria-label", text || "The picture");
}

/** What was found, in a sentence. */
export function foundText(found, { task, names }) {
  if (task !== "pose") return countText(found, names);
  const shown = found.filter(({ isShown }) => isShown);
  if (shown.length === 0) return "No key point found";
  return `${shown.length} of ${found.length} key points found`;
}

export function countText(detections, names) {
  if (detections.length === 0) return "Nothing found";
  const counts = new Map();
  for (const { classIndex } of detections) counts.set(classIndex, (counts.get(classIndex) ?? 0) + 1);
  const parts = [...counts].sort(([a], [b]) => a - b).map(([index, count]) => `${count} × ${nameOf(index, names)}`);
  return `${detections.length} found: ${parts.join(", ")}`;
}

/** @param {import("./clock.js").Clock | null} clock */
export function showTimes(clock) {
  for (const part of PARTS) element(`time-${part}`).textContent = clock ? duration(clock.median(part)) : "–";
  const rate = clock?.framesPerSecond;
  element("time-fps").textContent = Number.isFinite(rate) ? rate.toFixed(rate < 10 ? 1 : 0) : "–";
}

function duration(milliseconds) {
  if (!Number.isFinite(milliseconds)) return "–";
  if (milliseconds < 0.1) return "< 0.1 ms";
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}

export function showTable(found, { task, names, skeleton }) {
  const rows = task === "pose" ? jointRows(found, skeleton) : found.map((box) => boxRow(box, names));
  element("columns").replaceChildren(...COLUMNS[task].map((title) => columnHead(title)));
  element("table").hidden = rows.length === 0;
  element("rows").replaceChildren(...rows);
}

function columnHead(title) {
  return Object.assign(document.createElement("th"), { scope: "col", textContent: title });
}

function boxRow({ x1, y1, x2, y2, score, classIndex }, names) {
  return row(nameOf(classIndex, names), score, [x1, y1, x2 - x1, y2 - y1], classColour(classIndex));
}

/** Those that are shown, as detect.py gives them: the middle of the first pixel is 0. */
function jointRows(joints, { sides }) {
  const lines = joints.map(({ name, x, y, score, isShown }, index) =>
    isShown ? row(name.replace(/\s+/g, " "), score, [x - 0.5, y - 0.5], sideColour(sides[index])) : null,
  );
  return lines.filter(Boolean);
}

function row(name, score, numbers, colour) {
  const line = document.createElement("tr");
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.background = colour;
  for (const text of [name, score.toFixed(3), ...numbers.map((value) => value.toFixed(1))]) {
    const cell = document.createElement("td");
    cell.textContent = text;
    line.append(cell);
  }
  line.firstChild.prepend(swatch);
  return line;
}
