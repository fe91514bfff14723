package dev.nagaya.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusException;
import java.time.Duration;
import java.util.UUID;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/**
 * A call with one request and one response, attempted again as the contract allows.
 *
 * <p>The caller sees the last attempt only.
 */
final class UnaryCall<Q, R> extends ClientCall<Q, R> {
  static final int ATTEMPTS = 4;

  private static final Metadata.Key<String> PUSHBACK =
      Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);
  private static final Duration FIRST_PAUSE = Duration.ofMillis(100);
  private static final Duration LONGEST_PAUSE = Duration.ofSeconds(1);

  private final CallInterceptor interceptor;
  private final Channel channel;
  private final MethodDescriptor<Q, R> method;
  private final CallOptions options;
  private final boolean repeatable;
  private final Retries retries;
  private final Context context = Context.current();
  private final String requestId = UUID.randomUUID().toString();

  private Listener<R> listener;
  private Metadata callerHeaders;
  private Q request;

  // Guarded by this.
  private ClientCall<Q, R> current;
  private int attempt;
  private boolean cancelled;
  private boolean closed;

  UnaryCall(
      CallInterceptor interceptor,
      Channel channel,
      MethodDescriptor<Q, R> method,
      CallOptions options,
      boolean repeatable,
      Retries retries) {
    this.interceptor = interceptor;
    this.channel = channel;
    this.method = method;
    this.options = options;
    this.repeatable = repeatable;
    this.retries = retries;
  }

  @Override
  public void start(Listener<R> listener, Metadata headers) {
    this.listener = listener;
    callerHeaders = headers;
  }

  @Override
  public void request(int messages) {} // one response comes, and each attempt asks for it

  @Override
  public void sendMessage(Q message) {
    request = Contract.withRequestId(message);
  }

  @Override
  public void halfClose() {
    begin();
  }

  @Override
  public void cancel(String message, Throwable cause) {
    ClientCall<Q, R> running;
    synchronized (this) {
      cancelled = true;
      running = current;
    }
    if (running != null) {
      running.cancel(message, cause);
    } else {
      close(Status.CANCELLED.withDescription(message).withCause(cause), new Metadata());
    }
  }

  private void begin() {
    Metadata sent = new Metadata();
    sent.merge(callerHeaders);
    try {
      interceptor.headers(sent, requestId);
    } catch (StatusException error) {
      close(error.getStatus(), new Metadata());
      return;
    }
    ClientCall<Q, R> call = channel.newCall(method, options);
    synchronized (this) {
      if (cancelled) {
        return;
      }
      attempt++;
      current = call;
    }
    try {
      call.start(new Attempt(), sent);
      call.request(2); // a second response breaks the contract, and ends the call with an error
      call.sendMessage(request);
      call.halfClose();
    } catch (RuntimeException error) { // such as when it was cancelled just before it started
      close(Status.CANCELLED.withDescription("not sent").withCause(error), new Metadata());
      call.cancel("not sent", error);
    }
  }

  /** Waits for the next attempt, if there is one before the deadline. */
  private boolean again(Status status, Metadata trailers) {
    String pushback = trailers.get(PUSHBACK);
    boolean gone =
        status.getCode() == Status.Code.UNAVAILABLE || status.getCode() == Status.Code.CANCELLED;
    boolean refused = pushback != null && !pushback.matches("[0-9]{1,9}");
    if (!repeatable || !gone || refused || context.isCancelled() || !interceptor.budget.spend()) {
      return false;
    }
    long wait = jittered(pause(attempt)).toMillis();
    wait = Math.max(wait, ApiError.of(status, trailers).retryAfter().toMillis());
    wait = pushback == null ? wait : Math.max(wait, Long.parseLong(pushback));
    Deadline end = options.getDeadline();
    end = context.getDeadline() == null ? end : end.minimum(context.getDeadline());
    if (end.timeRemaining(TimeUnit.MILLISECONDS) <= wait) {
      return false;
    }
    synchronized (this) {
      if (cancelled || closed || attempt == ATTEMPTS) {
        return false;
      }
      current = null;
    }
    return retries.schedule(this, wait);
  }

  /** Begins the next attempt, in the caller's context as the first one. */
  void resume() {
    Executor executor = options.getExecutor();
    try {
      (executor == null ? retries.workers : executor).execute(context.wrap(this::begin));
    } catch (RejectedExecutionException error) {
      close(
          Status.CANCELLED.withDescription("no thread for its next attempt").withCause(error),
          new Metadata());
    }
  }

  private void close(Status status, Metadata trailers) {
    synchronized (this) {
      if (closed) {
        return;
      }
      closed = true;
    }
    Executor executor = options.getExecutor();
    Status end = interceptor.explained(status, trailers);
    Runnable ending = () -> listener.onClose(end, CallInterceptor.named(trailers, requestId));
    if (executor == null) {
      ending.run();
      return;
    }
    try {
      executor.execute(ending); // a blocking stub waits there
    } catch (RejectedExecutionException error) {
      ending.run(); // an end must be told, whatever has become of the executor
    }
  }

  private static Duration pause(int attempt) {
    Duration pause = FIRST_PAUSE.multipliedBy(1L << (attempt - 1));
    return pause.compareTo(LONGEST_PAUSE) < 0 ? pause : LONGEST_PAUSE;
  }

  /** Returns between half of a pause and all of it. */
  static Duration jittered(Duration pause) {
    long half = pause.toNanos() / 2;
    return Duration.ofNanos(half + ThreadLocalRandom.current().nextLong(half));
  }

  private final class Attempt extends Listener<R> {
    private Metadata answered = new Metadata();
    private R response;

    @Override
    public void onHeaders(Metadata headers) {
      answered = headers;
    }

    @Override
    public void onMessage(R message) {
      response = message;
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      if (!status.isOk() && again(status, trailers)) {
        return;
      }
      if (status.isOk()) {
        interceptor.budget.earn();
      }
      if (status.isOk() && response != null) {
        listener.onHeaders(answered);
        listener.onMessage(response);
      }
      close(status, trailers);
    }
  }
}
