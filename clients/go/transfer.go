package nagaya

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	artifactsv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/artifacts/v1"
)

const (
	chunkBytes = 256 << 10
	// The pauses are 5 s together at least: load balancers take 3 s until they leave out a server that
	// died.
	transferAttempts     = 8
	firstTransferPause   = 400 * time.Millisecond
	longestTransferPause = 2 * time.Second
)

// Upload commits a file. Nothing is sent when the same one is committed there already; a stream that
// breaks is sent again.
func (c *Client) Upload(
	ctx context.Context, tenantID string, draft *artifactsv1.ArtifactDraft, source string,
) (*artifactsv1.Artifact, error) {
	file, err := os.Open(source)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	digest := sha256.New()
	size, err := io.Copy(digest, file)
	if err != nil {
		return nil, err
	}
	request := &artifactsv1.CreateUploadRequest{
		TenantId: tenantID, Draft: draft, SizeBytes: size, Digest: hex.EncodeToString(digest.Sum(nil)),
	}
	for attempt := 1; ; attempt++ {
		// Asked each time: the stream whose answer was lost may have committed the file.
		announced, err := c.Uploads.CreateUpload(ctx, request)
		if err != nil {
			return nil, err
		}
		if committed := announced.GetArtifact(); committed != nil {
			return committed, nil
		}
		committed, err := c.send(ctx, tenantID, announced.GetUpload().GetUploadId(), file)
		if err == nil {
			return committed, nil
		}
		if !c.again(ctx, err, attempt) {
			return nil, err
		}
	}
}

func (c *Client) send(
	ctx context.Context, tenantID, uploadID string, file io.ReadSeeker,
) (*artifactsv1.Artifact, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Artifacts.UploadArtifact(ctx)
	if err != nil {
		return nil, err
	}
	err = stream.Send(&artifactsv1.UploadArtifactRequest{
		TenantId: tenantID, Part: &artifactsv1.UploadArtifactRequest_UploadId{UploadId: uploadID},
	})
	for buffer := make([]byte, chunkBytes); err == nil; {
		count, ended := io.ReadFull(file, buffer)
		if count > 0 {
			err = stream.Send(&artifactsv1.UploadArtifactRequest{
				Part: &artifactsv1.UploadArtifactRequest_Data{Data: buffer[:count]},
			})
		}
		if ended != nil && !errors.Is(ended, io.EOF) && !errors.Is(ended, io.ErrUnexpectedEOF) {
			return nil, ended
		}
		if ended != nil {
			break
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	response, err := stream.CloseAndRecv() // says why, where sending has failed
	return response.GetArtifact(), err
}

// Download fetches a file. target appears whole and with the bytes of its digest, or not at all: it
// fails with ErrBytesCorrupt when other bytes come. A stream that breaks goes on where it broke.
func (c *Client) Download(
	ctx context.Context, tenantID, path, target string,
) (*artifactsv1.Artifact, error) {
	draft, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*.part")
	if err != nil {
		return nil, err
	}
	artifact, err := c.DownloadTo(ctx, tenantID, path, draft)
	err = errors.Join(err, draft.Close())
	if err == nil {
		err = os.Rename(draft.Name(), target)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(draft.Name()))
	}
	return artifact, nil
}

// DownloadTo writes a file's bytes as they come, and fails with ErrBytesCorrupt at their end when
// they are not those of its digest.
func (c *Client) DownloadTo(
	ctx context.Context, tenantID, path string, target io.Writer,
) (*artifactsv1.Artifact, error) {
	received := &download{client: c, tenantID: tenantID, path: path, target: target, digest: sha256.New()}
	for attempt := 1; ; attempt++ {
		before := received.size
		err := received.rest(ctx)
		complete := received.artifact != nil && received.size == received.artifact.SizeBytes
		if err == nil || (complete && isTransient(err)) { // then only the stream's end was lost
			return received.verified()
		}
		if received.size > before {
			attempt = 1
		}
		if !c.again(ctx, err, attempt) {
			return nil, err
		}
	}
}

type download struct {
	client         *Client
	tenantID, path string
	target         io.Writer
	digest         hash.Hash
	size           int64
	artifact       *artifactsv1.Artifact
}

func (d *download) rest(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := d.client.Artifacts.DownloadArtifact(ctx, &artifactsv1.DownloadArtifactRequest{
		TenantId: d.tenantID,
		Path:     d.path,
		Digest:   d.artifact.GetDigest(), // what goes on must be the file that was begun
		Offset:   d.size,
	})
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return d.ended()
		}
		if err != nil {
			return err
		}
		if artifact := response.GetArtifact(); artifact != nil {
			d.artifact = artifact
			continue
		}
		count, err := d.target.Write(response.GetData())
		d.size += int64(count)
		d.digest.Write(response.GetData()[:count])
		if err != nil {
			return err
		}
	}
}

// ended tells what is missing of a stream that ended without an error.
func (d *download) ended() error {
	if d.artifact != nil && d.size >= d.artifact.SizeBytes {
		return nil
	}
	return broken(fmt.Sprintf(
		"the stream ended after %d of %d bytes", d.size, d.artifact.GetSizeBytes()))
}

func (d *download) verified() (*artifactsv1.Artifact, error) {
	digest := hex.EncodeToString(d.digest.Sum(nil))
	if d.size != d.artifact.GetSizeBytes() || digest != d.artifact.GetDigest() {
		return nil, fmt.Errorf("%s: %w: %d bytes with sha256 %s came, its record says %d with %s",
			d.path, ErrBytesCorrupt, d.size, digest, d.artifact.GetSizeBytes(), d.artifact.GetDigest())
	}
	return d.artifact, nil
}

// again waits before the next attempt at a transfer; it tells whether there is one.
func (c *Client) again(ctx context.Context, err error, attempt int) bool {
	var failure *Error
	if !errors.As(err, &failure) || !failure.Transient() || attempt >= transferAttempts {
		return false
	}
	pause := min(firstTransferPause<<(attempt-1), longestTransferPause)
	return sleep(ctx, max(jittered(pause), failure.RetryAfter))
}

func isTransient(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.Transient()
}
