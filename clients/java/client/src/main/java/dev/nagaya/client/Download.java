package dev.nagaya.client;

import dev.nagaya.artifacts.v1.Artifact;
import dev.nagaya.artifacts.v1.ArtifactServiceGrpc;
import dev.nagaya.artifacts.v1.DownloadArtifactRequest;
import dev.nagaya.artifacts.v1.DownloadArtifactResponse;
import io.grpc.Channel;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.BlockingClientCall;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** One file that is fetched, and verified at its end. */
final class Download {
  private final ArtifactServiceGrpc.ArtifactServiceBlockingV2Stub artifacts;
  private final String tenantId;
  private final String path;
  private final MessageDigest digest = sha256();

  private Artifact artifact = Artifact.getDefaultInstance();
  private long size;

  Download(Channel channel, String tenantId, String path) {
    artifacts = ArtifactServiceGrpc.newBlockingV2Stub(channel);
    this.tenantId = tenantId;
    this.path = path;
  }

  Artifact to(Path target) throws IOException, InterruptedException {
    Path folder = target.toAbsolutePath().getParent();
    Path draft = Files.createTempFile(folder, "." + target.getFileName() + ".", ".part");
    try {
      try (OutputStream file = Files.newOutputStream(draft)) {
        receive(file);
      }
      verify();
      Files.move(draft, target, StandardCopyOption.REPLACE_EXISTING);
      return artifact;
    } finally {
      Files.deleteIfExists(draft);
    }
  }

  private void receive(OutputStream target) throws IOException, InterruptedException {
    for (int attempt = 1; ; attempt++) {
      long before = size;
      try {
        rest(target);
        return;
      } catch (StatusException error) {
        StatusRuntimeException failure = Pauses.unchecked(error);
        ApiError cause = ApiError.of(failure);
        if (cause.isTransient() && !artifact.getDigest().isEmpty() && isComplete()) {
          return; // only the end of the stream was lost
        }
        attempt = size > before ? 1 : attempt;
        if (!cause.isTransient() || attempt == Pauses.TRANSFER_ATTEMPTS) {
          throw failure;
        }
        Pauses.sleep(Pauses.ofTransfer(attempt), cause);
      }
    }
  }

  private void rest(OutputStream target) throws IOException, InterruptedException, StatusException {
    BlockingClientCall<?, DownloadArtifactResponse> stream =
        artifacts.downloadArtifact(
            DownloadArtifactRequest.newBuilder()
                .setTenantId(tenantId)
                .setPath(path)
                .setDigest(artifact.getDigest()) // what goes on must be the file that was begun
                .setOffset(size)
                .build());
    try {
      for (var response = stream.read(); response != null; response = stream.read()) {
        if (response.hasArtifact()) {
          artifact = response.getArtifact();
          continue;
        }
        response.getData().writeTo(target);
        digest.update(response.getData().asReadOnlyByteBuffer());
        size += response.getData().size();
      }
      if (artifact.getDigest().isEmpty() || size < artifact.getSizeBytes()) {
        throw Status.UNAVAILABLE
            .withDescription(
                "the stream ended after %d of %d bytes".formatted(size, artifact.getSizeBytes()))
            .asException();
      }
    } finally {
      stream.cancel("left", null);
    }
  }

  private boolean isComplete() {
    return size == artifact.getSizeBytes();
  }

  private void verify() throws BytesCorruptException {
    String received = HexFormat.of().formatHex(digest.digest());
    if (!isComplete() || !received.equals(artifact.getDigest())) {
      throw new BytesCorruptException(
          "%s: %d bytes with sha256 %s came, its record says %d with %s"
              .formatted(path, size, received, artifact.getSizeBytes(), artifact.getDigest()));
    }
  }

  static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException error) {
      throw new IllegalStateException("every Java has SHA-256", error);
    }
  }
}
