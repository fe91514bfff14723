package dev.nagaya.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.nagaya.runs.v1.CreateRunRequest;
import dev.nagaya.runs.v1.Run;
import dev.nagaya.runs.v1.RunServiceGrpc;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

final class UnaryCallTest {
  private static final Metadata.Key<String> PUSHBACK =
      Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);

  private ScriptedServer server;

  @BeforeEach
  void startServer() throws IOException {
    server = new ScriptedServer();
  }

  @AfterEach
  void stopServer() throws InterruptedException {
    server.close();
  }

  private void create(Settings settings) {
    try (NagayaClient client = NagayaClient.connect(settings)) {
      client.runs().createRun(CreateRunRequest.newBuilder().setTenantId("acme").build());
    }
  }

  private ApiError failure() {
    Settings settings = server.settings().build();
    return ApiError.of(assertThrows(StatusRuntimeException.class, () -> create(settings)));
  }

  private static String requestId(ScriptedServer.Call call) {
    return ((CreateRunRequest) call.request()).getRequestId();
  }

  @Test
  void aCreationIsRepeatedUnderTheSameIdsUntilAServerAnswers() {
    server.createRun =
        number -> {
          if (number < 3) {
            throw (number == 1 ? Status.UNAVAILABLE : Status.CANCELLED).asRuntimeException();
          }
          return Run.getDefaultInstance();
        };

    create(server.settings().build());

    List<ScriptedServer.Call> calls = server.of("CreateRun");
    assertEquals(3, calls.size());
    assertEquals(36, requestId(calls.get(0)).length());
    assertEquals(1, calls.stream().map(UnaryCallTest::requestId).distinct().count());
    assertEquals(
        1, calls.stream().map(call -> call.headers().get(ApiError.REQUEST_ID)).distinct().count());
  }

  @Test
  void theCallersOwnRequestIdIsSent() {
    try (NagayaClient client = NagayaClient.connect(server.settings().build())) {
      client.runs().createRun(CreateRunRequest.newBuilder().setRequestId("mine").build());
    }

    assertEquals("mine", requestId(server.of("CreateRun").get(0)));
  }

  @Test
  void aRefusalThatMustNotComeAgainIsNotRepeated() {
    server.createRun =
        number -> {
          var refusal =
              ScriptedServer.refusal(
                  Status.Code.UNAVAILABLE,
                  "ERROR_REASON_PROVIDER_UNAVAILABLE",
                  Duration.ofSeconds(7));
          refusal.getTrailers().put(PUSHBACK, "-1");
          refusal.getTrailers().put(ApiError.REQUEST_ID, "the-id");
          throw refusal;
        };

    ApiError error = failure();

    assertEquals(1, server.of("CreateRun").size());
    assertEquals(Status.Code.UNAVAILABLE, error.code());
    assertEquals("ERROR_REASON_PROVIDER_UNAVAILABLE", error.reason());
    assertEquals("runs.nagaya.dev", error.domain());
    assertEquals("r", error.metadata().get("run_id"));
    assertEquals("the-id", error.requestId());
    assertEquals(Duration.ofSeconds(7), error.retryAfter());
  }

  @ParameterizedTest
  @EnumSource(
      value = Status.Code.class,
      names = {"OK", "UNAVAILABLE", "CANCELLED"},
      mode = EnumSource.Mode.EXCLUDE)
  void otherCodesAreNotRepeated(Status.Code code) {
    server.createRun =
        number -> {
          throw code.toStatus().asRuntimeException();
        };

    assertEquals(code, failure().code());
    assertEquals(1, server.of("CreateRun").size());
  }

  @Test
  void attemptsAreBounded() {
    server.createRun =
        number -> {
          throw Status.UNAVAILABLE.asRuntimeException();
        };

    assertEquals(Status.Code.UNAVAILABLE, failure().code());
    assertEquals(UnaryCall.ATTEMPTS, server.of("CreateRun").size());
  }

  @Test
  void aBudgetEndsTheRepeatingWhileAllCallsFail() throws InterruptedException {
    server.createRun =
        number -> {
          throw Status.UNAVAILABLE.asRuntimeException();
        };
    int calls = 400;
    CountDownLatch ended = new CountDownLatch(calls);
    CreateRunRequest request = CreateRunRequest.newBuilder().setTenantId("acme").build();

    try (NagayaClient client = NagayaClient.connect(server.settings().build())) {
      var stub = RunServiceGrpc.newFutureStub(client.channel(NagayaClient.Service.RUNS));
      for (int call = 0; call < calls; call++) {
        stub.createRun(request).addListener(ended::countDown, Runnable::run);
      }
      ended.await();
    }

    int requests = server.of("CreateRun").size();
    assertTrue(requests > calls && requests <= calls + Budget.TOKENS / 2, requests + " requests");
  }

  @ParameterizedTest
  @ValueSource(strings = {"RetryInfo", "pushback"})
  void theNextAttemptWaitsAsLongAsTheServerAsks(String by) {
    server.createRun =
        number -> {
          if (number > 1) {
            return Run.getDefaultInstance();
          }
          if (by.equals("RetryInfo")) {
            throw ScriptedServer.refusal(
                Status.Code.UNAVAILABLE, "ERROR_REASON_PEER_UNAVAILABLE", Duration.ofMillis(600));
          }
          Metadata trailers = new Metadata();
          trailers.put(PUSHBACK, "600");
          throw Status.UNAVAILABLE.asRuntimeException(trailers);
        };

    create(server.settings().build());

    List<ScriptedServer.Call> calls = server.of("CreateRun");
    long between = TimeUnit.NANOSECONDS.toMillis(calls.get(1).at() - calls.get(0).at());
    assertTrue(between >= 600, between + " ms between");
  }

  @Test
  void aServerThatAsksForMoreThanIsLeftIsNotWaitedFor() {
    server.createRun =
        number -> {
          throw ScriptedServer.refusal(
              Status.Code.UNAVAILABLE, "ERROR_REASON_PEER_UNAVAILABLE", Duration.ofHours(1));
        };

    assertEquals(Duration.ofHours(1), failure().retryAfter());
    assertEquals(1, server.of("CreateRun").size());
  }

  @Test
  void aCallHasADeadline() {
    create(server.settings().build());
    create(server.settings().timeout(Duration.ofSeconds(10)).build());

    List<Long> allowed =
        server.of("CreateRun").stream().map(ScriptedServer.Call::seconds).toList();
    assertTrue(allowed.get(0) >= 20 && allowed.get(0) <= 30, allowed.toString());
    assertTrue(allowed.get(1) >= 5 && allowed.get(1) <= 10, allowed.toString());
  }

  @Test
  void theTokenIsReadAnewForEachCall(@TempDir Path folder) throws IOException {
    Path file = folder.resolve("token");
    Settings settings = server.settings().token(Token.file(file)).build();

    var without = assertThrows(StatusRuntimeException.class, () -> create(settings));
    Files.writeString(file, "one\n");
    create(settings);
    Files.writeString(file, "two\n");
    create(settings);

    assertEquals(Status.Code.UNAUTHENTICATED, without.getStatus().getCode());
    assertTrue(without.getStatus().getCause() instanceof NoSuchFileException);
    assertEquals(
        List.of("Bearer one", "Bearer two"),
        server.of("CreateRun").stream()
            .map(call -> call.headers().get(CallInterceptor.AUTHORIZATION))
            .toList());
  }

  @Test
  void whiteSpaceAroundATokenIsNotSent() {
    create(server.settings().token(Token.text(" a-token\n")).build());

    var sent = server.of("CreateRun").get(0).headers().get(CallInterceptor.AUTHORIZATION);
    assertEquals("Bearer a-token", sent);
  }

  @ParameterizedTest
  @ValueSource(strings = {"two words", "two\nlines", "caf\u00e9", " \n"})
  void whatIsNoTokenIsNotSentNorTold(String text) {
    Settings settings = server.settings().token(Token.text(text)).build();

    ApiError error =
        ApiError.of(assertThrows(StatusRuntimeException.class, () -> create(settings)));

    assertEquals(Status.Code.UNAUTHENTICATED, error.code());
    assertFalse(error.message().contains(text), error.message());
    assertTrue(server.of("CreateRun").isEmpty());
  }

  @Test
  void aTokenFunctionThatFailsEndsTheCall() {
    server.createRun =
        number -> {
          throw Status.UNAVAILABLE.asRuntimeException();
        };
    AtomicInteger reads = new AtomicInteger();
    Token token =
        () -> {
          if (reads.incrementAndGet() == 2) {
            throw new IllegalStateException("no token now");
          }
          return "a-token";
        };

    try (NagayaClient client = NagayaClient.connect(server.settings().token(token).build())) {
      var stub = RunServiceGrpc.newFutureStub(client.channel(NagayaClient.Service.RUNS));
      var call = stub.createRun(CreateRunRequest.getDefaultInstance());
      var error = assertThrows(ExecutionException.class, () -> call.get(10, TimeUnit.SECONDS));

      Status status = Status.fromThrowable(error.getCause());
      assertEquals(Status.Code.UNAUTHENTICATED, status.getCode());
      assertInstanceOf(IllegalStateException.class, status.getCause());
    }
  }

  @Test
  void aSlowTokenHoldsUpItsOwnCallOnly() throws InterruptedException {
    CompletableFuture<Void> both = new CompletableFuture<>();
    server.createRun =
        number -> {
          if (number == 1) {
            both.join(); // no attempt is repeated before both calls have begun
          }
          both.complete(null);
          if (number <= 2) {
            throw Status.UNAVAILABLE.asRuntimeException();
          }
          return Run.getDefaultInstance();
        };
    CompletableFuture<Void> renewed = new CompletableFuture<>();
    AtomicInteger reads = new AtomicInteger();
    Token token =
        () -> {
          if (reads.incrementAndGet() == 3) {
            renewed.join();
          }
          return "a-token";
        };
    CountDownLatch one = new CountDownLatch(1);

    try (NagayaClient client = NagayaClient.connect(server.settings().token(token).build())) {
      var stub = RunServiceGrpc.newFutureStub(client.channel(NagayaClient.Service.RUNS));
      for (int call = 0; call < 2; call++) {
        stub.createRun(CreateRunRequest.getDefaultInstance())
            .addListener(one::countDown, Runnable::run);
      }
      boolean ended = one.await(10, TimeUnit.SECONDS);
      renewed.complete(null);

      assertTrue(ended);
    }
  }

  @Test
  void everyAttemptEndsWithTheDeadlineOfItsContext() throws Exception {
    server.createRun =
        number -> {
          if (number == 1) {
            throw Status.UNAVAILABLE.asRuntimeException();
          }
          return Run.getDefaultInstance();
        };
    var timer = Executors.newSingleThreadScheduledExecutor();

    try (NagayaClient client = NagayaClient.connect(server.settings().build());
        var context = Context.current().withDeadlineAfter(10, TimeUnit.SECONDS, timer)) {
      var stub = RunServiceGrpc.newFutureStub(client.channel(NagayaClient.Service.RUNS));
      context.call(() -> stub.createRun(CreateRunRequest.getDefaultInstance())).get();
    } finally {
      timer.shutdownNow();
    }

    List<Long> allowed =
        server.of("CreateRun").stream().map(ScriptedServer.Call::seconds).toList();
    assertEquals(2, allowed.size());
    assertTrue(allowed.stream().allMatch(seconds -> seconds <= 10), allowed.toString());
  }

  @ParameterizedTest
  @ValueSource(strings = {"under way", "between attempts"})
  void closingTheClientEndsItsCalls(String state) throws InterruptedException {
    CompletableFuture<Void> over = new CompletableFuture<>();
    server.createRun =
        number -> {
          if (state.equals("under way")) {
            over.join();
          }
          throw ScriptedServer.refusal(
              Status.Code.UNAVAILABLE, "ERROR_REASON_PEER_UNAVAILABLE", Duration.ofSeconds(20));
        };
    NagayaClient client = NagayaClient.connect(server.settings().build());
    CompletableFuture<Status> end = new CompletableFuture<>();
    Thread caller =
        new Thread(
            () -> {
              var request = CreateRunRequest.getDefaultInstance();
              var error =
                  assertThrows(
                      StatusRuntimeException.class, () -> client.runs().createRun(request));
              end.complete(error.getStatus());
            });
    caller.setDaemon(true);

    caller.start();
    while (server.of("CreateRun").isEmpty()) {
      Thread.onSpinWait();
    }
    client.close();

    caller.join(10_000);
    over.complete(null);
    assertTrue(end.isDone());
  }

  @Test
  void aServerThatIsAwayIsNamed() {
    Settings settings =
        Settings.builder().runs("127.0.0.1:1").token(Token.text("a-token")).build();

    ApiError error =
        ApiError.of(assertThrows(StatusRuntimeException.class, () -> create(settings)));

    assertEquals(Status.Code.UNAVAILABLE, error.code());
    assertEquals("", error.reason());
    assertTrue(error.message().contains("127.0.0.1:1"), error.message());
    assertFalse(error.hint().isEmpty());
    assertEquals(36, error.requestId().length());
  }

  @Test
  void aCallEndsWithItsCaller() throws InterruptedException {
    server.createRun =
        number -> {
          throw ScriptedServer.refusal(
              Status.Code.UNAVAILABLE, "ERROR_REASON_PEER_UNAVAILABLE", Duration.ofSeconds(20));
        };
    Settings settings = server.settings().build();
    Thread caller =
        new Thread(() -> assertThrows(StatusRuntimeException.class, () -> create(settings)));

    caller.start();
    while (server.of("CreateRun").isEmpty()) {
      Thread.onSpinWait();
    }
    caller.interrupt();

    caller.join(10_000);
    assertFalse(caller.isAlive());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "runs.example:443",
        "http://runs.example:80",
        "https://runs.example:443",
        "https://runs.example",
        "[::1]:80",
        "dns:///runs:7000",
        "dns+https:///runs:7000",
        "dns://127.0.0.1/runs:7000"
      })
  void anAddressIsAccepted(String address) {
    NagayaClient.connect(Settings.builder().runs(address).token(Token.text("t")).build()).close();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"ftp://x:1", "https://", "http://x", "x", "https://x:1/path", ":80", "dns:///x", "dns://x:80"})
  void whatIsNoAddressIsRefused(String address) {
    Settings settings = Settings.builder().runs(address).token(Token.text("t")).build();

    assertThrows(IllegalArgumentException.class, () -> NagayaClient.connect(settings));
  }

  @Test
  void aServiceWithoutAnAddressIsNamed() {
    try (NagayaClient client = NagayaClient.connect(server.settings().build())) {
      var error = assertThrows(IllegalStateException.class, client::tenants);

      assertTrue(error.getMessage().contains("TENANT"), error.getMessage());
    }
  }
}
