import { Code, ConnectError } from "@connectrpc/connect";

const UNSAID =
  " (a browser says no more when the load balancer does not allow the page's origin: " +
  "NAGAYA_WEB_ORIGINS of the local stack)";

/**
 * The browser's fetch, whose failures say that they are the network's.
 *
 * By themselves they are TypeErrors, as mistakes in a program are, with words of each browser's own.
 */
export const fetching: typeof fetch = async (input, init) => {
  const failed = (cause: unknown, more = ""): unknown =>
    init?.signal?.aborted || !(cause instanceof Error)
      ? cause
      : new ConnectError(cause.message + more, Code.Unavailable, undefined, undefined, cause);
  let response: Response;
  try {
    response = await fetch(input, init);
  } catch (cause) {
    throw failed(cause, UNSAID);
  }
  if (response.body === null) {
    return response;
  }
  const reader = response.body.getReader();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) {
          controller.close();
        } else {
          controller.enqueue(value);
        }
      } catch (cause) {
        controller.error(failed(cause));
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return new Response(body, response);
};
