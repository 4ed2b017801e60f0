// The page: what its controls do.

import { Clock } from "./clock.js";
import { Frame, look } from "./detector.js";
import { UserError } from "./errors.js";
import { Model, sizeText } from "./model.js";
import { openImage, openVideo, openWebcam } from "./sources.js";
import { foundText, showError, showPicture, showSummary, showTable, showTimes } from "./view.js";

const WEBCAM_HW = [240, 320]; // where no model tells how much it can use
const TEXT_EVERY_MS = 250; // of a video: nobody reads faster
const LEAST_SCORE = 0.01; // of a model that leaves suppression to the page
const FIRST_SCORE = { detect: 0.25, pose: 0.02 }; // as detect.py; over many places a probability is low

const element = (id) => document.getElementById(id);

/** @type {Model | null} */
let model = null;
/** What is on show: a source, its frame, what was seen in it, and how long that took. */
let showing = null;
let newestModel = 0; // the number of the latest choice: what was chosen before and comes later is dropped
let newestSource = 0;

/** Make a handler of an action that may fail. */
function attempt(action) {
  return async (...values) => {
    showError("");
    try {
      await action(...values);
    } catch (error) {
      report(error);
    }
  };
}

function report(error) {
  if (!(error instanceof UserError)) console.error(error);
  showError(error instanceof UserError ? error.message : `Something went wrong: ${error?.message ?? error}`);
}

// Model

async function useModel(fileName, readBytes) {
  const choice = ++newestModel;
  const text = element("model-text");
  text.textContent = `Loading ${fileName} …`;
  let loaded;
  try {
    loaded = await Model.load(await readBytes(), fileName);
  } catch (error) {
    if (choice === newestModel) describeModel();
    throw error;
  }
  if (choice !== newestModel) {
    await loaded.release();
    return;
  }
  const old = model;
  model = loaded;
  if (old?.task !== model.task && (old || model.task !== "detect")) element("score").value = FIRST_SCORE[model.task];
  describeModel();
  await old?.release();
  showing?.clock.clear();
  if (showing && !isRunning()) await lookAndShow(showing);
}

function describeModel() {
  const text = element("model-text");
  if (!model) {
    text.textContent = "None yet. export.py --include onnx writes one.";
    return;
  }
  const { fileName, task, inputHw, names, hasNms, leastScore } = model;
  const [one, many] = task === "pose" ? ["key point", "key points"] : ["class", "classes"];
  const classes = names.length === 1 ? `1 ${one}` : `${names.length || "unnamed"} ${many}`;
  const inside = leastScore ? `, NMS inside for scores from ${leastScore}` : ", NMS inside";
  text.textContent = `${fileName}: input ${sizeText(inputHw)}, ${classes}${hasNms ? inside : ""}`;
  element("iou").disabled = hasNms || task === "pose"; // nothing is left to suppress
  element("last-part").textContent = task === "pose" ? "Joints" : "NMS";
  element("score").min = Math.min(Math.max(leastScore, LEAST_SCORE), 0.99).toFixed(2); // lower ones would do nothing
  showThreshold("score");
  element("engine").textContent = model.engine;
}

/** Fetch the model of ?model=, from this server only. */
async function fetchModel(address) {
  let url = null;
  try {
    url = new URL(address, location.href);
  } catch {
    // reported with the other unusable addresses
  }
  if (url?.origin !== location.origin) {
    throw new UserError(`?model=${address} is not on this server; a page may load models from its own server only.`);
  }
  const fileName = decodeURIComponent(url.pathname.split("/").pop()) || address;
  await useModel(fileName, async () => {
    const response = await fetch(url, { mode: "same-origin" }).catch((error) => {
      throw new UserError(`${url.pathname} could not be fetched: ${error.message}`);
    });
    if (!response.ok) {
      throw new UserError(`There is no model at ${url.pathname}: the server answered ${response.status}.`);
    }
    return new Uint8Array(await response.arrayBuffer());
  });
}

// Source

