// Server-Sent Events out of the pieces of a response body. Written out because `EventSource` cannot send a bearer token.

/** Longest event in characters; a stream that brings a longer one is broken off. */
const EVENT_MAX = 4 * 1024 * 1024;

export class SseParser {
  #rest = "";
  /** @type {string[]} */
  #data = [];
  #size = 0;
  #decoder = new TextDecoder();

  /**
   * Takes the next piece in and gives the data of the events that are complete.
   * @param {Uint8Array} piece
   * @returns {string[]}
   */
  push(piece) {
    this.#rest += this.#decoder.decode(piece, { stream: true });
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length + this.#size > EVENT_MAX) throw new RangeError(`an event is longer than ${EVENT_MAX} characters`);
    /** @type {string[]} */
    const events = [];
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length > 0) events.push(this.#data.join("\n"));
        this.#data = [];
        this.#size = 0;
      } else if (line.startsWith("data:")) {
        this.#data.push(line.slice(line[5] === " " ? 6 : 5));
        this.#size += line.length;
      }
    }
    return events;
  }
}
