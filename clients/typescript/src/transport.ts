import {
  create,
  type DescMessage,
  type DescMethodStreaming,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import {
  Code,
  type ContextValues,
  type StreamResponse,
  type Transport,
  type UnaryResponse,
} from "@connectrpc/connect";
import { ApiError, fromConnect } from "./errors.js";
import { randomId } from "./ids.js";
import { contractTimeoutMs, isRepeatable } from "./policy.js";
import { pause, Retries } from "./retries.js";
import { readToken, type Settings } from "./settings.js";
import { type Linked, linked } from "./signals.js";

/**
 * A transport around Connect's to one server: calls carry a token and a request id, end in time,
 * are repeated where their contract allows it, and throw ApiError.
 */
export class CallTransport implements Transport {
  private readonly retries = new Retries();

  constructor(
    private readonly inner: Transport,
    private readonly address: string,
    private readonly settings: Settings,
    private readonly closed: AbortSignal,
  ) {}

  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: MessageInitShape<I>,
    contextValues?: ContextValues,
  ): Promise<UnaryResponse<I, O>> {
    const call = this.begin(idOf(header), signal);
    const message = withRequestId(method.input, create(method.input, input));
    const limit = timeoutMs ?? this.settings.timeoutMs ?? contractTimeoutMs(method);
    const deadline = limit > 0 ? performance.now() + limit : Number.POSITIVE_INFINITY;
    try {
      for (let attempt = 1; ; attempt++) {
        const headers = await this.headers(header, call.requestId);
        // Connect takes 0 for no limit.
        const left = limit > 0 ? Math.max(Math.ceil(deadline - performance.now()), 1) : 0;
        try {
          const response = await this.inner.unary(
            method,
            call.signal,
            left,
            headers,
            message as MessageInitShape<I>,
            contextValues,
          );
          this.retries.succeeded();
          return response;
        } catch (reason) {
          const failure = this.failure(reason, call);
          const again = isRepeatable(method);
          const wait = again ? this.retries.pauseAfter(failure, attempt) : undefined;
          if (wait === undefined || performance.now() + wait >= deadline) {
            throw failure;
          }
          await pause(wait, call.signal);
        }
      }
    } finally {
      call.release();
    }
  }

  async stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodStreaming<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: AsyncIterable<MessageInitShape<I>>,
    contextValues?: ContextValues,
  ): Promise<StreamResponse<I, O>> {
    const requestId = idOf(header);
    const headers = await this.headers(header, requestId);
    const call = this.begin(requestId, signal);
    // A watch lasts as long as its caller likes; an upload is waited for.
    const isUpload = method.methodKind === "client_streaming";
    const usual = isUpload ? (this.settings.timeoutMs ?? contractTimeoutMs(method)) : 0;
    try {
      const response = await this.inner.stream(
        method,
        call.signal,
        timeoutMs ?? usual,
        headers,
        input,
        contextValues,
      );
      return { ...response, message: this.messages(response.message, call) };
    } catch (reason) {
      call.release();
      throw this.failure(reason, call);
    }
  }

  /** Yield what a stream sends; what is thrown becomes an ApiError. */
  private async *messages<T>(messages: AsyncIterable<T>, call: Call): AsyncGenerator<T> {
    try {
      yield* messages;
    } catch (reason) {
      throw this.failure(reason, call);
    } finally {
      call.release();
    }
  }

  /** Begin a call that ends with its caller's signal and the client. Throws ApiError if closed. */
  private begin(requestId: string, signal: AbortSignal | undefined): Call {
    if (this.closed.aborted) {
      const message = "the client is closed";
      throw new ApiError({ code: Code.Canceled, message, byCaller: true });
    }
    const { controller, release } = linked(signal, this.closed);
    return { requestId, signal: controller.signal, release };
  }

  private async headers(given: HeadersInit | undefined, requestId: string): Promise<Headers> {
    const all = new Headers(given);
    all.set("authorization", `Bearer ${await readToken(this.settings.token)}`);
    all.set("x-request-id", requestId);
    return all;
  }

  private failure(reason: unknown, { requestId, signal }: Call): ApiError {
    return fromConnect(reason, { address: this.address, requestId, byCaller: signal.aborted });
  }
}

interface Call extends Pick<Linked, "release"> {
  readonly requestId: string;
  readonly signal: AbortSignal;
}

/** Return the id that finds a call in the services' logs. */
function idOf(header: HeadersInit | undefined): string {
  return new Headers(header).get("x-request-id") ?? randomId();
}

/** Give a creation the key that makes it one and the same when it is sent again. */
function withRequestId<I extends DescMessage>(desc: I, message: MessageShape<I>): MessageShape<I> {
  const { requestId } = message as { requestId?: string };
  const isKey = desc.field.requestId?.fieldKind === "scalar";
  return isKey && requestId === "" ? { ...message, requestId: randomId() } : message;
}
