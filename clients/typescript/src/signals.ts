/** A controller that other signals abort too, until it is released. */
export interface Linked {
  readonly controller: AbortController;
  readonly release: () => void;
}

/** Return a controller that aborts as soon as one of the signals does. */
export function linked(...signals: readonly (AbortSignal | undefined)[]): Linked {
  const controller = new AbortController();
  const abort = (event: Event) => controller.abort((event.target as AbortSignal).reason);
  for (const signal of signals) {
    if (signal?.aborted) {
      controller.abort(signal.reason);
    }
    signal?.addEventListener("abort", abort);
  }
  const release = () => {
    for (const signal of signals) {
      signal?.removeEventListener("abort", abort);
    }
  };
  return { controller, release };
}
