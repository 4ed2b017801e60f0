// What the page shows of a result: the drawn frame, a sentence, the times and the table.

import { classColour, draw, nameOf } from "./draw.js";
import { sizeText } from "./model.js";

const element = (id) => document.getElementById(id);
const canvas = element("canvas");
const stage = element("stage");
const PARTS = ["prepare", "network", "suppress", "total"];

export function showError(message) {
  element("error").textContent = message;
  element("error").hidden = !message;
}

/** Draw a frame; returns how many times it is enlarged. */
export function showPicture(picture, detections, names) {
  const style = getComputedStyle(stage);
  const room = {
    width: stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
    height: Math.max(320, window.innerHeight * 0.72),
  };
  element("placeholder").hidden = true;
  canvas.hidden = false;
  return draw(canvas, picture, detections, names, room);
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

export function showTable(detections, names) {
  element("table").hidden = detections.length === 0;
  element("rows").replaceChildren(...detections.map((box) => row(box, names)));
}

function row({ x1, y1, x2, y2, score, classIndex }, names) {
  const line = document.createElement("tr");
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.background = classColour(classIndex);
  const numbers = [x1, y1, x2 - x1, y2 - y1].map((value) => value.toFixed(1));
  for (const text of [nameOf(classIndex, names), score.toFixed(3), ...numbers]) {
    const cell = document.createElement("td");
    cell.textContent = text;
    line.append(cell);
  }
  line.firstChild.prepend(swatch);
  return line;
}