async function useSource(open) {
  const choice = ++newestSource;
  const source = await open();
  if (choice !== newestSource) {
    source.close();
    return;
  }
  closeSource();
  const mine = { source, frame: new Frame(), seen: null, clock: new Clock(), isOpen: true, textAt: 0 };
  showing = mine;
  element("source-text").textContent = `${source.title}, ${sizeText([source.height, source.width])}`;
  element("playing").hidden = !source.moves;
  element("pause").textContent = "Pause";
  showTimes(null);
  try {
    await lookAndShow(mine);
    element("stage").scrollIntoView({ block: "nearest" }); // on a phone it lies below the controls
    while (source.moves && mine.isOpen) {
      await source.next();
      if (mine.isOpen) await lookAndShow(mine);
    }
  } catch (error) {
    if (mine === showing) closeSource();
    throw error;
  }
}

/** Stop the source; its last frame stays on show. */
function closeSource() {
  if (!showing?.isOpen) return;
  showing.isOpen = false;
  showing.source.close();
  element("playing").hidden = true;
}

function isRunning() {
  return showing?.isOpen && showing.source.moves && !showing.source.video.paused;
}

async function togglePause() {
  const { video } = showing.source;
  const pauses = !video.paused;
  if (pauses) video.pause();
  else await video.play();
  element("pause").textContent = pauses ? "Resume" : "Pause";
  showing.clock.clear();
}

// Result

async function lookAndShow(mine) {
  const source = mine.isOpen ? mine.source : null;
  if (!model) {
    if (source) mine.frame.take(source);
    showResult(mine, true);
    return;
  }
  const asked = model;
  const seen = await look(asked, mine.frame, source);
  if (mine !== showing || asked !== model) return;
  mine.seen = seen;
  const texts = isTextDue(mine);
  showResult(mine, texts);
  const { prepare, network, suppress } = seen.spans;
  mine.clock.add({ ...seen.spans, total: prepare + network + suppress }, performance.now());
  if (texts) showTimes(mine.clock);
}

/** Show what was seen last, with the thresholds as they are now. */
function showResult(mine, texts) {
  const { seen, frame, source } = mine;
  const found = seen?.found(thresholds(), frame) ?? { inPicture: [], inInput: [] };
  const showsInput = element("input-view").checked && seen;
  const picture = showsInput ? inputPicture(seen.boxed) : frame;
  const factor = showPicture(picture, showsInput ? found.inInput : found.inPicture, seen?.model);
  if (!texts) return;
  showSummary(seen ? foundText(found.inPicture, seen.model) : "", picture, factor, source.moves);
  if (seen) showTable(found.inPicture, seen.model);
}

/** Whether this frame's texts are written: all of pictures', of a video's a few per second. */
function isTextDue(mine) {
  const now = performance.now();
  if (isRunning() && now - mine.textAt < TEXT_EVERY_MS) return false;
  mine.textAt = now;
  return true;
}

function thresholds() {
  return { minScore: Number(element("score").value), maxIou: Number(element("iou").value) };
}

function inputPicture({ data, width, height }) {
  const image = Object.assign(document.createElement("canvas"), { width, height });
  image.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  return { image, width, height };
}

// Controls

function onFile(id, use) {
  const input = element(id);
  input.addEventListener("change", () => {
    const [file] = input.files;
    input.value = ""; // so that the same file can be chosen again
    if (file) use(file);
  });
}

function onThreshold(id) {
  const slider = element(id);
  slider.addEventListener("input", () => {
    showThreshold(id);
    if (showing?.seen) showResult(showing, true);
  });
  showThreshold(id); // browsers keep it across reloads
}

function showThreshold(id) {
  element(`${id}-value`).textContent = Number(element(id).value).toFixed(2);
}

function start() {
  const chooseModel = (file) => useModel(file.name, async () => new Uint8Array(await file.arrayBuffer()));
  onFile("model-file", attempt(chooseModel));
  onFile("image-file", attempt((file) => useSource(() => openImage(file))));
  onFile("video-file", attempt((file) => useSource(() => openVideo(file))));
  element("webcam").addEventListener("click", attempt(() => useSource(() => openWebcam(model?.inputHw ?? WEBCAM_HW))));
  element("pause").addEventListener("click", attempt(togglePause));
  element("stop").addEventListener("click", attempt(closeSource));
  onThreshold("score");
  onThreshold("iou");
  element("input-view").addEventListener("change", () => showing && showResult(showing, true));

  let stageWidth = 0;
  new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width !== stageWidth && showing) showResult(showing, false);
    stageWidth = contentRect.width;
  }).observe(element("stage"));

  const address = new URLSearchParams(location.search).get("model");
  if (address) attempt(fetchModel)(address);
}

start();
