package dev.nagaya.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import dev.nagaya.artifacts.v1.Artifact;
import dev.nagaya.artifacts.v1.ArtifactDraft;
import dev.nagaya.artifacts.v1.CreateUploadRequest;
import dev.nagaya.artifacts.v1.CreateUploadResponse;
import dev.nagaya.artifacts.v1.DownloadArtifactRequest;
import dev.nagaya.artifacts.v1.DownloadArtifactResponse;
import dev.nagaya.artifacts.v1.Upload;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class TransferTest {
  private static final byte[] CONTENT = "0123456789abcdef".repeat(50_000).getBytes();
  private static final int HALF = 300_000;

  @TempDir private Path folder;
  private ScriptedServer server;

  @BeforeEach
  void startServer() throws IOException {
    server = new ScriptedServer();
  }

  @AfterEach
  void stopServer() throws InterruptedException {
    server.close();
  }

  private static Artifact record(byte[] content) {
    String digest = HexFormat.of().formatHex(Download.sha256().digest(content));
    return Artifact.newBuilder().setSizeBytes(content.length).setDigest(digest).build();
  }

  private static DownloadArtifactResponse described(Artifact artifact) {
    return DownloadArtifactResponse.newBuilder().setArtifact(artifact).build();
  }

  private static DownloadArtifactResponse data(byte[] content, int from, int to) {
    return DownloadArtifactResponse.newBuilder()
        .setData(ByteString.copyFrom(content, from, to - from))
        .build();
  }

  private Path download() throws IOException, InterruptedException {
    Path target = folder.resolve("result.json");
    try (NagayaClient client = NagayaClient.connect(server.settings().build())) {
      client.download("acme", "storage/acme/r/polish/output.json", target);
    }
    return target;
  }

  private Artifact upload() throws IOException, InterruptedException {
    return upload(server.settings().build());
  }

  private Artifact upload(Settings settings) throws IOException, InterruptedException {
    Path source = Files.write(folder.resolve("input.json"), CONTENT);
    ArtifactDraft draft = ArtifactDraft.newBuilder().setRunId("r").setStep("input").build();
    try (NagayaClient client = NagayaClient.connect(settings)) {
      return client.upload("acme", draft, source);
    }
  }

  private List<Path> left() throws IOException {
    try (var files = Files.list(folder)) {
      return files.toList();
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aDownloadGoesOnWhereItBroke(boolean withError) throws IOException, InterruptedException {
    server.download =
        (number, out) -> {
          out.onNext(described(record(CONTENT)));
          if (number == 1) {
            out.onNext(data(CONTENT, 0, HALF));
            if (withError) {
              throw Status.INTERNAL.withDescription("RST_STREAM").asRuntimeException();
            }
            return; // as some proxies end what they have cut
          }
          out.onNext(data(CONTENT, HALF, CONTENT.length));
        };

    assertArrayEquals(CONTENT, Files.readAllBytes(download()));
    var again = (DownloadArtifactRequest) server.of("DownloadArtifact").get(1).request();
    assertEquals(HALF, again.getOffset());
    assertEquals(record(CONTENT).getDigest(), again.getDigest());
  }

  @Test
  void aDownloadThatAlwaysEndsTooEarlyFailsAndLeavesNothing() throws IOException {
    server.download = (number, out) -> out.onNext(described(record(CONTENT)));

    ApiError error = ApiError.of(assertThrows(StatusRuntimeException.class, this::download));

    assertEquals(Status.Code.UNAVAILABLE, error.code());
    assertEquals(List.of(), left());
  }

  @Test
  void nothingIsKeptOfAFileWhoseBytesAreNotThoseOfItsDigest() throws IOException {
    byte[] changed = Arrays.copyOf(CONTENT, CONTENT.length);
    changed[4711] ^= 1;
    server.download =
        (number, out) -> {
          out.onNext(described(record(CONTENT)));
          out.onNext(data(changed, 0, changed.length));
        };

    assertThrows(BytesCorruptException.class, this::download);
    assertEquals(List.of(), left());
  }

  @Test
  void aRefusedDownloadLeavesNothing() throws IOException {
    server.download =
        (number, out) -> {
          throw ScriptedServer.refusal(
              Status.Code.NOT_FOUND, "ERROR_REASON_ARTIFACT_NOT_FOUND", Duration.ZERO);
        };

    ApiError error = ApiError.of(assertThrows(StatusRuntimeException.class, this::download));

    assertEquals("ERROR_REASON_ARTIFACT_NOT_FOUND", error.reason());
    assertEquals(List.of(), left());
  }

  @Test
  void anUploadThatBreaksIsSentAgain() throws IOException, InterruptedException {
    server.announce =
        number ->
            CreateUploadResponse.newBuilder()
                .setUpload(Upload.newBuilder().setUploadId("u"))
                .build();
    server.upload =
        number -> {
          if (number == 1) {
            throw Status.UNAVAILABLE.asRuntimeException();
          }
          return record(server.uploaded);
        };

    assertEquals(record(CONTENT), upload());
    List<ScriptedServer.Call> announced = server.of("CreateUpload");
    assertEquals(2, announced.size());
    var request = (CreateUploadRequest) announced.get(0).request();
    assertEquals(record(CONTENT).getDigest(), request.getDigest());
    assertEquals(CONTENT.length, request.getSizeBytes());
  }

  @Test
  void anUploadEndsInTime() throws IOException, InterruptedException {
    server.announce =
        number ->
            CreateUploadResponse.newBuilder()
                .setUpload(Upload.newBuilder().setUploadId("u"))
                .build();
    server.upload = number -> record(server.uploaded);

    upload();
    upload(server.settings().timeout(Duration.ofSeconds(10)).build());

    List<Long> allowed =
        server.of("UploadArtifact").stream().map(ScriptedServer.Call::seconds).toList();
    assertTrue(allowed.get(0) > 3500 && allowed.get(0) <= 3600, allowed.toString());
    assertTrue(allowed.get(1) <= 10, allowed.toString());
  }

  @Test
  void aFileThatIsCommittedAlreadyIsNotSent() throws IOException, InterruptedException {
    server.announce =
        number -> CreateUploadResponse.newBuilder().setArtifact(record(CONTENT)).build();

    assertEquals(record(CONTENT), upload());
    assertEquals(List.of(), server.of("UploadArtifact"));
  }
}
