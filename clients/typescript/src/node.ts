/** The client for Node: gRPC over HTTP/2. */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { open, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { Client, type Platform, type UploadTarget } from "./client.js";
import type { FileRequest } from "./download.js";
import { SettingsInvalid } from "./errors.js";
import type { Artifact } from "./gen/nagaya/artifacts/v1/artifact_pb.js";
import type { Settings } from "./settings.js";
import { upload } from "./upload.js";

export * from "./index.js";

/** What a client in Node needs to know. */
export interface NodeSettings extends Settings {
  /** For `https://`: whom to trust instead of the system's authorities, and a certificate. PEM. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
}

const MESSAGE_BYTES = 16 << 20;

/** Return a client; nothing is sent before its first call. */
export function connect(settings: NodeSettings): NodeClient {
  return new NodeClient(settings);
}

/** A client that also moves files. Close it: open connections keep a process alive. */
export class NodeClient extends Client {
  private readonly sessions: Http2SessionManager[];

  constructor(settings: NodeSettings) {
    const sessions: Http2SessionManager[] = [];
    const platform: Platform = {
      sha256: () => {
        const hash = createHash("sha256");
        return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest("hex") };
      },
      transport: (url) => {
        const alive = { pingIntervalMs: 20_000, pingTimeoutMs: 5_000 };
        const session = new Http2SessionManager(url, alive, settings.tls ?? {});
        sessions.push(session);
        return createGrpcTransport({
          baseUrl: url,
          sessionManager: session,
          acceptCompression: [],
          readMaxBytes: MESSAGE_BYTES,
          writeMaxBytes: MESSAGE_BYTES,
        });
      },
    };
    super(settings, platform);
    this.sessions = sessions;
  }

  /**
   * Commit a file, by its path or its bytes; nothing is sent when the same one is committed there.
   *
   * A stream that breaks is sent again. Throws ApiError, and the system's error when the file
   * cannot be read.
   */
  upload(tenantId: string, target: UploadTarget, source: string | Uint8Array): Promise<Artifact> {
    return upload(this.uploads, this.artifacts, tenantId, target, source);
  }

  /**
   * Fetch a file; it appears under its name whole and verified, or not at all.
   *
   * Throws ApiError, BytesCorrupt, and the system's error when it cannot be written.
   */
  async download(request: FileRequest, file: string, signal?: AbortSignal): Promise<Artifact> {
    const draft = join(dirname(file), `.${basename(file)}.${randomBytes(4).toString("hex")}.part`);
    const handle = await open(draft, "wx");
    const reading = this.read(request, signal);
    try {
      let result = await reading.next();
      while (!result.done) {
        await handle.writeFile(result.value);
        result = await reading.next();
      }
      await handle.close();
      await rename(draft, file);
      return result.value;
    } catch (reason) {
      await handle.close();
      await rm(draft, { force: true });
      throw reason;
    } finally {
      // Else a stream whose bytes cannot be written stays open.
      await (reading as AsyncGenerator<Uint8Array, unknown, undefined>).return(undefined);
    }
  }

  /** End all calls and connections. */
  override close(): void {
    super.close();
    for (const session of this.sessions) {
      session.abort();
    }
  }
}

/** Return a token that is read from a file anew for every call, so it can be renewed meanwhile. */
export function tokenFile(path: string): () => Promise<string> {
  return async () => {
    try {
      return await readFile(path, "utf8");
    } catch (reason) {
      const why = reason instanceof Error ? reason.message : String(reason);
      throw new SettingsInvalid(`the token file cannot be read: ${why}`);
    }
  };
}

/**
 * Read the settings from the environment: NAGAYA_TENANT_ADDRESS, NAGAYA_RUNS_ADDRESS,
 * NAGAYA_ARTIFACTS_ADDRESS, NAGAYA_LLM_GATEWAY_ADDRESS, NAGAYA_TOKEN or NAGAYA_TOKEN_FILE,
 * NAGAYA_CA_FILE, and NAGAYA_TLS_CERT_FILE with NAGAYA_TLS_KEY_FILE.
 *
 * Throws SettingsInvalid when there is no token, and the system's error for a file of certificates.
 */
export function settingsFromEnvironment(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): NodeSettings {
  const {
    NAGAYA_TENANT_ADDRESS: tenant = "",
    NAGAYA_RUNS_ADDRESS: runs = "",
    NAGAYA_ARTIFACTS_ADDRESS: artifacts = "",
    NAGAYA_LLM_GATEWAY_ADDRESS: llmGateway = "",
    NAGAYA_TOKEN: token,
    NAGAYA_TOKEN_FILE: file,
    NAGAYA_CA_FILE: ca = "",
    NAGAYA_TLS_CERT_FILE: cert = "",
    NAGAYA_TLS_KEY_FILE: key = "",
  } = environment;
  const found = token || (file && tokenFile(file));
  if (!found) {
    throw new SettingsInvalid("no token found: set NAGAYA_TOKEN_FILE to a file that holds yours");
  }
  return {
    address: { tenant, runs, artifacts, llmGateway },
    token: found,
    tls: {
      ...(ca && { ca: readFileSync(ca, "utf8") }),
      ...(cert && { cert: readFileSync(cert, "utf8") }),
      ...(key && { key: readFileSync(key, "utf8") }),
    },
  };
}
