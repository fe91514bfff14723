import { Code } from "@connectrpc/connect";
import { ApiError } from "./errors.js";
import { pause } from "./retries.js";
import { linked } from "./signals.js";

// Three heartbeats: a connection that carries nothing for longer is dead.
const IDLE_MS = 32_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

/** How a watch bears broken connections. */
export interface WatchOptions {
  /** Ends the watch: what is awaited then throws an ApiError of code Canceled. */
  readonly signal?: AbortSignal;
  /** How long no server may be reached, in milliseconds; a minute when absent. */
  readonly reconnectMs?: number;
  /** Called when a connection breaks, once until the service is heard again. */
  readonly onCut?: (error: ApiError) => void;
  /** Called when it is, with the milliseconds in between. */
  readonly onResumed?: (milliseconds: number) => void;
}

/**
 * Yield what streams send, one after another, until `ended` says so.
 *
 * `open` begins a stream where the last one broke. Throws ApiError when the service refuses, or
 * cannot be reached for `reconnectMs` on end.
 */
export async function* watching<T>(
  open: (signal: AbortSignal) => AsyncIterable<T>,
  ended: () => boolean | Promise<boolean>,
  options: WatchOptions,
): AsyncGenerator<T, void, undefined> {
  const { signal, reconnectMs = 60_000 } = options;
  let wait = FIRST_PAUSE_MS;
  let brokenAt: number | undefined;
  for (;;) {
    let least = 0;
    try {
      for await (const message of responses(open, signal)) {
        if (brokenAt !== undefined) {
          options.onResumed?.(performance.now() - brokenAt);
        }
        brokenAt = undefined;
        wait = FIRST_PAUSE_MS;
        yield message;
      }
      if (await ended()) {
        return;
      }
    } catch (reason) {
      if (!(reason instanceof ApiError) || !reason.transient) {
        throw reason;
      }
      const first = brokenAt === undefined;
      brokenAt ??= performance.now();
      least = reason.retryAfterMs ?? 0;
      if (performance.now() + Math.max(wait, least) - brokenAt > reconnectMs) {
        throw reason;
      }
      if (first) {
        options.onCut?.(reason);
      }
    }
    await pause(Math.max(wait * (0.8 + 0.4 * Math.random()), least), signal);
    wait = Math.min(2 * wait, LONGEST_PAUSE_MS);
  }
}

/** Yield what one stream sends; the stream ends with the generator. */
async function* responses<T>(
  open: (signal: AbortSignal) => AsyncIterable<T>,
  outer: AbortSignal | undefined,
): AsyncGenerator<T, void, undefined> {
  const { controller, release } = linked(outer);
  try {
    const messages = open(controller.signal)[Symbol.asyncIterator]();
    for (;;) {
      const result = await within(IDLE_MS, messages.next());
      if (result.done) {
        return;
      }
      yield result.value;
    }
  } finally {
    release();
    controller.abort();
  }
}

async function within<T>(milliseconds: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(interrupted(`nothing came for ${milliseconds} ms`)),
      milliseconds,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Return the error of a stream that did not say what it had to say. */
export function interrupted(message: string): ApiError {
  return new ApiError({ code: Code.Unavailable, message });
}
