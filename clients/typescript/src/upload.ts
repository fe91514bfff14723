import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import type { UploadTarget } from "./client.js";
import { ApiError } from "./errors.js";
import type { Artifact } from "./gen/nagaya/artifacts/v1/artifact_pb.js";
import type {
  ArtifactService,
  UploadArtifactRequestSchema,
} from "./gen/nagaya/artifacts/v1/artifact_service_pb.js";
import type { UploadService } from "./gen/nagaya/artifacts/v1/upload_service_pb.js";
import { pause, transferPauseAfter } from "./retries.js";

const CHUNK_BYTES = 256 * 1024;

type Source = string | Uint8Array;
type Message = MessageInitShape<typeof UploadArtifactRequestSchema>;

/** Commit a file; a stream that breaks is sent again. */
export async function upload(
  uploads: Client<typeof UploadService>,
  artifacts: Client<typeof ArtifactService>,
  tenantId: string,
  target: UploadTarget,
  source: Source,
): Promise<Artifact> {
  const { size, digest } = await measure(source);
  const draft = { ...target, name: target.name || "output.json" };
  for (let attempt = 1; ; attempt++) {
    // Asked each time: the stream whose answer was lost may have committed the file.
    const { outcome } = await uploads.createUpload({ tenantId, draft, sizeBytes: size, digest });
    if (outcome.case === "artifact") {
      return outcome.value;
    }
    let unreadable: Error | undefined;
    const noted = (reason: Error) => {
      unreadable = reason;
    };
    try {
      const uploadId = outcome.value?.uploadId ?? "";
      const sent = messages(tenantId, uploadId, source, noted);
      const { artifact } = await artifacts.uploadArtifact(sent);
      if (artifact) {
        return artifact;
      }
      throw new Error("UploadArtifact returned no artifact");
    } catch (reason) {
      if (unreadable) {
        throw unreadable;
      }
      const wait = reason instanceof ApiError ? transferPauseAfter(reason, attempt) : undefined;
      if (wait === undefined) {
        throw reason;
      }
      await pause(wait);
    }
  }
}

async function* messages(
  tenantId: string,
  uploadId: string,
  source: Source,
  onUnreadable: (reason: Error) => void,
): AsyncGenerator<Message> {
  yield { tenantId, part: { case: "uploadId", value: uploadId } };
  for await (const value of chunks(source, onUnreadable)) {
    yield { part: { case: "data", value } };
  }
}

async function measure(source: Source): Promise<{ size: bigint; digest: string }> {
  const hash = createHash("sha256");
  let size = 0n;
  for await (const chunk of chunks(source)) {
    hash.update(chunk);
    size += BigInt(chunk.length);
  }
  return { size, digest: hash.digest("hex") };
}

async function* chunks(
  source: Source,
  onUnreadable: (reason: Error) => void = () => {},
): AsyncGenerator<Uint8Array> {
  if (typeof source === "string") {
    yield* createReadStream(source, { highWaterMark: CHUNK_BYTES }).on("error", onUnreadable);
    return;
  }
  for (let offset = 0; offset < source.length; offset += CHUNK_BYTES) {
    yield source.subarray(offset, offset + CHUNK_BYTES);
  }
}
