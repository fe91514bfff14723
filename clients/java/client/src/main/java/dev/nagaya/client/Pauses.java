package dev.nagaya.client;

import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import java.time.Duration;

/** Pauses between attempts at streams. */
final class Pauses {
  private Pauses() {}

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
