// Key points of one person who fills the picture: the crop as mgil/tasks/pose/crops.py makes it, and the way back.

const PADDING = 1.25; // side of the crop, as a multiple of the picture's longer side
const LEAST_BILINEAR_SCALE = 0.6; // smaller ones are halved first, where crops average
const MOST_HALVINGS = 5;
const MIDDLE = 0;
const LEFT = 1;
const RIGHT = 2;
const SIDES = new Map([
  ["l", LEFT],
  ["left", LEFT],
  ["r", RIGHT],
  ["right", RIGHT],
]);

/**
 * @typedef {object} Joint
 * @property {string} name
 * @property {number} x pixels; the left edge of the picture is 0
 * @property {number} y
 * @property {number} score 0..1
 * @property {boolean} isShown whether it is sure enough
 */

/**
 * @typedef {object} Skeleton
 * @property {[number, number][]} limbs indices of key points
 * @property {number[]} sides of key points: 0 middle, 1 left, 2 right
 */

/**
 * Read the skeleton as it stands in the metadata.
 *
 * @param {string} text JSON with `flip` and `limbs`.
 * @param {string[]} names of the key points.
 * @returns {Skeleton}
 * @throws {Error} it is none of so many key points.
 */
export function parseSkeleton(text, names) {
  let parts;
  try {
    parts = JSON.parse(text);
  } catch {
    throw new Error("the skeleton cannot be read");
  }
  const isPoint = (index) => Number.isInteger(index) && index >= 0 && index < names.length;
  const { flip, limbs } = parts ?? {};
  if (!Array.isArray(flip) || flip.length !== names.length || !flip.every(isPoint)) {
    throw new Error("the skeleton does not say what its key points are in a mirrored picture");
  }
  const isPair = (pair) => Array.isArray(pair) && pair.length === 2 && pair.every(isPoint);
  if (!Array.isArray(limbs) || !limbs.every(isPair)) throw new Error("the limbs of the skeleton are no pairs");
  return { limbs, sides: names.map((name, index) => sideOf(name, index, flip[index])) };
}

/** Of a pair whose names do not say, the first one is left. */
function sideOf(name, index, other) {
  if (other === index) return MIDDLE;
  return sideSaid(name) ?? (index < other ? LEFT : RIGHT);
}

/** The side that a name says, as mgil/tasks/pose/reading/known_points.py tells it: `LHip`, `hip_l`, `Left Hip`. */
function sideSaid(name) {
  const spaced = name.trim().replace(/(?<=[a-z0-9])(?=[A-Z])|^([LR])(?=[A-Z][a-z])/g, "$1_");
  const words = spaced.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const said = words.filter((word) => SIDES.has(word));
  return SIDES.get(said.length === 1 ? said[0] : words[0]);
}

/** The side of a limb between key points of two sides. */
export function limbSide(first, second) {
  if (first === MIDDLE || second === MIDDLE || first === second) return Math.max(first, second);
  return MIDDLE;
}

/**
 * Square a picture around its middle.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number}} picture RGBA; the alpha channel is left out.
 * @param {number} size side of the network's input in pixels.
 * @param {string} how `linear` looks at four pixels, `area` averages over those that become one.
 * @returns {{data: Uint8ClampedArray, width: number, height: number, gain: number[], pad: number[]}} RGBA, opaque, black
 *     around the picture; input pixels = picture pixels * gain + pad.
 */
export function squared(picture, size, how) {
  const { width, height } = picture;
  const scale = size / (PADDING * Math.max(width, height));
  const pad = [width, height].map((side) => (size - side * scale) / 2);
  const needed = Math.ceil(Math.log2(LEAST_BILINEAR_SCALE / scale) - 1e-9);
  const step = how === "area" ? 2 ** Math.min(Math.max(needed, 0), MOST_HALVINGS) : 1;
  const source = step > 1 ? averaged(picture, step) : picture;
  const columns = taps(source.width, size, scale * step, pad[0]);
  const rows = taps(source.height, size, scale * step, pad[1]);
  const out = new Uint8ClampedArray(size * size * 4);
  for (let y = 0, target = 0; y < size; y++) {
    for (let x = 0; x < size; x++, target += 4) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (const [row, down] of rows[y]) {
          for (const [column, across] of columns[x]) {
            sum += down * across * source.data[(row * source.width + column) * 4 + channel];
          }
        }
        out[target + channel] = sum; // rounded by the array
      }
      out[target + 3] = 255;
    }
  }
  return { data: out, width: size, height: size, gain: [scale, scale], pad };
}

/** For each of `size` output pixels the source pixels around its middle, with their shares; those outside are black. */
function taps(from, size, scale, pad) {
  return Array.from({ length: size }, (_, index) => {
    const place = (index + 0.5 - pad) / scale - 0.5;
    const first = Math.floor(place);
    const share = place - first;
    return [[first, 1 - share], [first + 1, share]].filter(
      ([source, weight]) => source >= 0 && source < from && weight > 0,
    );
  });
}

/** Means over squares of `step` pixels; black is added where the last ones are not whole. */
function averaged({ data, width, height }, step) {
  const [across, down] = [Math.ceil(width / step), Math.ceil(height / step)];
  const out = new Uint8ClampedArray(across * down * 4);
  for (let y = 0, target = 0; y < down; y++) {
    for (let x = 0; x < across; x++, target += 4) {
      for (let channel = 0; channel < 4; channel++) {
        let sum = 0;
        for (let row = y * step; row < Math.min((y + 1) * step, height); row++) {
          for (let column = x * step; column < Math.min((x + 1) * step, width); column++) {
            sum += data[(row * width + column) * 4 + channel];
          }
        }
        out[target + channel] = sum / step ** 2;
      }
    }
  }
  return { data: out, width: across, height: down };
}

/**
 * What a model found: all joints, in pixels of its input.
 *
 * @param {{data: Float32Array}} output (1, K, 3): X, Y, score.
 * @param {string[]} names of the K key points.
 * @param {number} minScore a joint must score more than this to be shown.
 * @returns {Joint[]}
 */
export function findJoints({ data }, names, minScore) {
  return names.map((name, index) => {
    const [x, y, score] = data.subarray(3 * index, 3 * index + 3);
    const isFound = [x, y].every(Number.isFinite) && score >= 0 && score <= 1.001; // a probability, rounded
    return isFound ? { name, x, y, score, isShown: score > minScore } : { name, x: 0, y: 0, score: 0, isShown: false };
  });
}

/**
 * Take joints from the network's input back to the picture; they may lie beyond its edges.
 *
 * @param {Joint[]} joints
 * @param {{gain: number[], pad: number[]}} place as squared() gives it.
 */
export function jointsInPicture(joints, { gain, pad }) {
  return joints.map((joint) => ({ ...joint, x: (joint.x - pad[0]) / gain[0], y: (joint.y - pad[1]) / gain[1] }));
}
