package dev.nagaya.example;

import com.google.gson.Gson;
import com.google.protobuf.util.JsonFormat;
import dev.nagaya.artifacts.v1.Artifact;
import dev.nagaya.artifacts.v1.ArtifactDraft;
import dev.nagaya.client.ApiError;
import dev.nagaya.client.NagayaClient;
import dev.nagaya.client.RunWatch;
import dev.nagaya.client.Settings;
import dev.nagaya.runs.v1.ApplyPipelineRequest;
import dev.nagaya.runs.v1.CreateRunRequest;
import dev.nagaya.runs.v1.PipelineSpec;
import dev.nagaya.runs.v1.Run;
import dev.nagaya.runs.v1.RunEvent;
import dev.nagaya.runs.v1.RunState;
import dev.nagaya.runs.v1.RunStep;
import dev.nagaya.runs.v1.StartRunRequest;
import dev.nagaya.tenant.v1.CreateTenantRequest;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.yaml.snakeyaml.LoaderOptions;
import org.yaml.snakeyaml.Yaml;
import org.yaml.snakeyaml.constructor.SafeConstructor;

/**
 * Does what Nagaya is for, from an empty system to a result: creates a tenant, loads the pipeline of
 * examples/article with its prompts, gives a run its input as a file, watches the run, downloads the
 * result with a check of its digest, and shows what it cost. In the end it shows how a refusal looks.
 *
 * <p>Arguments: the folder of the pipeline, where the article is written, and a new tenant's id.
 */
public final class Article {
  private final NagayaClient client;
  private final String tenant;

  private Article(NagayaClient client, String tenant) {
    this.client = client;
    this.tenant = tenant;
  }

  public static void main(String[] arguments) throws IOException, InterruptedException {
    Path folder = Path.of(arguments.length > 0 ? arguments[0] : "examples/article");
    Path target = Path.of(arguments.length > 1 ? arguments[1] : "article.json");
    String tenant = arguments.length > 2 ? arguments[2] : "java-" + System.nanoTime();
    try (NagayaClient client = NagayaClient.connect(Settings.fromEnvironment())) {
      new Article(client, tenant).run(folder, target);
    } catch (StatusRuntimeException error) {
      ApiError cause = ApiError.of(error);
      System.err.printf("%s %s: %s %s%n", cause.code(), cause.reason(), cause.message(), cause.hint());
      System.exit(1);
    }
  }

  private void run(Path folder, Path target) throws IOException, InterruptedException {
    client
        .tenants()
        .createTenant(CreateTenantRequest.newBuilder().setTenantId(tenant).setName(tenant).build());
    System.out.println("tenant " + tenant);
    String pipeline = load(folder);
    String runId = start(pipeline, folder.resolve("briefs/heat-pumps.json"));
    watch(runId);
    String path = "storage/%s/%s/polish/output.json".formatted(tenant, runId);
    Artifact artifact = client.download(tenant, path, target);
    System.out.printf(
        "result %s %d bytes %s%n", target, artifact.getSizeBytes(), artifact.getDigest());
    refused();
  }

  /** Creates the pipeline and its prompts, and returns the pipeline's name. */
  private String load(Path folder) throws IOException {
    Yaml yaml = new Yaml(new SafeConstructor(new LoaderOptions()));
    Map<String, Object> fields = yaml.load(Files.readString(folder.resolve("pipeline.yaml")));
    String name = (String) fields.remove("pipeline");
    PipelineSpec.Builder spec = PipelineSpec.newBuilder();
    JsonFormat.parser().merge(new Gson().toJson(fields), spec);
    ApplyPipelineRequest.Builder request =
        ApplyPipelineRequest.newBuilder().setTenantId(tenant).setPipeline(name).setSpec(spec);
    List<Path> prompts;
    try (var files = Files.list(folder.resolve("prompts"))) {
      prompts = files.sorted().toList();
    }
    for (Path file : prompts) {
      request
          .addPromptsBuilder()
          .setPrompt(file.getFileName().toString().replaceFirst("\\.md$", ""))
          .setContent(Files.readString(file));
    }
    var applied = client.pipelines().applyPipeline(request.build());
    System.out.printf(
        "pipeline %s version %d%n", name, applied.getPipelineVersion().getVersion());
    return name;
  }

  /** Gives a run its input as a file, and has it begin. */
  private String start(String pipeline, Path input) throws IOException, InterruptedException {
    Run run =
        client
            .runs()
            .createRun(
                CreateRunRequest.newBuilder()
                    .setTenantId(tenant)
                    .setPipeline(pipeline)
                    .setHold(true)
                    .build())
            .getRun();
    System.out.println("run " + run.getRunId());
    ArtifactDraft draft =
        ArtifactDraft.newBuilder()
            .setRunId(run.getRunId())
            .setStep("input")
            .setName("output.json")
            .setFileType("application/json")
            .build();
    Artifact uploaded = client.upload(tenant, draft, input);
    System.out.printf("input %s %s%n", uploaded.getPath(), uploaded.getDigest());
    client
        .runs()
        .startRun(
            StartRunRequest.newBuilder().setTenantId(tenant).setRunId(run.getRunId()).build());
    return run.getRunId();
  }

  /** Prints what happens in a run, and fails unless it completes. */
  private void watch(String runId) {
    Run last = Run.getDefaultInstance();
    var options =
        new RunWatch.Options()
            .onBroken(
                error ->
                    System.err.println("the connection broke, and is opened again: " + error));
    try (RunWatch watch = client.watchRun(tenant, runId, options)) {
      while (watch.hasNext()) {
        RunEvent event = watch.next();
        if (event.hasStep()) {
          RunStep step = event.getStep();
          System.out.printf(
              "%d %s %d %s %s%n",
              event.getSequence(), step.getStep(), step.getItem(), step.getState(),
              step.getLlmModel());
        } else {
          last = event.getRun();
          System.out.printf("%d %s%n", event.getSequence(), last.getState());
        }
      }
    }
    if (last.getState() != RunState.RUN_STATE_COMPLETED) {
      throw new IllegalStateException("the run ended as " + last.getState() + ": " + last.getError());
    }
    System.out.printf(
        "cost $%.4f for %d tokens%n",
        last.getTotals().getCostMicroUsd() / 1e6,
        last.getTotals().getInputTokens() + last.getTotals().getOutputTokens());
  }

  /** Shows how a refusal looks: a run of a pipeline that there is not. */
  private void refused() {
    try {
      client
          .runs()
          .createRun(
              CreateRunRequest.newBuilder()
                  .setTenantId(tenant)
                  .setPipeline("no-such-pipeline")
                  .setInlineJson("{}")
                  .build());
    } catch (StatusRuntimeException refusal) {
      ApiError error = ApiError.of(refusal);
      System.out.printf(
          "refused %s %s %s%n", error.reason(), error.metadata().get("pipeline"), error.requestId());
      return;
    }
    throw new IllegalStateException("a run of no pipeline was not refused");
  }
}
