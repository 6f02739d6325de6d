// Events with typed details. An error in a handler is reported and does not keep the other handlers from being called.

/**
 * @template {Record<string, any>} Events
 */
export class Emitter {
  /** @type {Map<keyof Events, Set<(detail: any) => void>>} */
  #handlers = new Map();

  /**
   * Calls `handler` with the detail of each event of this type.
   * @template {keyof Events} T
   * @param {T} type
   * @param {(detail: Events[T]) => void} handler
   * @returns {() => void} takes the handler away again
   */
  on(type, handler) {
    let handlers = this.#handlers.get(type);
    if (!handlers) this.#handlers.set(type, (handlers = new Set()));
    handlers.add(handler);
    return () => this.off(type, handler);
  }

  /**
   * Calls `handler` with the next event of this type only.
   * @template {keyof Events} T
   * @param {T} type
   * @param {(detail: Events[T]) => void} handler
   * @returns {() => void} takes the handler away again
   */
  once(type, handler) {
    const off = this.on(type, (detail) => {
      off();
      handler(detail);
    });
    return off;
  }

  /**
   * Takes a handler away.
   * @template {keyof Events} T
   * @param {T} type
   * @param {(detail: Events[T]) => void} handler
   */
  off(type, handler) {
    this.#handlers.get(type)?.delete(handler);
  }

  /**
   * @template {keyof Events} T
   * @param {T} type
   * @param {Events[T]} detail
   * @protected
   */
  emit(type, detail) {
    for (const handler of [...(this.#handlers.get(type) ?? [])]) {
      try {
        handler(detail);
      } catch (error) {
        if (typeof globalThis.reportError === "function") globalThis.reportError(error);
        else console.error(error);
      }
    }
  }
}
