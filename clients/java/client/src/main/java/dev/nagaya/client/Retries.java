package dev.nagaya.client;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;

/** The calls that wait for their next attempt. Once it is closed, none waits any more. */
final class Retries implements AutoCloseable {
  private static final ThreadFactory THREADS =
      task -> {
        Thread thread = new Thread(task, "nagaya-client-retries");
        thread.setDaemon(true);
        return thread;
      };

  private final ScheduledExecutorService timer =
      Executors.newSingleThreadScheduledExecutor(THREADS);

  /** Where attempts begin whose call has no executor: reading a token may take long. */
  final ExecutorService workers = Executors.newCachedThreadPool(THREADS);

  // Guarded by this.
  private final Set<UnaryCall<?, ?>> waiting = new HashSet<>();
  private boolean closed;

  /** Resumes a call after a pause; tells whether it will: the client may be closed. */
  synchronized boolean schedule(UnaryCall<?, ?> call, long milliseconds) {
    if (closed) {
      return false;
    }
    waiting.add(call);
    timer.schedule(() -> wake(call), milliseconds, TimeUnit.MILLISECONDS);
    return true;
  }

  private void wake(UnaryCall<?, ?> call) {
    synchronized (this) {
      if (!waiting.remove(call)) {
        return;
      }
    }
    call.resume();
  }

  synchronized boolean isClosed() {
    return closed;
  }

  /** Cancels the calls that wait. */
  @Override
  public void close() {
    List<UnaryCall<?, ?>> left;
    synchronized (this) {
      closed = true;
      left = List.copyOf(waiting);
      waiting.clear();
    }
    timer.shutdownNow();
    left.forEach(call -> call.cancel("the client is closed", null));
    workers.shutdown();
  }
}
