import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import { ApiError, BytesCorrupt } from "./errors.js";
import type { Artifact } from "./gen/nagaya/artifacts/v1/artifact_pb.js";
import type {
  ArtifactService,
  DownloadArtifactRequestSchema,
} from "./gen/nagaya/artifacts/v1/artifact_service_pb.js";
import { pause, transferPauseAfter } from "./retries.js";
import { linked } from "./signals.js";
import { interrupted } from "./watching.js";

/** A sha256 of bytes that come one after another. */
export interface Sha256 {
  update(bytes: Uint8Array): void;
  /** Return 64 lower-case hexadecimal digits. */
  digest(): string;
}

/** Which file to read: whole, and if `digest` is given only with that sha256. */
export type FileRequest = Pick<
  MessageInitShape<typeof DownloadArtifactRequestSchema>,
  "tenantId" | "path" | "digest"
>;

/**
 * Yield a file's bytes in order, and return its record. A stream that breaks goes on where it broke.
 *
 * Throws ApiError, and BytesCorrupt at the end if the bytes are not those of the digest.
 */
export async function* read(
  artifacts: Client<typeof ArtifactService>,
  sha256: Sha256,
  request: FileRequest,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, Artifact, undefined> {
  let artifact: Artifact | undefined;
  let size = 0n;
  for (let failures = 0; ; ) {
    const { controller, release } = linked(signal);
    try {
      // What goes on must be the file that was begun.
      const rest = { ...request, offset: size, digest: artifact?.digest ?? request.digest ?? "" };
      for await (const { part } of artifacts.downloadArtifact(rest, {
        signal: controller.signal,
      })) {
        if (part.case === "artifact") {
          artifact = part.value;
        } else if (part.case === "data") {
          failures = part.value.length > 0 ? 0 : failures;
          size += BigInt(part.value.length);
          sha256.update(part.value);
          yield part.value;
        }
      }
      if (artifact && size >= artifact.sizeBytes) {
        break;
      }
      throw interrupted(`${request.path}: the stream ended after ${size} bytes, before the file`);
    } catch (reason) {
      if (artifact && size === artifact.sizeBytes) {
        break; // only the end of the stream was lost
      }
      failures += 1;
      const wait = reason instanceof ApiError ? transferPauseAfter(reason, failures) : undefined;
      if (wait === undefined) {
        throw reason;
      }
      await pause(wait, signal);
    } finally {
      release();
      controller.abort();
    }
  }
  const digest = sha256.digest();
  if (size !== artifact.sizeBytes || digest !== artifact.digest) {
    const said = `${artifact.sizeBytes} with ${artifact.digest}`;
    throw new BytesCorrupt(
      `${request.path}: ${size} bytes with sha256 ${digest} came, the record says ${said}`,
    );
  }
  return artifact;
}
