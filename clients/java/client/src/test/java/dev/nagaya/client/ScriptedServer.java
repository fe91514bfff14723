package dev.nagaya.client;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.nagaya.artifacts.v1.Artifact;
import dev.nagaya.artifacts.v1.ArtifactServiceGrpc;
import dev.nagaya.artifacts.v1.CreateUploadRequest;
import dev.nagaya.artifacts.v1.CreateUploadResponse;
import dev.nagaya.artifacts.v1.DownloadArtifactRequest;
import dev.nagaya.artifacts.v1.DownloadArtifactResponse;
import dev.nagaya.artifacts.v1.UploadArtifactRequest;
import dev.nagaya.artifacts.v1.UploadArtifactResponse;
import dev.nagaya.artifacts.v1.UploadServiceGrpc;
import dev.nagaya.runs.v1.CreateRunRequest;
import dev.nagaya.runs.v1.CreateRunResponse;
import dev.nagaya.runs.v1.GetRunRequest;
import dev.nagaya.runs.v1.GetRunResponse;
import dev.nagaya.runs.v1.Run;
import dev.nagaya.runs.v1.RunServiceGrpc;
import dev.nagaya.runs.v1.WatchRunRequest;
import dev.nagaya.runs.v1.WatchRunResponse;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.IntFunction;

/** Answers on a port of its own as a test has scripted it, and keeps what it was sent. */
final class ScriptedServer implements AutoCloseable {
  static final Context.Key<Metadata> HEADERS = Context.key("headers");

  /** What a stream sends, and how it ends: without an error when it throws none. */
  interface Script<R> {
    void play(int number, StreamObserver<R> out);
  }

  /** What one call has brought; without a deadline its seconds are 0. */
  record Call(String method, Message request, Metadata headers, long at, long seconds) {}

  IntFunction<Run> createRun = number -> Run.getDefaultInstance();
  IntFunction<Run> getRun = number -> Run.getDefaultInstance();
  Script<WatchRunResponse> watchRun = (number, out) -> {};
  Script<DownloadArtifactResponse> download = (number, out) -> {};
  IntFunction<CreateUploadResponse> announce;
  IntFunction<Artifact> upload;
  byte[] uploaded;

  private final List<Call> calls = new ArrayList<>();
  private final Server server;

  ScriptedServer() throws IOException {
    server =
        NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
            .intercept(new WithHeaders())
            .addService(new Runs())
            .addService(new Artifacts())
            .addService(new Uploads())
            .build()
            .start();
  }

  Settings.Builder settings() {
    String address = "127.0.0.1:" + server.getPort();
    return Settings.builder().runs(address).artifacts(address).token(Token.text("a-token"));
  }

  @Override
  public void close() throws InterruptedException {
    server.shutdownNow().awaitTermination();
  }

  /** Returns the calls of a method, in order. */
  synchronized List<Call> of(String method) {
    return calls.stream().filter(call -> call.method().equals(method)).toList();
  }

  private synchronized int note(String method, Message request) {
    var deadline = Context.current().getDeadline();
    long seconds = deadline == null ? 0 : deadline.timeRemaining(TimeUnit.SECONDS);
    calls.add(new Call(method, request, HEADERS.get(), System.nanoTime(), seconds));
    return of(method).size();
  }

  private static <R> void play(Script<R> script, int number, StreamObserver<R> out) {
    try {
      script.play(number, out);
      out.onCompleted();
    } catch (StatusRuntimeException ended) {
      out.onError(ended);
    }
  }

  private static <R> void answer(java.util.function.Supplier<R> response, StreamObserver<R> out) {
    R made;
    try {
      made = response.get();
    } catch (StatusRuntimeException refused) {
      out.onError(refused);
      return;
    }
    out.onNext(made);
    out.onCompleted();
  }

  /** Returns what the services answer: a status with its reason, and how long to wait. */
  static StatusRuntimeException refusal(Status.Code code, String reason, Duration after) {
    var status =
        com.google.rpc.Status.newBuilder()
            .setCode(code.value())
            .setMessage("The sentence of " + reason + ".")
            .addDetails(
                Any.pack(
                    ErrorInfo.newBuilder()
                        .setReason(reason)
                        .setDomain("runs.nagaya.dev")
                        .putMetadata("run_id", "r")
                        .build()));
    if (!after.isZero()) {
      var delay =
          com.google.protobuf.Duration.newBuilder()
              .setSeconds(after.toSeconds())
              .setNanos(after.toNanosPart());
      status.addDetails(Any.pack(RetryInfo.newBuilder().setRetryDelay(delay).build()));
    }
    Metadata trailers = new Metadata();
    trailers.put(ApiError.DETAILS, status.build());
    return code.toStatus().withDescription(status.getMessage()).asRuntimeException(trailers);
  }

  private final class Runs extends RunServiceGrpc.RunServiceImplBase {
    @Override
    public void createRun(CreateRunRequest request, StreamObserver<CreateRunResponse> out) {
      int number = note("CreateRun", request);
      answer(
          () -> CreateRunResponse.newBuilder().setRun(createRun.apply(number)).build(), out);
    }

    @Override
    public void getRun(GetRunRequest request, StreamObserver<GetRunResponse> out) {
      int number = note("GetRun", request);
      answer(() -> GetRunResponse.newBuilder().setRun(getRun.apply(number)).build(), out);
    }

    @Override
    public void watchRun(WatchRunRequest request, StreamObserver<WatchRunResponse> out) {
      play(watchRun, note("WatchRun", request), out);
    }
  }

  private final class Artifacts extends ArtifactServiceGrpc.ArtifactServiceImplBase {
    @Override
    public void downloadArtifact(
        DownloadArtifactRequest request, StreamObserver<DownloadArtifactResponse> out) {
      play(download, note("DownloadArtifact", request), out);
    }

    @Override
    public StreamObserver<UploadArtifactRequest> uploadArtifact(
        StreamObserver<UploadArtifactResponse> out) {
      ByteArrayOutputStream received = new ByteArrayOutputStream();
      return new StreamObserver<>() {
        @Override
        public void onNext(UploadArtifactRequest request) {
          received.writeBytes(request.getData().toByteArray());
        }

        @Override
        public void onError(Throwable error) {}

        @Override
        public void onCompleted() {
          int number = note("UploadArtifact", UploadArtifactRequest.getDefaultInstance());
          uploaded = received.toByteArray();
          answer(
              () ->
                  UploadArtifactResponse.newBuilder().setArtifact(upload.apply(number)).build(),
              out);
        }
      };
    }
  }

  private final class Uploads extends UploadServiceGrpc.UploadServiceImplBase {
    @Override
    public void createUpload(
        CreateUploadRequest request, StreamObserver<CreateUploadResponse> out) {
      int number = note("CreateUpload", request);
      answer(() -> announce.apply(number), out);
    }
  }

  private static final class WithHeaders implements ServerInterceptor {
    @Override
    public <Q, R> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, R> call, Metadata headers, ServerCallHandler<Q, R> next) {
      Context context = Context.current().withValue(HEADERS, headers);
      return Contexts.interceptCall(context, call, headers, next);
    }
  }
}
