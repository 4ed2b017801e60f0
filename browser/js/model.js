// A detector, or a network for key points, in an ONNX file, run by ONNX Runtime Web.

import { UserError } from "./errors.js";
import { FILL } from "./letterbox.js";
import { parseNames, readMetadata } from "./metadata.js";
import { parseSkeleton } from "./poses.js";

const VENDOR = new URL("../vendor/", import.meta.url).href;
const USUAL_SIZE = 640; // of a dynamic model that does not tell its size
const LARGEST_SIDE = 4096;
const TASKS = ["detect", "pose"];
const CROPS = ["linear", "area"];
const HOW_TO_EXPORT = "python export.py --weights best.pt --include onnx";

let runtime = null;

/** Load ONNX Runtime Web from this page's own folder, once. */
export function loadRuntime() {
  runtime ??= importRuntime().catch((error) => {
    runtime = null;
    throw error;
  });
  return runtime;
}

async function importRuntime() {
  let ort;
  try {
    ort = await import(`${VENDOR}ort.wasm.min.mjs`);
  } catch {
    throw new UserError(
      "ONNX Runtime Web is not in browser/vendor/. In the folder browser/ run: npm ci && npm run vendor; then reload.",
    );
  }
  ort.env.wasm.wasmPaths = VENDOR;
  // Threads share memory, which browsers allow only to pages served with cross-origin isolation headers.
  if (!self.crossOriginIsolated) ort.env.wasm.numThreads = 1;
  return ort;
}

export class Model {
  #ort;
  #session;
  #last = Promise.resolve();

  constructor(ort, session, layout) {
    this.#ort = ort;
    this.#session = session;
    Object.assign(this, layout);
  }

  /**
   * @param {Uint8Array} bytes an ONNX file.
   * @param {string} fileName for messages.
   * @returns {Promise<Model>} one that has run once, so that its first frame is not slower than others.
   * @throws {UserError} what is wrong with the file, in plain words.
   */
  static async load(bytes, fileName) {
    const metadata = checkFile(bytes, fileName);
    const ort = await loadRuntime();
    const session = await openSession(ort, bytes, fileName);
    try {
      const layout = readLayout(session, metadata, fileName);
      const model = new Model(ort, session, layout);
      const [height, width] = layout.inputHw;
      const { dims } = await model.run(new Float32Array(3 * height * width).fill(FILL / 255));
      model.names = checkOutput(dims, layout, fileName);
      return model;
    } catch (error) {
      await session.release();
      throw error;
    }
  }

  /** Version and number of threads of the runtime. */
  get engine() {
    const { wasm, versions } = this.#ort.env;
    const threads = wasm.numThreads === 1 ? "1 thread" : `${wasm.numThreads} threads`;
    return `ONNX Runtime Web ${versions.web ?? versions.common}, WebAssembly, ${threads}`;
  }

  /**
   * @param {Float32Array} planes (3, H, W), RGB, 0..1.
   * @returns {Promise<{data: Float32Array, dims: number[]}>}
   */
  run(planes) {
    // A session takes one input at a time.
    this.#last = this.#last.catch(() => {}).then(() => this.#run(planes));
    return this.#last;
  }

  async #run(planes) {
    const input = new this.#ort.Tensor("float32", planes, [1, 3, ...this.inputHw]);
    let outputs;
    try {
      outputs = await this.#session.run({ [this.inputName]: input }, [this.outputName]);
    } catch (error) {
      throw new UserError(`The model could not be run on a ${sizeText(this.inputHw)} input: ${firstLine(error)}`);
    }
    const { data, dims, type } = outputs[this.outputName];
    if (type !== "float32") throw new UserError(`The model gives ${type} numbers; export it without --half.`);
    return { data, dims };
  }

  async release() {
    await this.#last.catch(() => {});
    await this.#session.release();
  }
}

/** Find out what is no ONNX file before the runtime gets it, whose messages are for programmers. */
export function checkFile(bytes, fileName) {
  if (bytes.length === 0) throw new UserError(`${fileName} is empty.`);
  if (bytes[0] === 0x50 && bytes[1] === 0x4b) {
    throw new UserError(`${fileName} is no ONNX model; it seems to be a PyTorch file. Export it first: ${HOW_TO_EXPORT}`);
  }
  try {
    return readMetadata(bytes);
  } catch (error) {
    throw new UserError(
      `${fileName} is no ONNX model, or not all of one: ${error.message}. To make one: ${HOW_TO_EXPORT}`,
    );
  }
}

async function openSession(ort, bytes, fileName) {
  try {
    return await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  } catch (error) {
    const reason = firstLine(error);
    if (reason.includes("no available backend")) {
      throw new UserError(`WebAssembly could not be started in this browser; is browser/vendor/ complete? ${reason}`);
    }
    if (/external data|\.data\b/i.test(reason)) {
      throw new UserError(`${fileName} keeps its weights in a second file, which a page cannot open; export one file.`);
    }
    throw new UserError(`${fileName} cannot be loaded: ${reason}`);
  }
}

/**
 * Check what goes in and what comes out, as far as the file tells.
 *
 * @param {{inputNames: string[], outputNames: string[], inputMetadata: object[]}} session
 * @param {Map<string, string>} metadata
 * @param {string} fileName
 */
