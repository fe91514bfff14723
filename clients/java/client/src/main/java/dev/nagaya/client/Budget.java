package dev.nagaya.client;

/**
 * Ends the repeating of calls while most of them fail: a server that comes back would else be met by
 * each call several times. The figures and the rule are those of gRPC's retry throttling.
 */
final class Budget {
  /** Half of it may be under way at a server that dies. */
  static final int TOKENS = 1000;

  private static final double EARNED = 0.1;

  private double tokens = TOKENS;

  /** Called for a call that has succeeded. */
  synchronized void earn() {
    tokens = Math.min(tokens + EARNED, TOKENS);
  }

  /** Called for an attempt that has failed; tells whether there may be another one. */
  synchronized boolean spend() {
    tokens = Math.max(tokens - 1, 0);
    return tokens > TOKENS / 2.0;
  }
}
