import { Code } from "@connectrpc/connect";
import type { ApiError } from "./errors.js";

const ATTEMPTS = 4;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1000;
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
