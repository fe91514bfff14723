package dev.nagaya.client;

import dev.nagaya.artifacts.v1.Artifact;
import dev.nagaya.artifacts.v1.ArtifactDraft;
import dev.nagaya.artifacts.v1.ArtifactServiceGrpc;
import dev.nagaya.artifacts.v1.ArtifactServiceGrpc.ArtifactServiceBlockingStub;
import dev.nagaya.artifacts.v1.UploadServiceGrpc;
import dev.nagaya.artifacts.v1.UploadServiceGrpc.UploadServiceBlockingStub;
import dev.nagaya.llmgateway.v1.CallServiceGrpc;
import dev.nagaya.llmgateway.v1.CallServiceGrpc.CallServiceBlockingStub;
import dev.nagaya.llmgateway.v1.CatalogServiceGrpc;
import dev.nagaya.llmgateway.v1.CatalogServiceGrpc.CatalogServiceBlockingStub;
import dev.nagaya.llmgateway.v1.GenerationServiceGrpc;
import dev.nagaya.llmgateway.v1.GenerationServiceGrpc.GenerationServiceBlockingStub;
import dev.nagaya.runs.v1.ApprovalServiceGrpc;
import dev.nagaya.runs.v1.ApprovalServiceGrpc.ApprovalServiceBlockingStub;
import dev.nagaya.runs.v1.PipelineServiceGrpc;
import dev.nagaya.runs.v1.PipelineServiceGrpc.PipelineServiceBlockingStub;
import dev.nagaya.runs.v1.PromptServiceGrpc;
import dev.nagaya.runs.v1.PromptServiceGrpc.PromptServiceBlockingStub;
import dev.nagaya.runs.v1.RunServiceGrpc;
import dev.nagaya.runs.v1.RunServiceGrpc.RunServiceBlockingStub;
import dev.nagaya.runs.v1.ScheduleServiceGrpc;
import dev.nagaya.runs.v1.ScheduleServiceGrpc.ScheduleServiceBlockingStub;
import dev.nagaya.runs.v1.WebhookServiceGrpc;
import dev.nagaya.runs.v1.WebhookServiceGrpc.WebhookServiceBlockingStub;
import dev.nagaya.tenant.v1.AuditServiceGrpc;
import dev.nagaya.tenant.v1.AuditServiceGrpc.AuditServiceBlockingStub;
import dev.nagaya.tenant.v1.BackupServiceGrpc;
import dev.nagaya.tenant.v1.BackupServiceGrpc.BackupServiceBlockingStub;
import dev.nagaya.tenant.v1.OperationServiceGrpc;
import dev.nagaya.tenant.v1.OperationServiceGrpc.OperationServiceBlockingStub;
import dev.nagaya.tenant.v1.TenantServiceGrpc;
import dev.nagaya.tenant.v1.TenantServiceGrpc.TenantServiceBlockingStub;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import java.io.IOException;
import java.nio.file.Path;
import java.util.EnumMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * The client of Nagaya's four services. It may be used by many threads at once.
 *
 * <p>The services' methods are those of the generated stubs. Each call carries the caller's token
 * and an id, and ends after what its contract allows; what may be repeated is repeated when the
 * connection fails or a server stops. Stubs throw StatusRuntimeException; {@link ApiError#of} tells
 * why. A connection is opened when it is first needed.
 */
public final class NagayaClient implements AutoCloseable {
  /** The services. */
  public enum Service {
    TENANT,
    RUNS,
    ARTIFACTS,
    LLM_GATEWAY
  }

  private final Map<Service, ManagedChannel> connections = new EnumMap<>(Service.class);
  private final Map<Service, Channel> channels = new EnumMap<>(Service.class);
  private final Retries retries = new Retries();

  private NagayaClient(Settings settings) {
    open(Service.TENANT, settings.tenant, settings);
    open(Service.RUNS, settings.runs, settings);
    open(Service.ARTIFACTS, settings.artifacts, settings);
    open(Service.LLM_GATEWAY, settings.llmGateway, settings);
  }

  /** Returns a client. Nothing is sent before its first call. */
  public static NagayaClient connect(Settings settings) {
    return new NagayaClient(settings);
  }

  private void open(Service service, String address, Settings settings) {
    if (address == null || address.isEmpty()) {
      return;
    }
    ManagedChannel connection = Addresses.open(address, settings.tls);
    connections.put(service, connection);
    channels.put(
        service,
        ClientInterceptors.intercept(
            connection, new CallInterceptor(address, settings.token, settings.timeout, retries)));
  }

  /**
   * Returns what any generated stub of a service is made on, such as {@code
   * ServerServiceGrpc.newFutureStub(client.channel(Service.TENANT))}.
   */
  public Channel channel(Service service) {
    Channel channel = channels.get(service);
    if (channel == null) {
      throw new IllegalStateException("the address of " + service + " is not in the settings");
    }
    return channel;
  }

  public TenantServiceBlockingStub tenants() {
    return TenantServiceGrpc.newBlockingStub(channel(Service.TENANT));
  }

  public BackupServiceBlockingStub backups() {
    return BackupServiceGrpc.newBlockingStub(channel(Service.TENANT));
  }

  public OperationServiceBlockingStub operations() {
    return OperationServiceGrpc.newBlockingStub(channel(Service.TENANT));
  }

  public AuditServiceBlockingStub audit() {
    return AuditServiceGrpc.newBlockingStub(channel(Service.TENANT));
  }

  public RunServiceBlockingStub runs() {
    return RunServiceGrpc.newBlockingStub(channel(Service.RUNS));
  }

  public PipelineServiceBlockingStub pipelines() {
    return PipelineServiceGrpc.newBlockingStub(channel(Service.RUNS));
  }

  public PromptServiceBlockingStub prompts() {
    return PromptServiceGrpc.newBlockingStub(channel(Service.RUNS));
  }

  public ScheduleServiceBlockingStub schedules() {
    return ScheduleServiceGrpc.newBlockingStub(channel(Service.RUNS));
  }

  public WebhookServiceBlockingStub webhooks() {
    return WebhookServiceGrpc.newBlockingStub(channel(Service.RUNS));
  }

  public ApprovalServiceBlockingStub approvals() {
    return ApprovalServiceGrpc.newBlockingStub(channel(Service.RUNS));
  }

  public ArtifactServiceBlockingStub artifacts() {
    return ArtifactServiceGrpc.newBlockingStub(channel(Service.ARTIFACTS));
  }

  public UploadServiceBlockingStub uploads() {
    return UploadServiceGrpc.newBlockingStub(channel(Service.ARTIFACTS));
  }

  public GenerationServiceBlockingStub generations() {
    return GenerationServiceGrpc.newBlockingStub(channel(Service.LLM_GATEWAY));
  }

  public CallServiceBlockingStub calls() {
    return CallServiceGrpc.newBlockingStub(channel(Service.LLM_GATEWAY));
  }

  public CatalogServiceBlockingStub catalog() {
    return CatalogServiceGrpc.newBlockingStub(channel(Service.LLM_GATEWAY));
  }

  /** Returns a run's events from the first one on; see {@link RunWatch}. */
  public RunWatch watchRun(String tenantId, String runId) {
    return watchRun(tenantId, runId, new RunWatch.Options());
  }

  /** Returns a run's events, across broken connections; see {@link RunWatch}. */
  public RunWatch watchRun(String tenantId, String runId, RunWatch.Options options) {
    return new RunWatch(channel(Service.RUNS), tenantId, runId, options, retries::isClosed);
  }

  /**
   * Commits a file. Nothing is sent when the same one is committed there already; a stream that
   * breaks is sent again.
   */
  public Artifact upload(String tenantId, ArtifactDraft draft, Path source)
      throws IOException, InterruptedException {
    return new Upload(channel(Service.ARTIFACTS), tenantId, draft, source).commit();
  }

  /**
   * Fetches a file. {@code target} appears whole and with the bytes of its digest, or not at all. A
   * stream that breaks goes on where it broke.
   *
   * @throws BytesCorruptException when other bytes come than those of the digest
   */
  public Artifact download(String tenantId, String path, Path target)
      throws IOException, InterruptedException {
    return new Download(channel(Service.ARTIFACTS), tenantId, path).to(target);
  }

  /** Ends every connection; calls in flight and watches fail. */
  @Override
  public void close() {
    retries.close();
    connections.values().forEach(ManagedChannel::shutdownNow);
    for (ManagedChannel connection : connections.values()) {
      try {
        connection.awaitTermination(5, TimeUnit.SECONDS);
      } catch (InterruptedException error) {
        Thread.currentThread().interrupt();
        return;
      }
    }
  }
}
