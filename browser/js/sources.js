// Where frames come from: a picture, a video file or the webcam.

import { UserError } from "./errors.js";

/**
 * @typedef {object} Source
 * @property {string} title
 * @property {boolean} moves whether more frames follow.
 * @property {number} width pixels
 * @property {number} height pixels
 * @property {CanvasImageSource} picture what to draw.
 * @property {() => Promise<void>} next wait for a new frame; for ever where none comes.
 * @property {() => void} close
 */

/** @returns {Promise<Source>} */
export async function openImage(file) {
  let picture;
  try {
    // The pixels as they are in the file, as Python reads them: no colour management.
    picture = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new UserError(`${file.name} is no picture that this browser can read.`);
  }
  return {
    title: file.name,
    moves: false,
    width: picture.width,
    height: picture.height,
    picture,
    next: () => new Promise(() => {}),
    close: () => picture.close(),
  };
}

/** @returns {Promise<Source & {video: HTMLVideoElement}>} */
export async function openVideo(file) {
  const video = document.createElement("video");
  const address = URL.createObjectURL(file);
  video.src = address;
  video.loop = true;
  const close = () => {
    video.pause();
    video.removeAttribute("src");
    URL.revokeObjectURL(address);
  };
  try {
    return await play(video, file.name, close);
  } catch {
    close();
    throw new UserError(`${file.name} is no video that this browser can play.`);
  }
}

/**
 * @param {[number, number]} inputHw size of the network's input: as many pixels are asked of the camera.
 * @returns {Promise<Source & {video: HTMLVideoElement}>}
 */
export async function openWebcam([height, width]) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new UserError("Browsers give a webcam only to pages from https:// or localhost; open this page from there.");
  }
  let stream;
  try {
    const size = { width: { ideal: Math.max(width, 160) }, height: { ideal: Math.max(height, 120) } };
    const video = { ...size, facingMode: "environment" };
    stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
  } catch (error) {
    throw new UserError(webcamTrouble(error));
  }
  const video = document.createElement("video");
  video.srcObject = stream;
  const lost = new Promise((_, reject) => {
    stream.getVideoTracks()[0].addEventListener("ended", () => reject(new UserError("The webcam went away.")));
  });
  lost.catch(() => {}); // told to whoever waits for a frame
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  };
  try {
    const source = await play(video, "Webcam", close);
    source.next = () => Promise.race([nextFrame(video), lost]);
    return source;
  } catch {
    close();
    throw new UserError("The webcam was opened but shows no picture.");
  }
}

function webcamTrouble({ name, message }) {
  switch (name) {
    case "NotFoundError":
    case "OverconstrainedError":
      return "No webcam was found. Connect one and try again.";
    case "NotAllowedError":
    case "SecurityError":
      return "The webcam may not be used: allow it for this page in the browser's settings and try again.";
    case "NotReadableError":
    case "AbortError":
      return "The webcam could not be started; another program may be using it.";
    default:
      return `The webcam could not be opened: ${message}`;
  }
}

async function play(video, title, close) {
  video.muted = true; // else browsers do not start it by themselves
  video.playsInline = true;
  await video.play();
  if (!video.videoWidth) throw new Error("no picture");
  return {
    title,
    moves: true,
    get width() {
      return video.videoWidth; // a phone's changes when it is turned
    },
    get height() {
      return video.videoHeight;
    },
    picture: video,
    video,
    next: () => nextFrame(video),
    close,
  };
}

function nextFrame(video) {
  return new Promise((resolve) => {
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(() => resolve());
    else requestAnimationFrame(() => resolve());
  });
}
