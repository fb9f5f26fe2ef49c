/** The listeners of a program. */

type Listener = (event: never) => void;

/** Listeners by the type of event that they want. Those of `"event"` hear all. */
export class Listeners<E extends { type: string }> {
  private readonly byType = new Map<string, Set<Listener>>();

  /** Adds a listener. Returns a function that ends it. */
  add(type: string, listener: Listener): () => void {
    const listeners = this.byType.get(type) ?? new Set();
    this.byType.set(type, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  tell(event: E): void {
    for (const type of [event.type, "event"]) {
      for (const listener of this.byType.get(type) ?? []) call(listener as (event: E) => void, event);
    }
  }
}

/** Calls a listener of the program. What it throws is the program's, and must not end the client: it is reported as uncaught. */
function call<E>(listener: (event: E) => void, event: E): void {
  try {
    listener(event);
  } catch (error) {
    if (typeof reportError === "function") reportError(error);
    else
      queueMicrotask(() => {
        throw error;
      });
  }
}
