package dev.nagaya.client;

import com.google.protobuf.ByteString;
import dev.nagaya.artifacts.v1.Artifact;
import dev.nagaya.artifacts.v1.ArtifactDraft;
import dev.nagaya.artifacts.v1.ArtifactServiceGrpc;
import dev.nagaya.artifacts.v1.CreateUploadRequest;
import dev.nagaya.artifacts.v1.CreateUploadResponse;
import dev.nagaya.artifacts.v1.UploadArtifactRequest;
import dev.nagaya.artifacts.v1.UploadArtifactResponse;
import dev.nagaya.artifacts.v1.UploadServiceGrpc;
import io.grpc.Channel;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.BlockingClientCall;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;

/** One file that is sent, from its announcement to its commit. */
final class Upload {
  private static final int CHUNK_BYTES = 256 << 10;

  private final UploadServiceGrpc.UploadServiceBlockingStub uploads;
  private final ArtifactServiceGrpc.ArtifactServiceBlockingV2Stub artifacts;
  private final String tenantId;
  private final ArtifactDraft draft;
  private final Path source;

  Upload(Channel channel, String tenantId, ArtifactDraft draft, Path source) {
    uploads = UploadServiceGrpc.newBlockingStub(channel);
    artifacts = ArtifactServiceGrpc.newBlockingV2Stub(channel);
    this.tenantId = tenantId;
    this.draft = draft;
    this.source = source;
  }

  Artifact commit() throws IOException, InterruptedException {
    CreateUploadRequest announcement = announcement();
    for (int attempt = 1; ; attempt++) {
      // Asked each time: the stream whose answer was lost may have committed the file.
      CreateUploadResponse announced = uploads.createUpload(announcement);
      if (announced.hasArtifact()) {
        return announced.getArtifact();
      }
      try {
        return send(announced.getUpload().getUploadId());
      } catch (StatusException error) {
        StatusRuntimeException failure = Pauses.unchecked(error);
        ApiError cause = ApiError.of(failure);
        if (!cause.isTransient() || attempt == Pauses.TRANSFER_ATTEMPTS) {
          throw failure;
        }
        Pauses.sleep(Pauses.ofTransfer(attempt), cause);
      }
    }
  }

  private CreateUploadRequest announcement() throws IOException {
    MessageDigest digest = Download.sha256();
    long size = 0;
    try (InputStream file = Files.newInputStream(source)) {
      byte[] buffer = new byte[CHUNK_BYTES];
      for (int count = file.read(buffer); count >= 0; count = file.read(buffer)) {
        digest.update(buffer, 0, count);
        size += count;
      }
    }
    return CreateUploadRequest.newBuilder()
        .setTenantId(tenantId)
        .setDraft(draft)
        .setSizeBytes(size)
        .setDigest(HexFormat.of().formatHex(digest.digest()))
        .build();
  }

  private Artifact send(String uploadId)
      throws IOException, InterruptedException, StatusException {
    BlockingClientCall<UploadArtifactRequest, UploadArtifactResponse> stream =
        artifacts.uploadArtifact();
    try (InputStream file = Files.newInputStream(source)) {
      boolean open =
          stream.write(
              UploadArtifactRequest.newBuilder()
                  .setTenantId(tenantId)
                  .setUploadId(uploadId)
                  .build());
      byte[] chunk = file.readNBytes(CHUNK_BYTES);
      while (open && chunk.length > 0) {
        open =
            stream.write(
                UploadArtifactRequest.newBuilder().setData(ByteString.copyFrom(chunk)).build());
        chunk = file.readNBytes(CHUNK_BYTES);
      }
      stream.halfClose();
      return stream.read().getArtifact();
    } finally {
      stream.cancel("left", null);
    }
  }
}
