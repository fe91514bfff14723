package dev.nagaya.client;

import dev.nagaya.runs.v1.GetRunRequest;
import dev.nagaya.runs.v1.Run;
import dev.nagaya.runs.v1.RunEvent;
import dev.nagaya.runs.v1.RunServiceGrpc;
import dev.nagaya.runs.v1.RunState;
import dev.nagaya.runs.v1.WatchRunRequest;
import dev.nagaya.runs.v1.WatchRunResponse;
import io.grpc.Channel;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.BlockingClientCall;
import java.time.Duration;
import java.time.Instant;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;

/**
 * The events of a run in order, up to its end. A stream that breaks is resumed after the last event:
 * none is lost and none comes twice.
 *
 * <p>{@code hasNext} waits for the next event. It throws StatusRuntimeException when the service
 * refuses, or no server answers for too long; an interrupt of its thread ends it as CANCELLED.
 */
public final class RunWatch implements Iterator<RunEvent>, AutoCloseable {
  // Three heartbeats: a connection that carries nothing for longer is dead.
  private static final Duration IDLE = Duration.ofSeconds(32);
  private static final Duration FIRST_PAUSE = Duration.ofMillis(100);
  private static final Duration LONGEST_PAUSE = Duration.ofSeconds(2);

  /** Where a watch begins, and what it does when its connection breaks. */
  public static final class Options {
    private long after;
    private Duration giveUpAfter = Duration.ofMinutes(1);
    private Consumer<ApiError> onBroken = error -> {};

    /** Sets the number of the last event that the caller has; 0 to begin at the first. */
    public Options after(long sequence) {
      after = sequence;
      return this;
    }

    /** Sets how long no server may answer before the watch fails; a minute when unset. */
    public Options giveUpAfter(Duration duration) {
      giveUpAfter = duration;
      return this;
    }

    /** Sets what is called with the reason when the connection breaks, before it is resumed. */
    public Options onBroken(Consumer<ApiError> consumer) {
      onBroken = consumer;
      return this;
    }
  }

  private final RunServiceGrpc.RunServiceBlockingStub unary;
  private final RunServiceGrpc.RunServiceBlockingV2Stub streams;
  private final String tenantId;
  private final String runId;
  private final Options options;
  private final BooleanSupplier clientClosed;

  private BlockingClientCall<?, WatchRunResponse> stream;
  private RunEvent next;
  private long after;
  private boolean over;
  private boolean isFinal;
  /** When the connection broke; null while a server answers. */
  private Instant brokenAt;
  private Duration pause = FIRST_PAUSE;

  RunWatch(
      Channel channel,
      String tenantId,
      String runId,
      Options options,
      BooleanSupplier clientClosed) {
    unary = RunServiceGrpc.newBlockingStub(channel);
    streams = RunServiceGrpc.newBlockingV2Stub(channel);
    this.tenantId = tenantId;
    this.runId = runId;
    this.options = options;
    this.clientClosed = clientClosed;
    after = options.after;
  }

  @Override
  public RunEvent next() {
    if (!hasNext()) {
      throw new NoSuchElementException();
    }
    RunEvent event = next;
    next = null;
    return event;
  }

  @Override
  public boolean hasNext() {
    try {
      while (next == null && !over) {
        advance();
      }
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      close();
      throw Status.CANCELLED.withDescription("interrupted").withCause(error).asRuntimeException();
    }
    return next != null;
  }

  /** Ends the watch. */
  @Override
  public void close() {
    over = true;
    end("closed");
  }

  private void advance() throws InterruptedException {
    try {
      WatchRunResponse response = read();
      if (response != null) {
        take(response);
        return;
      }
      end("ended");
      // A run that was retried has reached a final state more than once.
      over = isFinal || isOver();
      if (!over) {
        rest(null);
      }
    } catch (StatusException error) {
      broken(Pauses.unchecked(error));
    } catch (StatusRuntimeException error) {
      broken(error);
    }
  }

  private WatchRunResponse read() throws InterruptedException, StatusException {
    if (stream == null) {
      stream =
          streams.watchRun(
              WatchRunRequest.newBuilder()
                  .setTenantId(tenantId)
                  .setRunId(runId)
                  .setAfterSequence(after)
                  .build());
    }
    try {
      return stream.read(IDLE.toMillis(), TimeUnit.MILLISECONDS);
    } catch (TimeoutException error) {
      throw Status.UNAVAILABLE
          .withDescription("nothing came for " + IDLE.toSeconds() + " s")
          .asException();
    }
  }

  private void take(WatchRunResponse response) throws StatusException {
    brokenAt = null;
    pause = FIRST_PAUSE;
    RunEvent event = response.getEvent();
    if (!response.hasEvent() || event.getSequence() <= after) {
      return; // a heartbeat, or an event that came before
    }
    if (event.getSequence() != after + 1) {
      throw Status.UNAVAILABLE
          .withDescription("event " + (after + 1) + " did not come")
          .asException();
    }
    after = event.getSequence();
    isFinal = event.hasRun() && isFinal(event.getRun().getState());
    next = event;
  }

  private void broken(StatusRuntimeException error) throws InterruptedException {
    end("broken");
    ApiError cause = ApiError.of(error);
    brokenAt = brokenAt == null ? Instant.now() : brokenAt;
    boolean late = Duration.between(brokenAt, Instant.now()).compareTo(options.giveUpAfter) > 0;
    if (!cause.isTransient() || late || clientClosed.getAsBoolean()) {
      over = true;
      throw error;
    }
    options.onBroken.accept(cause);
    rest(cause);
  }

  private void rest(ApiError error) throws InterruptedException {
    Pauses.sleep(pause, error);
    pause = pause.multipliedBy(2).compareTo(LONGEST_PAUSE) < 0 ? pause.multipliedBy(2) : LONGEST_PAUSE;
  }

  private void end(String why) {
    if (stream != null) {
      stream.cancel(why, null);
      stream = null;
    }
  }

  private boolean isOver() {
    Run run =
        unary
            .getRun(GetRunRequest.newBuilder().setTenantId(tenantId).setRunId(runId).build())
            .getRun();
    brokenAt = null;
    return isFinal(run.getState()) && run.getLastSequence() <= after;
  }

  private static boolean isFinal(RunState state) {
    return state == RunState.RUN_STATE_COMPLETED
        || state == RunState.RUN_STATE_FAILED
        || state == RunState.RUN_STATE_CANCELLED;
  }
}
