package nagaya

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	artifactsv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/artifacts/v1"
	runsv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/runs/v1"
)

type (
	watchStream    = grpc.ServerStreamingServer[runsv1.WatchRunResponse]
	downloadStream = grpc.ServerStreamingServer[artifactsv1.DownloadArtifactResponse]
)

// server answers on a port of its own as a test has scripted it, and keeps what it was sent.
type server struct {
	runsv1.UnimplementedRunServiceServer
	artifactsv1.UnimplementedArtifactServiceServer
	artifactsv1.UnimplementedUploadServiceServer

	// The n-th call, from 1 on, is answered by these.
	createRun func(n int) (*runsv1.Run, error)
	getRun    func(n int) (*runsv1.Run, error)
	watchRun  func(n int, stream watchStream) error
	download  func(n int, stream downloadStream) error
	announce  func(n int) *artifactsv1.CreateUploadResponse
	upload    func(n int, received []byte) (*artifactsv1.Artifact, error)

	mutex sync.Mutex
	calls []call
}

// call is what one call has brought.
type call struct {
	method  string
	request any
	header  metadata.MD
	at      time.Time
	// deadline is how long the caller allowed it; 0 for ever.
	deadline time.Duration
}

// listen starts a server and returns a client of it.
func (s *server) listen(t *testing.T, options ...func(*Settings)) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	runsv1.RegisterRunServiceServer(grpcServer, s)
	artifactsv1.RegisterArtifactServiceServer(grpcServer, s)
	artifactsv1.RegisterUploadServiceServer(grpcServer, s)
	go grpcServer.Serve(listener)
	t.Cleanup(grpcServer.Stop)
	return clientOf(t, listener.Addr().String(), options...)
}

func clientOf(t *testing.T, address string, options ...func(*Settings)) *Client {
	t.Helper()
	settings := Settings{Runs: address, Artifacts: address, Token: TokenText("a-token")}
	for _, option := range options {
		option(&settings)
	}
	client, err := Connect(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// note keeps a call, and returns how many of its method there have been.
func (s *server) note(ctx context.Context, method string, request any) int {
	header, _ := metadata.FromIncomingContext(ctx)
	noted := call{method: method, request: request, header: header, at: time.Now()}
	if deadline, limited := ctx.Deadline(); limited {
		noted.deadline = time.Until(deadline)
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.calls = append(s.calls, noted)
	count := 0
	for _, other := range s.calls {
		if other.method == method {
			count++
		}
	}
	return count
}

// of returns the calls of a method, in order.
func (s *server) of(method string) []call {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var found []call
	for _, one := range s.calls {
		if one.method == method {
			found = append(found, one)
		}
	}
	return found
}

func (s *server) CreateRun(
	ctx context.Context, request *runsv1.CreateRunRequest,
) (*runsv1.CreateRunResponse, error) {
	run, err := s.createRun(s.note(ctx, "CreateRun", request))
	if err != nil {
		if refused, ok := err.(refusal); ok {
			grpc.SetTrailer(ctx, refused.trailer)
		}
		return nil, err
	}
	return &runsv1.CreateRunResponse{Run: run}, nil
}

func (s *server) GetRun(
	ctx context.Context, request *runsv1.GetRunRequest,
) (*runsv1.GetRunResponse, error) {
	run, err := s.getRun(s.note(ctx, "GetRun", request))
	return &runsv1.GetRunResponse{Run: run}, err
}

func (s *server) WatchRun(
	request *runsv1.WatchRunRequest, stream watchStream,
) error {
	return s.watchRun(s.note(stream.Context(), "WatchRun", request), stream)
}

func (s *server) DownloadArtifact(
	request *artifactsv1.DownloadArtifactRequest, stream downloadStream,
) error {
	return s.download(s.note(stream.Context(), "DownloadArtifact", request), stream)
}

func (s *server) CreateUpload(
	ctx context.Context, request *artifactsv1.CreateUploadRequest,
) (*artifactsv1.CreateUploadResponse, error) {
	return s.announce(s.note(ctx, "CreateUpload", request)), nil
}

func (s *server) UploadArtifact(
	stream grpc.ClientStreamingServer[
		artifactsv1.UploadArtifactRequest, artifactsv1.UploadArtifactResponse],
) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	n := s.note(stream.Context(), "UploadArtifact", first)
	var received []byte
	for {
		next, err := stream.Recv()
		if err != nil {
			break
		}
		received = append(received, next.GetData()...)
	}
	artifact, err := s.upload(n, received)
	if err != nil {
		return err
	}
	return stream.SendAndClose(&artifactsv1.UploadArtifactResponse{Artifact: artifact})
}

// refusal is an error that is sent with trailers.
type refusal struct {
	error
	trailer metadata.MD
}

func (r refusal) GRPCStatus() *status.Status { return status.Convert(r.error) }

// refuse returns what the services answer: a status with its reason, and how long to wait.
func refuse(code codes.Code, reason string, after time.Duration) error {
	refused := status.New(code, "The sentence of "+reason+".")
	info := &errdetails.ErrorInfo{
		Reason: reason, Domain: "runs.nagaya.dev", Metadata: map[string]string{"run_id": "r"},
	}
	refused, err := refused.WithDetails(info)
	if err == nil && after > 0 {
		refused, err = refused.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	}
	if err != nil {
		panic(err)
	}
	return refused.Err()
}
