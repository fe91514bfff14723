import { Code } from "@connectrpc/connect";
import type { ApiError } from "./errors.js";

const ATTEMPTS = 4;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1000;
const TRANSFER_ATTEMPTS = 8;
const FIRST_TRANSFER_PAUSE_MS = 200;
const LONGEST_TRANSFER_PAUSE_MS = 2000;
// Room for 500 calls in flight when a server dies; a server that stays away is soon asked once.
const MOST_TOKENS = 1000;
const TOKENS_PER_SUCCESS = 0.1;

/** When a repeatable call is sent again: gRPC's own rules for retries, for one server. */
export class Retries {
  private tokens = MOST_TOKENS;

  succeeded(): void {
    this.tokens = Math.min(this.tokens + TOKENS_PER_SUCCESS, MOST_TOKENS);
  }

  /** Return the pause before the next attempt; undefined when this error is the answer. */
  pauseAfter(error: ApiError, attempt: number): number | undefined {
    const repeatable = error.code === Code.Unavailable || error.code === Code.Canceled;
    if (!repeatable || error.byCaller) {
      return undefined;
    }
    this.tokens = Math.max(this.tokens - 1, 0);
    const { pushbackMs = 0, retryAfterMs = 0 } = error;
    if (pushbackMs < 0 || attempt >= ATTEMPTS || this.tokens <= MOST_TOKENS / 2) {
      return undefined;
    }
    const longest = Math.min(FIRST_PAUSE_MS * 2 ** (attempt - 1), LONGEST_PAUSE_MS);
    return Math.max(longest * (0.8 + 0.4 * Math.random()), pushbackMs, retryAfterMs);
  }
}

/**
 * Return the pause before the stream of a transfer is begun again, after so many failures in a row;
 * undefined when the last one's error is the answer. The pauses are 9 s together: load balancers
 * take 3 s until they leave out a server that died.
 */
export function transferPauseAfter(error: ApiError, failures: number): number | undefined {
  if (!error.transient || failures >= TRANSFER_ATTEMPTS) {
    return undefined;
  }
  const longest = Math.min(
    FIRST_TRANSFER_PAUSE_MS * 2 ** (failures - 1),
    LONGEST_TRANSFER_PAUSE_MS,
  );
  return Math.max(longest, error.retryAfterMs ?? 0);
}

/** Wait; end early, without an error, when the signal says so. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    if (signal?.aborted) {
      end();
    } else {
      signal?.addEventListener("abort", end);
    }
  });
}
