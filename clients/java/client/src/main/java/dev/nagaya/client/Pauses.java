package dev.nagaya.client;

import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import java.time.Duration;

/** Pauses between attempts at streams. */
final class Pauses {
  /** The pauses are 5 s together at least: load balancers take 3 s to leave out a dead server. */
  static final int TRANSFER_ATTEMPTS = 8;

  private static final Duration FIRST_OF_TRANSFER = Duration.ofMillis(400);
  private static final Duration LONGEST_OF_TRANSFER = Duration.ofSeconds(2);

  private Pauses() {}

  /** Returns the pause after so many failures of a transfer in a row. */
  static Duration ofTransfer(int failures) {
    Duration pause = FIRST_OF_TRANSFER.multipliedBy(1L << (failures - 1));
    return pause.compareTo(LONGEST_OF_TRANSFER) < 0 ? pause : LONGEST_OF_TRANSFER;
  }

  /** Waits for {@code pause}, half of it at least, and as long as the server asks for. */
  static void sleep(Duration pause, ApiError error) throws InterruptedException {
    Duration wait = UnaryCall.jittered(pause);
    if (error != null && error.retryAfter().compareTo(wait) > 0) {
      wait = error.retryAfter();
    }
    Thread.sleep(wait.toMillis());
  }

  /** Returns what unary calls throw. */
  static StatusRuntimeException unchecked(StatusException error) {
    return error.getStatus().asRuntimeException(error.getTrailers());
  }
}
