// A frame and its boxes or joints on the canvas, magnified a whole number of times where there is room, so that a person can see
// what was found on 64 pixels.

import { limbSide } from "./poses.js";

const LINE = 2; // CSS pixels
const JOINT = 2.5; // radius
const FONT = 13;
const SMALL_FONT = 11; // on a phone
const SMALL = 420; // CSS pixels of the drawing's longer side
const PADDING = 3;
const FAMILY = "system-ui, sans-serif";
const HALO = 1.5; // of white around lines, so that they stand out on dark pictures too
// White letters can be read on each of them.
const COLOURS = [
  "#c62828", "#1565c0", "#2e7d32", "#8e24aa", "#b45309", "#00757f", "#c2185b", "#4e342e", "#3949ab", "#546e00",
];

const SIDES = [2, 1, 6].map((index) => COLOURS[index]); // middle, left, right

export function sideColour(side) {
  return SIDES[side];
}

export function classColour(classIndex) {
  return COLOURS[classIndex % COLOURS.length];
}

/**
 * How many times a picture is enlarged: a whole number, or the fraction that makes a large one fit.
 *
 * @param {number} width pixels of the picture.
 * @param {number} height
 * @param {number} roomWidth pixels of the screen.
 * @param {number} roomHeight
 */
export function magnification(width, height, roomWidth, roomHeight) {
  const factor = Math.min(roomWidth / width, roomHeight / height);
  return factor >= 1 ? Math.floor(factor) : factor;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {{image: CanvasImageSource, width: number, height: number}} picture
 * @param {import("./detections.js").Detection[]} detections in pixels of the picture, best first.
 * @param {string[]} names
 * @param {{width: number, height: number}} room in CSS pixels.
 */
export function draw(canvas, picture, detections, names, room) {
  const { context, factor, density } = drawPicture(canvas, picture, room);
  const boxes = detections.map((box) => ({
    ...box,
    x1: box.x1 * factor,
    y1: box.y1 * factor,
    x2: box.x2 * factor,
    y2: box.y2 * factor,
  }));
  for (const box of boxes.toReversed()) strokeBox(context, box, density); // the surest on top
  writeLabels(context, boxes, names, density);
  return factor / density;
}

/**
 * The same with the joints of one person.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {{image: CanvasImageSource, width: number, height: number}} picture
 * @param {import("./poses.js").Joint[]} joints in pixels of the picture.
 * @param {import("./poses.js").Skeleton} skeleton
 * @param {{width: number, height: number}} room in CSS pixels.
 */
export function drawPose(canvas, picture, joints, { limbs, sides }, room) {
  const { context, factor, density } = drawPicture(canvas, picture, room);
  const shown = limbs.filter((ends) => ends.every((index) => joints[index].isShown));
  context.lineCap = "round";
  for (const halo of [HALO * density, 0]) {
    for (const [first, second] of shown) {
      context.lineWidth = LINE * density + 2 * halo;
      context.strokeStyle = halo ? "#fffc" : sideColour(limbSide(sides[first], sides[second]));
      context.beginPath();
      context.moveTo(joints[first].x * factor, joints[first].y * factor);
      context.lineTo(joints[second].x * factor, joints[second].y * factor);
      context.stroke();
    }
  }
  joints.forEach(({ x, y, isShown }, index) => {
    if (!isShown) return;
    for (const [radius, colour] of [[(JOINT + HALO) * density, "#fff"], [JOINT * density, sideColour(sides[index])]]) {
      context.fillStyle = colour;
      context.beginPath();
      context.arc(x * factor, y * factor, radius, 0, 2 * Math.PI);
      context.fill();
    }
  });
  return factor / density;
}

function drawPicture(canvas, picture, room) {
  const density = window.devicePixelRatio || 1;
  const factor = magnification(picture.width, picture.height, room.width * density, room.height * density);
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * factor)));
  resize(canvas, width, height, density);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = factor < 1;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture.image, 0, 0, canvas.width, canvas.height);
  return { context, factor, density };
}

/** Draw a line along the inside of a box's edge. */
function strokeBox(context, { x1, y1, x2, y2, classIndex }, density) {
  const line = LINE * density;
  const sides = [Math.max(x2 - x1 - line, 1), Math.max(y2 - y1 - line, 1)];
  for (const [width, colour] of [[line + 2 * HALO * density, "#fffc"], [line, classColour(classIndex)]]) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.strokeRect(x1 + line / 2, y1 + line / 2, ...sides);
  }
}

function resize(canvas, width, height, density) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  canvas.style.width = `${width / density}px`;
  canvas.style.height = `${height / density}px`;
}

function writeLabels(context, boxes, names, density) {
  const font = Math.max(context.canvas.width, context.canvas.height) < SMALL * density ? SMALL_FONT : FONT;
  context.font = `600 ${font * density}px ${FAMILY}`;
  context.textBaseline = "middle";
  const padding = PADDING * density;
  const height = (font + 2 * PADDING) * density;
  const placed = [];
  for (const box of boxes) {
    const text = labelText(box, names);
    const width = context.measureText(text).width + 2 * padding;
    const label = placeLabel(box, boxes, placed, width, height, context.canvas);
    placed.push(label);
    context.fillStyle = classColour(box.classIndex);
    context.fillRect(label.x1, label.y1, width, height);
    context.fillStyle = "#fff";
    context.fillText(text, label.x1 + padding, label.y1 + height / 2);
  }
}

export function nameOf(classIndex, names) {
  return (names[classIndex] ?? `class ${classIndex}`).replace(/\s+/g, " ");
}

function labelText({ classIndex, score }, names) {
  return `${nameOf(classIndex, names)} ${score.toFixed(2)}`;
}

/** Put a label around its box where it covers least; above it, where there is nothing to choose. */
export function placeLabel(box, boxes, placed, width, height, picture) {
  const corners = [
    [box.x1, box.y1 - height],
    [box.x2 - width, box.y1 - height],
    [box.x1, box.y2],
    [box.x2 - width, box.y2],
    [box.x2, box.y1],
    [box.x2, box.y2 - height],
    [box.x1 - width, box.y1],
    [box.x1 - width, box.y2 - height],
    [box.x1, box.y1],
  ];
  let best = null;
  let least = Infinity;
  corners.forEach(([left, top], order) => {
    const x1 = Math.min(Math.max(left, 0), Math.max(picture.width - width, 0));
    const y1 = Math.min(Math.max(top, 0), Math.max(picture.height - height, 0));
    const label = { x1, y1, x2: x1 + width, y2: y1 + height };
    // One label over another makes both unreadable, so that weighs most; then its own object, then the others'.
    let cost = order * 1e-3 + shared(label, box);
    for (const other of boxes) cost += shared(label, other);
    for (const other of placed) cost += 16 * shared(label, other);
    if (cost < least) [best, least] = [label, cost];
  });
  return best;
}

function shared(a, b) {
  const width = Math.min(a.x2, b.x2) - Math.max(a.x1, b.x1);
  const height = Math.min(a.y2, b.y2) - Math.max(a.y1, b.y1);
  return width > 0 && height > 0 ? width * height : 0;
}
