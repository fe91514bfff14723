package nagaya

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	artifactsv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/artifacts/v1"
)

var content = bytes.Repeat([]byte("0123456789abcdef"), 50_000)

func record(content []byte) *artifactsv1.Artifact {
	digest := sha256.Sum256(content)
	return &artifactsv1.Artifact{
		SizeBytes: int64(len(content)), Digest: hex.EncodeToString(digest[:]),
	}
}

func described(artifact *artifactsv1.Artifact) *artifactsv1.DownloadArtifactResponse {
	return &artifactsv1.DownloadArtifactResponse{
		Part: &artifactsv1.DownloadArtifactResponse_Artifact{Artifact: artifact},
	}
}

func data(content []byte) *artifactsv1.DownloadArtifactResponse {
	return &artifactsv1.DownloadArtifactResponse{
		Part: &artifactsv1.DownloadArtifactResponse_Data{Data: content},
	}
}

func fetch(t *testing.T, client *Client) (string, error) {
	t.Helper()
	target := filepath.Join(t.TempDir(), "result.json")
	_, err := client.Download(context.Background(), "acme", "storage/acme/r/polish/output.json", target)
	return target, err
}

func TestADownloadGoesOnWhereItBroke(t *testing.T) {
	for name, end := range map[string]error{
		"reset":     status.Error(codes.Internal, "stream terminated by RST_STREAM"),
		"early end": nil,
	} {
		t.Run(name, func(t *testing.T) {
			server := &server{download: func(n int, stream downloadStream) error {
				stream.Send(described(record(content)))
				if n == 1 {
					stream.Send(data(content[:300_000]))
					return end
				}
				stream.Send(data(content[300_000:]))
				return nil
			}}

			target, err := fetch(t, server.listen(t))

			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(target); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			again := server.of("DownloadArtifact")[1].request.(*artifactsv1.DownloadArtifactRequest)
			if again.Offset != 300_000 || again.Digest != record(content).Digest {
				t.Errorf("went on at %d of %s", again.Offset, again.Digest)
			}
		})
	}
}

func TestADownloadThatAlwaysEndsTooEarlyFailsAndLeavesNothing(t *testing.T) {
	server := &server{download: func(_ int, stream downloadStream) error {
		return stream.Send(described(record(content)))
	}}

	target, err := fetch(t, server.listen(t))

	if status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(target)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNothingIsKeptOfAFileWhoseBytesAreNotThoseOfItsDigest(t *testing.T) {
	server := &server{download: func(_ int, stream downloadStream) error {
		stream.Send(described(record(content)))
		changed := bytes.Clone(content)
		changed[4711] ^= 1
		stream.Send(data(changed))
		return nil
	}}

	target, err := fetch(t, server.listen(t))

	if !errors.Is(err, ErrBytesCorrupt) {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(target)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestARefusedDownloadLeavesNothing(t *testing.T) {
	server := &server{download: func(int, downloadStream) error {
		return refuse(codes.NotFound, "ERROR_REASON_ARTIFACT_NOT_FOUND", 0)
	}}

	target, err := fetch(t, server.listen(t))

	if Reason(err) != "ERROR_REASON_ARTIFACT_NOT_FOUND" || errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(target)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func upload(t *testing.T, client *Client) (*artifactsv1.Artifact, error) {
	t.Helper()
	source := filepath.Join(t.TempDir(), "input.json")
	if err := os.WriteFile(source, content, 0o600); err != nil {
		t.Fatal(err)
	}
	draft := &artifactsv1.ArtifactDraft{RunId: "r", Step: "input", Name: "output.json"}
	return client.Upload(context.Background(), "acme", draft, source)
}

func TestAnUploadThatBreaksIsSentAgain(t *testing.T) {
	server := &server{
		announce: func(int) *artifactsv1.CreateUploadResponse {
			return &artifactsv1.CreateUploadResponse{Outcome: &artifactsv1.CreateUploadResponse_Upload{
				Upload: &artifactsv1.Upload{UploadId: "u"},
			}}
		},
		upload: func(n int, received []byte) (*artifactsv1.Artifact, error) {
			if n == 1 {
				return nil, status.Error(codes.Unavailable, "stopping")
			}
			return record(received), nil
		},
	}

	committed, err := upload(t, server.listen(t))

	if err != nil || committed.Digest != record(content).Digest {
		t.Errorf("%v, %v", committed, err)
	}
	announced := server.of("CreateUpload")
	request := announced[0].request.(*artifactsv1.CreateUploadRequest)
	if len(announced) != 2 || request.Digest != record(content).Digest ||
		request.SizeBytes != int64(len(content)) {
		t.Errorf("announced %d times: %v", len(announced), request)
	}
}

func TestAnUploadEndsInTime(t *testing.T) {
	server := &server{
		announce: func(int) *artifactsv1.CreateUploadResponse {
			return &artifactsv1.CreateUploadResponse{Outcome: &artifactsv1.CreateUploadResponse_Upload{
				Upload: &artifactsv1.Upload{UploadId: "u"},
			}}
		},
		upload: func(_ int, received []byte) (*artifactsv1.Artifact, error) {
			return record(received), nil
		},
	}

	_, err := upload(t, server.listen(t))
	_, other := upload(t, server.listen(t, func(settings *Settings) {
		settings.Timeout = 10 * time.Second
	}))

	if err != nil || other != nil {
		t.Fatal(err, other)
	}
	calls := server.of("UploadArtifact")
	if allowed := calls[0].deadline; allowed > time.Hour || allowed < time.Hour-time.Minute {
		t.Errorf("%v by the contract", allowed)
	}
	if allowed := calls[1].deadline; allowed > 10*time.Second {
		t.Errorf("%v by the settings", allowed)
	}
}

func TestAFileThatIsCommittedAlreadyIsNotSent(t *testing.T) {
	server := &server{announce: func(int) *artifactsv1.CreateUploadResponse {
		return &artifactsv1.CreateUploadResponse{
			Outcome: &artifactsv1.CreateUploadResponse_Artifact{Artifact: record(content)},
		}
	}}

	committed, err := upload(t, server.listen(t))

	if err != nil || committed.GetDigest() != record(content).Digest {
		t.Errorf("%v, %v", committed, err)
	}
	if count := len(server.of("UploadArtifact")); count > 0 {
		t.Errorf("%d uploads", count)
	}
}
