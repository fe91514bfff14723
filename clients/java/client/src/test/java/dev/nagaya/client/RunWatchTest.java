package dev.nagaya.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.nagaya.runs.v1.Run;
import dev.nagaya.runs.v1.RunEvent;
import dev.nagaya.runs.v1.RunState;
import dev.nagaya.runs.v1.WatchRunRequest;
import dev.nagaya.runs.v1.WatchRunResponse;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

final class RunWatchTest {
  private static final RunState RUNNING = RunState.RUN_STATE_RUNNING;
  private static final RunState COMPLETED = RunState.RUN_STATE_COMPLETED;

  private final List<ApiError> breaks = new ArrayList<>();
  private ScriptedServer server;

  @BeforeEach
  void startServer() throws IOException {
    server = new ScriptedServer();
  }

  @AfterEach
  void stopServer() throws InterruptedException {
    server.close();
  }

  private List<Long> watch(Settings settings, Duration giveUpAfter) {
    List<Long> numbers = new ArrayList<>();
    var options = new RunWatch.Options().giveUpAfter(giveUpAfter).onBroken(breaks::add);
    try (NagayaClient client = NagayaClient.connect(settings);
        RunWatch watch = client.watchRun("acme", "r", options)) {
      while (watch.hasNext()) {
        numbers.add(watch.next().getSequence());
      }
    }
    return numbers;
  }

  private List<Long> watch() {
    return watch(server.settings().build(), Duration.ofMinutes(1));
  }

  private List<Long> asked() {
    return server.of("WatchRun").stream()
        .map(call -> ((WatchRunRequest) call.request()).getAfterSequence())
        .toList();
  }

  private static WatchRunResponse event(long sequence, RunState state) {
    Run run = Run.newBuilder().setState(state).build();
    return WatchRunResponse.newBuilder()
        .setEvent(RunEvent.newBuilder().setSequence(sequence).setRun(run))
        .build();
  }

  static Stream<StatusRuntimeException> breaks() {
    return Stream.of(
        Status.UNAVAILABLE.asRuntimeException(),
        // What grpc-java makes of a stream that a proxy has reset.
        Status.INTERNAL
            .withDescription("RST_STREAM closed stream. HTTP/2 error code: INTERNAL_ERROR")
            .asRuntimeException(),
        Status.CANCELLED.asRuntimeException(),
        Status.DEADLINE_EXCEEDED.asRuntimeException(),
        ScriptedServer.refusal(
            Status.Code.UNAVAILABLE, "ERROR_REASON_DATABASE_UNAVAILABLE", Duration.ZERO));
  }

  @ParameterizedTest
  @MethodSource("breaks")
  void aWatchIsResumedAfterTheLastEventWhateverBrokeIt(StatusRuntimeException end) {
    server.watchRun =
        (number, out) -> {
          if (number == 1) {
            out.onNext(event(1, RUNNING));
            out.onNext(event(2, RUNNING));
            throw end;
          }
          out.onNext(event(2, RUNNING)); // comes twice, and is seen once
          out.onNext(event(3, COMPLETED));
        };

    assertEquals(List.of(1L, 2L, 3L), watch());
    assertEquals(List.of(0L, 2L), asked());
    assertEquals(List.of(end.getStatus().getCode()), breaks.stream().map(ApiError::code).toList());
  }

  @Test
  void aWatchThatEndsEarlyIsResumed() {
    server.getRun =
        number -> Run.newBuilder().setState(RUNNING).setLastSequence(2).build();
    server.watchRun =
        (number, out) -> {
          out.onNext(event(number == 1 ? 1 : 2, number == 1 ? RUNNING : COMPLETED));
        };

    assertEquals(List.of(1L, 2L), watch());
    assertEquals(List.of(0L, 1L), asked());
    assertTrue(breaks.isEmpty());
  }

  @Test
  void aWatchWhoseEventIsMissingIsResumedThere() {
    server.watchRun =
        (number, out) -> {
          out.onNext(event(1, RUNNING));
          if (number > 1) {
            out.onNext(event(2, RUNNING));
          }
          out.onNext(event(3, COMPLETED));
        };

    assertEquals(List.of(1L, 2L, 3L), watch());
  }

  @Test
  void aRefusedWatchIsNotResumed() {
    server.watchRun =
        (number, out) -> {
          throw ScriptedServer.refusal(
              Status.Code.NOT_FOUND, "ERROR_REASON_RUN_NOT_FOUND", Duration.ZERO);
        };

    ApiError error = ApiError.of(assertThrows(StatusRuntimeException.class, this::watch));

    assertEquals("ERROR_REASON_RUN_NOT_FOUND", error.reason());
    assertEquals(List.of(0L), asked());
  }

  @Test
  void aWatchGivesUpOnceNoServerAnswersForTooLong() {
    Settings settings =
        Settings.builder().runs("127.0.0.1:1").token(Token.text("a-token")).build();

    ApiError error =
        ApiError.of(
            assertThrows(
                StatusRuntimeException.class, () -> watch(settings, Duration.ofMillis(500))));

    assertEquals(Status.Code.UNAVAILABLE, error.code());
    assertFalse(breaks.isEmpty());
  }

  @Test
  void whatItsReaderTakesIsNotTheServersSilence() throws InterruptedException {
    server.watchRun =
        (number, out) -> {
          if (number == 1) {
            out.onNext(event(1, RUNNING));
            throw Status.UNAVAILABLE.asRuntimeException();
          }
          out.onNext(event(2, COMPLETED));
        };
    Duration giveUpAfter = Duration.ofSeconds(1);

    try (NagayaClient client = NagayaClient.connect(server.settings().build());
        RunWatch watch =
            client.watchRun("acme", "r", new RunWatch.Options().giveUpAfter(giveUpAfter))) {
      assertEquals(1, watch.next().getSequence());
      Thread.sleep(giveUpAfter.plusMillis(100).toMillis());

      assertEquals(2, watch.next().getSequence());
    }
  }

  @Test
  void aWatchEndsWithItsClient() throws InterruptedException {
    CompletableFuture<Void> begun = new CompletableFuture<>();
    CompletableFuture<Void> over = new CompletableFuture<>();
    server.watchRun =
        (number, out) -> {
          begun.complete(null);
          over.join();
        };
    NagayaClient client = NagayaClient.connect(server.settings().build());
    RunWatch watch = client.watchRun("acme", "r");
    CompletableFuture<StatusRuntimeException> end = new CompletableFuture<>();
    Thread reader =
        new Thread(
            () -> end.complete(assertThrows(StatusRuntimeException.class, watch::hasNext)));
    reader.setDaemon(true);

    reader.start();
    begun.join();
    client.close();

    reader.join(10_000);
    over.complete(null);
    assertTrue(end.isDone());
  }

  @Test
  void aWatchHasNoDeadline() {
    server.watchRun = (number, out) -> out.onNext(event(1, COMPLETED));

    watch();

    assertEquals(0, server.of("WatchRun").get(0).seconds());
  }
}
