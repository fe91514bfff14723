package dev.nagaya.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.ProtoUtils;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * How a call has failed: a service refused it, or could not be reached.
 *
 * @param code gRPC's
 * @param reason a value name of the {@code ErrorReason} of the service's package; empty where the
 *     call never arrived
 * @param domain the service that gave the reason, such as {@code runs.nagaya.dev}
 * @param message what is wrong, and what helps
 * @param hint what helps where no service has answered; a service's message ends with its own
 * @param metadata what the reason is about, such as {@code run_id}
 * @param violations the fields of the request that break a rule
 * @param requestId finds the call in the service's log
 * @param retryAfter how long to wait before the same request is sent again; zero where nothing is
 *     said
 */
public record ApiError(
    Status.Code code,
    String reason,
    String domain,
    String message,
    String hint,
    Map<String, String> metadata,
    List<Violation> violations,
    String requestId,
    Duration retryAfter) {

  /**
   * A field that breaks a rule.
   *
   * @param field its path, such as {@code spec.steps[3].needs[0]}
   * @param description what is wrong with it
   */
  public record Violation(String field, String description) {}

  static final Metadata.Key<String> REQUEST_ID =
      Metadata.Key.of("x-request-id", Metadata.ASCII_STRING_MARSHALLER);
  static final Metadata.Key<com.google.rpc.Status> DETAILS =
      Metadata.Key.of(
          "grpc-status-details-bin",
          ProtoUtils.metadataMarshaller(com.google.rpc.Status.getDefaultInstance()));

  /** Returns what the exception of a stub tells: a StatusRuntimeException or StatusException. */
  public static ApiError of(Throwable thrown) {
    Metadata trailers = Status.trailersFromThrowable(thrown);
    return of(Status.fromThrowable(thrown), trailers == null ? new Metadata() : trailers);
  }

  static ApiError of(Status status, Metadata trailers) {
    ErrorInfo info = ErrorInfo.getDefaultInstance();
    Duration retryAfter = Duration.ZERO;
    List<Violation> violations = new ArrayList<>();
    com.google.rpc.Status details = trailers.get(DETAILS);
    for (Any detail : details == null ? List.<Any>of() : details.getDetailsList()) {
      try {
        if (detail.is(ErrorInfo.class)) {
          info = detail.unpack(ErrorInfo.class);
        } else if (detail.is(RetryInfo.class)) {
          var delay = detail.unpack(RetryInfo.class).getRetryDelay();
          retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
        } else if (detail.is(BadRequest.class)) {
          for (var violation : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            violations.add(new Violation(violation.getField(), violation.getDescription()));
          }
        }
      } catch (InvalidProtocolBufferException ignored) {
        // A detail that cannot be read says nothing.
      }
    }
    String answered = trailers.get(REQUEST_ID);
    return new ApiError(
        status.getCode(),
        info.getReason(),
        info.getDomain(),
        status.getDescription() == null ? "" : status.getDescription(),
        info.getReason().isEmpty() ? hint(status.getCode()) : "",
        info.getMetadataMap(),
        List.copyOf(violations),
        answered == null ? "" : answered,
        retryAfter);
  }

  /** Tells whether the same call may succeed later without anybody changing anything. */
  public boolean isTransient() {
    return switch (code) {
      case UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED, RESOURCE_EXHAUSTED -> true;
      // Of a connection that was cut, such as by RST_STREAM. A service's own has a reason.
      case INTERNAL, UNKNOWN -> reason.isEmpty();
      default -> false;
    };
  }

  private static String hint(Status.Code code) {
    return switch (code) {
      case UNAVAILABLE ->
          "Is it running there, and is TLS (https://) used on both sides or on neither?";
      case DEADLINE_EXCEEDED -> "Allow the call more time.";
      case UNIMPLEMENTED -> "The server is older than this client, or is another one.";
      default -> "";
    };
  }
}
