package dev.nagaya.client;

import com.google.protobuf.DescriptorProtos.MethodOptions;
import com.google.protobuf.DescriptorProtos.MethodOptions.IdempotencyLevel;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import dev.nagaya.options.v1.MethodPolicyProto;
import io.grpc.MethodDescriptor;
import io.grpc.protobuf.ProtoMethodDescriptorSupplier;
import java.time.Duration;
import java.util.UUID;

/**
 * What the contract says of calls of a method.
 *
 * @param timeout the longest that a call may take
 * @param repeatable whether the same request may be sent again
 */
record Contract(Duration timeout, boolean repeatable) {
  private static final Duration DEFAULT_TIMEOUT = Duration.ofSeconds(30);

  /** Reads a method's contract. A method that is not known may not be repeated. */
  static Contract of(MethodDescriptor<?, ?> method) {
    if (!(method.getSchemaDescriptor() instanceof ProtoMethodDescriptorSupplier supplier)) {
      return new Contract(DEFAULT_TIMEOUT, false);
    }
    MethodOptions options = supplier.getMethodDescriptor().getOptions();
    int seconds = options.getExtension(MethodPolicyProto.policy).getMaxSeconds();
    return new Contract(
        seconds > 0 ? Duration.ofSeconds(seconds) : DEFAULT_TIMEOUT,
        method.getType().clientSendsOneMessage()
            && options.getIdempotencyLevel() != IdempotencyLevel.IDEMPOTENCY_UNKNOWN);
  }

  /**
   * Returns the request with its {@code request_id}: a new one where the caller has left it empty.
   * All attempts at a call send the same.
   */
  static <Q> Q withRequestId(Q request) {
    if (!(request instanceof Message message)) {
      return request;
    }
    FieldDescriptor field = message.getDescriptorForType().findFieldByName("request_id");
    if (field == null
        || field.isRepeated()
        || field.getJavaType() != FieldDescriptor.JavaType.STRING
        || !((String) message.getField(field)).isEmpty()) {
      return request;
    }
    @SuppressWarnings("unchecked") // a builder makes what it was made of
    Q complete =
        (Q) message.toBuilder().setField(field, UUID.randomUUID().toString()).build();
    return complete;
  }
}
