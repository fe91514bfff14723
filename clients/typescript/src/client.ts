import type { DescService, MessageInitShape } from "@bufbuild/protobuf";
import { createClient, type Client as Stub, type Transport } from "@connectrpc/connect";
import { type FileRequest, read, type Sha256 } from "./download.js";
import type { Artifact, ArtifactDraftSchema } from "./gen/nagaya/artifacts/v1/artifact_pb.js";
import { ArtifactService } from "./gen/nagaya/artifacts/v1/artifact_service_pb.js";
import { UploadService } from "./gen/nagaya/artifacts/v1/upload_service_pb.js";
import { CallService } from "./gen/nagaya/llm_gateway/v1/call_service_pb.js";
import { CatalogService } from "./gen/nagaya/llm_gateway/v1/catalog_service_pb.js";
import { GenerationService } from "./gen/nagaya/llm_gateway/v1/generation_service_pb.js";
import { ApprovalService } from "./gen/nagaya/runs/v1/approval_service_pb.js";
import { PipelineService } from "./gen/nagaya/runs/v1/pipeline_service_pb.js";
import { PromptService } from "./gen/nagaya/runs/v1/prompt_service_pb.js";
import type { RunEvent, RunStep, StepText } from "./gen/nagaya/runs/v1/run_pb.js";
import {
  RunService,
  type WatchRunRequestSchema,
  type WatchStepTextRequestSchema,
} from "./gen/nagaya/runs/v1/run_service_pb.js";
import { ScheduleService } from "./gen/nagaya/runs/v1/schedule_service_pb.js";
import { TenantLimitService } from "./gen/nagaya/runs/v1/tenant_limit_service_pb.js";
import { WebhookService } from "./gen/nagaya/runs/v1/webhook_service_pb.js";
import { AuditService } from "./gen/nagaya/tenant/v1/audit_service_pb.js";
import { BackupService } from "./gen/nagaya/tenant/v1/backup_service_pb.js";
import type { Operation } from "./gen/nagaya/tenant/v1/operation_pb.js";
import {
  OperationService,
  type WatchOperationRequestSchema,
} from "./gen/nagaya/tenant/v1/operation_service_pb.js";
import { SchemaService } from "./gen/nagaya/tenant/v1/schema_service_pb.js";
import { SecretService } from "./gen/nagaya/tenant/v1/secret_service_pb.js";
import { ServerService } from "./gen/nagaya/tenant/v1/server_service_pb.js";
import { TenantService } from "./gen/nagaya/tenant/v1/tenant_service_pb.js";
import { TransferService } from "./gen/nagaya/tenant/v1/transfer_service_pb.js";
import { type ServiceName, type Settings, urlOf } from "./settings.js";
import { CallTransport } from "./transport.js";
import { watchOperation, watchRun, watchStepText } from "./watch.js";
import type { WatchOptions } from "./watching.js";

/** Where an uploaded file lies in its run; `output.json` when it is given no name. */
export type UploadTarget = MessageInitShape<typeof ArtifactDraftSchema>;

/** What Node and browsers do each in their own way. */
export interface Platform {
  /** Return a transport to a URL. */
  transport(url: string): Transport;
  sha256(): Sha256;
}

/**
 * Everything that Nagaya serves. A stub for each service, and what takes several calls.
 *
 * Calls throw ApiError, and SettingsInvalid when their service's address is not known. A connection
 * is opened when it is first needed.
 */
export class Client {
  private readonly transports = new Map<string, Transport>();
  private readonly stubs = new Map<string, unknown>();
  private readonly closed = new AbortController();

  constructor(
    readonly settings: Settings,
    private readonly platform: Platform,
  ) {}