export function readLayout(session, metadata, fileName) {
  const { inputNames, outputNames, inputMetadata } = session;
  const { shape = [], type } = inputMetadata[0] ?? {};
  const isImage = shape.length === 4 && (shape[1] === 3 || typeof shape[1] === "string");
  if (inputNames.length !== 1 || !isImage) {
    const inputs = inputNames.map((name, index) => `${name} (${inputMetadata[index]?.shape?.join(", ")})`).join(", ");
    throw new UserError(`${fileName} takes ${inputs}, but this page gives images (1, 3, height, width) alone.`);
  }
  if (type !== "float32") {
    throw new UserError(`${fileName} takes ${type} numbers, this page gives float32. Export it without --half.`);
  }
  if (typeof shape[0] === "number" && shape[0] !== 1) {
    throw new UserError(`${fileName} takes ${shape[0]} pictures at a time; export it with --batch-size 1.`);
  }
  const task = metadata.get("task") ?? "detect";
  if (!TASKS.includes(task)) {
    throw new UserError(`${fileName} is made for the task ${task}; this page knows ${TASKS.join(" and ")}.`);
  }
  const stride = wholeNumber(metadata.get("stride")) ?? 32;
  const trained = trainedHw(metadata.get("imgsz"));
  const hasNms = metadata.get("nms")?.toLowerCase() === "true";
  const inputHw = [2, 3].map((axis) => {
    const side = typeof shape[axis] === "number" ? shape[axis] : Math.ceil(trained[axis - 2] / stride) * stride;
    if (side < 1 || side > LARGEST_SIDE) {
      throw new UserError(`${fileName} has an input of ${side} px; this page takes 1 to ${LARGEST_SIDE}.`);
    }
    return side;
  });
  const names = metadata.has("names") ? namesOf(metadata.get("names"), fileName) : null;
  return {
    fileName,
    task,
    inputHw,
    stride,
    inputName: inputNames[0],
    outputName: outputNames.includes("output0") ? "output0" : outputNames[0],
    hasNms,
    leastScore: hasNms ? fraction(metadata.get("conf_thres")) : 0, // boxes below are not in its output
    names,
    ...(task === "pose" ? poseLayout(metadata, inputHw, names, fileName) : {}),
  };
}

/** What a network for key points says beside that: its skeleton, and how the crops of its training were taken. */
function poseLayout(metadata, inputHw, names, fileName) {
  if (!names) throw new UserError(`${fileName} does not name its key points; export it again.`);
  if (inputHw[0] !== inputHw[1]) {
    throw new UserError(`${fileName} has an input of ${sizeText(inputHw)}; networks for key points take squares.`);
  }
  const crop = metadata.get("crop") ?? "linear";
  if (!CROPS.includes(crop)) throw new UserError(`${fileName}: its crops are none of ${CROPS.join(", ")}.`);
  try {
    return { skeleton: parseSkeleton(metadata.get("skeleton") ?? "", names), crop };
  } catch (error) {
    throw new UserError(`${fileName}: ${error.message}; export it again.`);
  }
}

/**
 * Check what came out.
 *
 * @param {number[]} dims of the output.
 * @param {{task: string, hasNms: boolean, names: string[] | null}} layout
 * @param {string} fileName
 * @returns {string[]} names of classes or key points.
 */
export function checkOutput(dims, { task, hasNms, names }, fileName) {
  if (task === "pose") {
    if (String(dims) === String([1, names.length, 3])) return names;
    throw new UserError(
      `${fileName} gives (${dims.join(", ")}), but a network for ${names.length} key points gives (1, ${names.length}, 3).`,
    );
  }
  const columns = dims.at(-1);
  if (dims.length !== 3 || dims[0] !== 1 || (hasNms ? columns !== 6 : columns < 6)) {
    const expected = hasNms ? "(1, boxes, 6)" : "(1, boxes, 5 + classes)";
    throw new UserError(`${fileName} gives (${dims.join(", ")}), but a YOLOv5 detector gives ${expected}.`);
  }
  const count = columns - 5;
  if (hasNms) return names ?? [];
  if (names && names.length !== count) {
    const named = names.length === 1 ? "1 class" : `${names.length} classes`;
    throw new UserError(`${fileName} names ${named}, but its output (${dims.join(", ")}) has room for ${count}.`);
  }
  return names ?? Array.from({ length: count }, (_, index) => `class ${index}`);
}

function namesOf(text, fileName) {
  try {
    return parseNames(text);
  } catch (error) {
    throw new UserError(`${fileName}: the ${error.message}.`);
  }
}

function trainedHw(text) {
  const sides = (text ?? "").match(/\d+/g)?.map(Number) ?? [USUAL_SIZE];
  return [sides[0], sides[1] ?? sides[0]];
}

function wholeNumber(text) {
  const value = Number(text);
  return Number.isInteger(value) && value > 0 ? value : null;
}

function fraction(text) {
  const value = Number(text);
  return value > 0 && value < 1 ? value : 0;
}

export function sizeText([height, width]) {
  return `${width} × ${height} px`;
}

function firstLine(error) {
  return String(error?.message ?? error).split("\n", 1)[0].slice(0, 300);
}
