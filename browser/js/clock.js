// How long frames take.

const KEPT = 30; // frames

/** Milliseconds per frame and frames per second, over the last frames of a source. */
export class Clock {
  #spans = [];
  #ends = [];

  /**
   * @param {{prepare: number, network: number, suppress: number}} spans milliseconds.
   * @param {number} end when the frame was done, by performance.now().
   */
  add(spans, end) {
    this.#spans.push(spans);
    this.#ends.push(end);
    if (this.#ends.length > KEPT) {
      this.#spans.shift();
      this.#ends.shift();
    }
  }

  /** The median of one part of the work. */
  median(part) {
    const values = this.#spans.map((spans) => spans[part]).sort((a, b) => a - b);
    return values[Math.floor(values.length / 2)] ?? NaN;
  }

  /** NaN for a single frame. */
  get framesPerSecond() {
    const count = this.#ends.length - 1;
    return count > 0 ? (1000 * count) / (this.#ends[count] - this.#ends[0]) : NaN;
  }

  /** After a pause, so that it does not count as a slow frame. */
  clear() {
    this.#spans = [];
    this.#ends = [];
  }
}
