package dev.nagaya.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.Deadline;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Status;
import io.grpc.StatusException;
import java.time.Duration;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

/**
 * Adds the token, an id and a deadline to each call, and repeats what may be repeated.
 *
 * <p>A stream of responses has no deadline but its caller's. Streams are not repeated.
 */
final class CallInterceptor implements ClientInterceptor {
  static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  // Anything else would break the header that carries it.
  private static final Pattern SENDABLE = Pattern.compile("[\\x21-\\x7e]+");

  private final String address;
  private final Token token;
  private final Duration timeout;
  private final Retries retries;
  final Budget budget = new Budget();

  CallInterceptor(String address, Token token, Duration timeout, Retries retries) {
    this.address = address;
    this.token = token;
    this.timeout = timeout;
    this.retries = retries;
  }

  @Override
  public <Q, R> ClientCall<Q, R> interceptCall(
      MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
    Contract contract = Contract.of(method);
    CallOptions limited = options;
    if (options.getDeadline() == null && method.getType().serverSendsOneMessage()) {
      Duration allowed = timeout == null ? contract.timeout() : timeout;
      limited = options.withDeadline(Deadline.after(allowed.toNanos(), TimeUnit.NANOSECONDS));
    }
    if (method.getType() == MethodType.UNARY) {
      return new UnaryCall<>(this, next, method, limited, contract.repeatable(), retries);
    }
    return new Stream<>(next.newCall(method, limited));
  }

  /** Adds the token and the id of a call to its headers. Throws UNAUTHENTICATED without a token. */
  void headers(Metadata headers, String requestId) throws StatusException {
    headers.put(AUTHORIZATION, "Bearer " + tokenText());
    headers.put(ApiError.REQUEST_ID, requestId);
  }

  private String tokenText() throws StatusException {
    String text;
    try {
      text = token.read().strip();
    } catch (Throwable error) { // the caller's function may throw anything, and the call must end
      throw Status.UNAUTHENTICATED
          .withDescription("the token cannot be read: " + error.getMessage())
          .withCause(error)
          .asException();
    }
    if (!SENDABLE.matcher(text).matches()) { // the text itself is told to nobody
      throw Status.UNAUTHENTICATED
          .withDescription(
              text.isEmpty() ? "the token is empty" : "the token is not one word of ASCII")
          .asException();
    }
    return text;
  }

  /** Makes sure that what a call ends with names the call. */
  static Metadata named(Metadata trailers, String requestId) {
    if (!trailers.containsKey(ApiError.REQUEST_ID)) {
      trailers.put(ApiError.REQUEST_ID, requestId);
    }
    return trailers;
  }

  /** Says where no server was reached, and why. */
  Status explained(Status status, Metadata trailers) {
    if (status.getCode() != Status.Code.UNAVAILABLE || trailers.containsKey(ApiError.DETAILS)) {
      return status;
    }
    String why = status.getDescription();
    for (Throwable cause = status.getCause(); cause != null; cause = cause.getCause()) {
      why = cause.getMessage() == null ? why : cause.getMessage();
    }
    return status.withDescription(address + " cannot be reached: " + why);
  }

  private final class Stream<Q, R> extends SimpleForwardingClientCall<Q, R> {
    private final String requestId = UUID.randomUUID().toString();

    private Stream(ClientCall<Q, R> inner) {
      super(inner);
    }

    @Override
    public void start(Listener<R> listener, Metadata headers) {
      Status failed = null;
      try {
        headers(headers, requestId);
      } catch (StatusException error) {
        failed = error.getStatus();
      }
      Status withoutToken = failed;
      super.start(
          new SimpleForwardingClientCallListener<>(listener) {
            @Override
            public void onClose(Status status, Metadata trailers) {
              Status end = withoutToken == null ? explained(status, trailers) : withoutToken;
              super.onClose(end, named(trailers, requestId));
            }
          },
          headers);
      if (failed != null) {
        cancel("without a token", failed.getCause());
      }
    }
  }
}
