// State that changes more often than the screen: it is drawn once per animation frame, however often it changed.

import { useLayoutEffect, useState } from "preact/hooks";

type Draw = () => void;

const waiting = new Set<Store>();
let asked = false;

function drawAll(now: number): void {
  for (const store of [...waiting]) {
    if (now - store.drawnAt < store.everyMs) continue;
    waiting.delete(store);
    store.drawnAt = now;
    store.draw();
  }
  asked = waiting.size > 0;
  if (asked) requestAnimationFrame(drawAll);
}

/** Something that is drawn in the next frame after it was touched. */
export class Store {
  /** When it was drawn last. */
  drawnAt = 0;
  #draws = new Set<Draw>();

  /** It is drawn at most every `everyMs`, for what nobody can read faster. */
  constructor(readonly everyMs = 0) {}

  /** Records a change. */
  touch(): void {
    waiting.add(this);
    if (asked) return;
    asked = true;
    requestAnimationFrame(drawAll);
  }

  draw(): void {
    for (const draw of this.#draws) draw();
  }

  /** Calls `draw` in each frame after a change. Returns what ends that. */
  watch(draw: Draw): () => void {
    this.#draws.add(draw);
    return () => this.#draws.delete(draw);
  }
}

/** Draws a component again after changes of `store`. */
export function useStore(store: Store): void {
  const [, again] = useState(0);
  // It is watched from the moment it was drawn on: a change that comes before an effect after the frame would never be
  // drawn, unless another one follows.
  useLayoutEffect(() => store.watch(() => again((count) => count + 1)), [store]);
}
