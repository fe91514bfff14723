/** The client for browsers: gRPC-Web, which a load balancer such as Envoy translates. */
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { Client, type Platform, type UploadTarget } from "./client.js";
import { fromStatus } from "./errors.js";
import { fetching } from "./fetching.js";
import type { Artifact } from "./gen/nagaya/artifacts/v1/artifact_pb.js";
import type { Settings } from "./settings.js";

export * from "./index.js";

/** The most that a browser can upload: gRPC-Web has no stream of requests, so it is one message. */
export const MOST_UPLOAD_BYTES = 3 * 1024 * 1024;

const PLATFORM: Platform = {
  // The browser's own, crypto.subtle, takes whole files only, and is missing in pages without TLS.
  sha256: () => {
    const hash = sha256.create();
    return { update: (bytes) => void hash.update(bytes), digest: () => bytesToHex(hash.digest()) };
  },
  transport: (url) => createGrpcWebTransport({ baseUrl: url, fetch: fetching }),
};

/** Return a client; nothing is sent before its first call. */
export function connect(settings: Settings): WebClient {
  return new WebClient(settings, PLATFORM);
}

/** A client that also moves files. */
export class WebClient extends Client {
  /**
   * Commit a small file; the same one again is no error.
   *
   * Throws ApiError, and RangeError for more than MOST_UPLOAD_BYTES: a server has to upload these.
   */
  async upload(
    tenantId: string,
    target: UploadTarget,
    source: Blob | Uint8Array,
  ): Promise<Artifact> {
    const data = source instanceof Blob ? new Uint8Array(await source.arrayBuffer()) : source;
    if (data.length > MOST_UPLOAD_BYTES) {
      throw new RangeError(
        `a browser can upload ${MOST_UPLOAD_BYTES} bytes at most, and these are ${data.length}`,
      );
    }
    const draft = { ...target, name: target.name || "output.json" };
    const item = { draft, data, digest: this.digestOf(data) };
    const { results } = await this.artifacts.batchPutArtifacts({ tenantId, items: [item] });
    const outcome = results[0]?.outcome;
    if (outcome?.case === "status") {
      throw fromStatus(outcome.value);
    }
    if (outcome?.case !== "artifact") {
      throw new Error("BatchPutArtifacts returned no result");
    }
    return outcome.value;
  }

  /** Fetch a file, verified. Throws ApiError and BytesCorrupt. */
  async download(request: Parameters<Client["read"]>[0], signal?: AbortSignal): Promise<Blob> {
    return new Blob([(await this.readAll(request, signal)) as Uint8Array<ArrayBuffer>]);
  }
}