  get tenants(): Stub<typeof TenantService> {
    return this.stub("tenant", TenantService);
  }
  get operations(): Stub<typeof OperationService> {
    return this.stub("tenant", OperationService);
  }
  get backups(): Stub<typeof BackupService> {
    return this.stub("tenant", BackupService);
  }
  get transfers(): Stub<typeof TransferService> {
    return this.stub("tenant", TransferService);
  }
  get audit(): Stub<typeof AuditService> {
    return this.stub("tenant", AuditService);
  }
  get schema(): Stub<typeof SchemaService> {
    return this.stub("tenant", SchemaService);
  }
  get servers(): Stub<typeof ServerService> {
    return this.stub("tenant", ServerService);
  }
  get secrets(): Stub<typeof SecretService> {
    return this.stub("tenant", SecretService);
  }
  get runs(): Stub<typeof RunService> {
    return this.stub("runs", RunService);
  }
  get pipelines(): Stub<typeof PipelineService> {
    return this.stub("runs", PipelineService);
  }
  get prompts(): Stub<typeof PromptService> {
    return this.stub("runs", PromptService);
  }
  get approvals(): Stub<typeof ApprovalService> {
    return this.stub("runs", ApprovalService);
  }
  get schedules(): Stub<typeof ScheduleService> {
    return this.stub("runs", ScheduleService);
  }
  get webhooks(): Stub<typeof WebhookService> {
    return this.stub("runs", WebhookService);
  }
  get tenantLimits(): Stub<typeof TenantLimitService> {
    return this.stub("runs", TenantLimitService);
  }
  get artifacts(): Stub<typeof ArtifactService> {
    return this.stub("artifacts", ArtifactService);
  }
  get uploads(): Stub<typeof UploadService> {
    return this.stub("artifacts", UploadService);
  }
  get generations(): Stub<typeof GenerationService> {
    return this.stub("llmGateway", GenerationService);
  }
  get calls(): Stub<typeof CallService> {
    return this.stub("llmGateway", CallService);
  }
  get catalog(): Stub<typeof CatalogService> {
    return this.stub("llmGateway", CatalogService);
  }

  /**
   * Yield a run's events after `afterSequence`, up to its final state.
   *
   * A connection that breaks is opened again: no event is lost and none comes twice. Throws
   * ApiError when the service refuses, or cannot be reached for `reconnectMs` on end.
   */
  watchRun(
    request: MessageInitShape<typeof WatchRunRequestSchema>,
    options: WatchOptions = {},
  ): AsyncGenerator<RunEvent, void, undefined> {
    return watchRun(this.runs, request, options);
  }

  /**
   * Yield the text with which a model answers a step, as it comes, and at last the step.
   *
   * No piece is lost and none comes twice. When the attempt of a text is another than before, what
   * came of the one before is void. Throws as watchRun does.
   */
  watchStepText(
    request: MessageInitShape<typeof WatchStepTextRequestSchema>,
    options: WatchOptions = {},
  ): AsyncGenerator<StepText | RunStep, void, undefined> {
    return watchStepText(this.runs, request, options);
  }

  /** Yield an operation as it is, then whenever it has changed, up to its end. */
  watchOperation(
    request: MessageInitShape<typeof WatchOperationRequestSchema>,
    options: WatchOptions = {},
  ): AsyncGenerator<Operation, void, undefined> {
    return watchOperation(this.operations, request, options);
  }

  /**
   * Yield a file's bytes in order, and return its record. A stream that breaks goes on where it
   * broke. Throws ApiError, and BytesCorrupt at the end if the bytes are not those of the digest.
   */
  read(
    request: FileRequest,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array, Artifact, undefined> {
    return read(this.artifacts, this.platform.sha256(), request, signal);
  }

  /** Fetch a whole file, verified. Throws ApiError and BytesCorrupt. */
  async readAll(request: FileRequest, signal?: AbortSignal): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.read(request, signal)) {
      chunks.push(chunk);
    }
    const whole = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0));
    let offset = 0;
    for (const chunk of chunks) {
      whole.set(chunk, offset);
      offset += chunk.length;
    }
    return whole;
  }

  /** End all calls; none can be made afterwards. */
  close(): void {
    this.closed.abort();
  }

  /** Return the sha256 of bytes, 64 lower-case hexadecimal digits. */
  protected digestOf(bytes: Uint8Array): string {
    const sha256 = this.platform.sha256();
    sha256.update(bytes);
    return sha256.digest();
  }

  private stub<S extends DescService>(at: ServiceName, service: S): Stub<S> {
    let stub = this.stubs.get(service.typeName);
    if (stub === undefined) {
      const url = urlOf(this.settings, at);
      const transport =
        this.transports.get(url) ??
        new CallTransport(this.platform.transport(url), url, this.settings, this.closed.signal);
      this.transports.set(url, transport);
      stub = createClient(service, transport);
      this.stubs.set(service.typeName, stub);
    }
    return stub as Stub<S>;
  }
}
