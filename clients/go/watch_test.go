package nagaya

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	runsv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/runs/v1"
)

const (
	running   = runsv1.RunState_RUN_STATE_RUNNING
	completed = runsv1.RunState_RUN_STATE_COMPLETED
)

func event(sequence int64, state runsv1.RunState) *runsv1.WatchRunResponse {
	return &runsv1.WatchRunResponse{Part: &runsv1.WatchRunResponse_Event{Event: &runsv1.RunEvent{
		Sequence: sequence, Event: &runsv1.RunEvent_Run{Run: &runsv1.Run{State: state}},
	}}}
}

// watch returns the numbers of the events that a watch yields, the breaks that it tells of, and how
// it ends.
func watch(t *testing.T, client *Client, options WatchOptions) ([]int64, []error, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var breaks []error
	options.OnBroken = func(err error) { breaks = append(breaks, err) }
	var numbers []int64
	for event, err := range client.WatchRun(ctx, "acme", "r", options) {
		if err != nil {
			return numbers, breaks, err
		}
		numbers = append(numbers, event.Sequence)
	}
	return numbers, breaks, nil
}

// after returns from where each watch was asked for.
func after(server *server) []int64 {
	var asked []int64
	for _, call := range server.of("WatchRun") {
		asked = append(asked, call.request.(*runsv1.WatchRunRequest).AfterSequence)
	}
	return asked
}

func TestAWatchIsResumedAfterTheLastEventWhateverBrokeIt(t *testing.T) {
	for name, end := range map[string]error{
		"unavailable":         status.Error(codes.Unavailable, "stopping"),
		"internal, reset":     status.Error(codes.Internal, "stream terminated by RST_STREAM"),
		"cancelled by server": status.Error(codes.Canceled, "stopping"),
		"deadline of server":  status.Error(codes.DeadlineExceeded, "max connection age"),
		"refused for now":     refuse(codes.Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE", 0),
		"early end":           nil,
	} {
		t.Run(name, func(t *testing.T) {
			server := &server{
				getRun: func(int) (*runsv1.Run, error) {
					return &runsv1.Run{State: running, LastSequence: 2}, nil
				},
				watchRun: func(n int, stream watchStream) error {
					if n == 1 {
						stream.Send(event(1, running))
						stream.Send(event(2, running))
						return end
					}
					stream.Send(event(2, running)) // comes twice, and is yielded once
					stream.Send(event(3, completed))
					return nil
				},
			}

			numbers, breaks, err := watch(t, server.listen(t), WatchOptions{})

			if err != nil || !slices.Equal(numbers, []int64{1, 2, 3}) {
				t.Fatalf("%v, %v", numbers, err)
			}
			if asked := after(server); !slices.Equal(asked, []int64{0, 2}) {
				t.Errorf("asked for what is after %v", asked)
			}
			if count := len(breaks); (end != nil) != (count == 1) {
				t.Errorf("%d breaks: %v", count, breaks)
			}
		})
	}
}

// What a load balancer makes of a server that dies in the middle of a stream.
func TestAWatchThatIsCutByRstStreamIsResumed(t *testing.T) {
	streams := 0
	handler := func(response http.ResponseWriter, request *http.Request) {
		streams++
		response.Header().Set("content-type", "application/grpc")
		response.Header().Set("trailer", "grpc-status")
		if streams == 1 {
			response.Write(framed(t, event(1, running)))
			response.(http.Flusher).Flush()
			panic(http.ErrAbortHandler) // net/http sends RST_STREAM, INTERNAL_ERROR
		}
		response.Write(framed(t, event(2, completed)))
		response.Header().Set("grpc-status", "0")
	}
	client := clientOf(t, listenHTTP2(t, handler))

	numbers, breaks, err := watch(t, client, WatchOptions{})

	if err != nil || !slices.Equal(numbers, []int64{1, 2}) {
		t.Fatalf("%v, %v", numbers, err)
	}
	if len(breaks) != 1 || status.Code(breaks[0]) != codes.Internal ||
		!strings.Contains(breaks[0].Error(), "RST_STREAM") {
		t.Errorf("%v", breaks)
	}
}

func TestAWatchWhoseEventIsMissingIsResumedThere(t *testing.T) {
	server := &server{watchRun: func(n int, stream watchStream) error {
		stream.Send(event(1, running))
		if n > 1 {
			stream.Send(event(2, running))
		}
		stream.Send(event(3, completed))
		return nil
	}}

	numbers, _, err := watch(t, server.listen(t), WatchOptions{})

	if err != nil || !slices.Equal(numbers, []int64{1, 2, 3}) {
		t.Errorf("%v, %v", numbers, err)
	}
}

func TestARefusedWatchIsNotResumed(t *testing.T) {
	server := &server{watchRun: func(int, watchStream) error {
		return refuse(codes.NotFound, "ERROR_REASON_RUN_NOT_FOUND", 0)
	}}

	numbers, _, err := watch(t, server.listen(t), WatchOptions{})

	if Reason(err) != "ERROR_REASON_RUN_NOT_FOUND" || len(numbers) > 0 || len(after(server)) != 1 {
		t.Errorf("%v, %v", numbers, err)
	}
	if errors.Is(err, context.Canceled) {
		t.Error("nobody has cancelled it")
	}
}

func TestWhatItsReaderTakesIsNotTheServersSilence(t *testing.T) {
	const idle = time.Second
	for name, end := range map[string]error{
		"quiet": nil, "broken": status.Error(codes.Unavailable, "stopping"),
	} {
		t.Run(name, func(t *testing.T) {
			server := &server{watchRun: func(n int, stream watchStream) error {
				if n == 1 {
					stream.Send(event(1, running))
				}
				if n == 1 && end != nil {
					return end
				}
				return stream.Send(event(2, completed))
			}}
			client := server.listen(t)
			var breaks int
			watch := &runWatch{
				runs: client.Runs, closed: &client.closed, idle: idle,
				options: WatchOptions{GiveUpAfter: idle, OnBroken: func(error) { breaks++ }},
			}

			err := watch.toTheEnd(context.Background(), func(event *runsv1.RunEvent, _ error) bool {
				if event.Sequence == 1 {
					time.Sleep(idle + 100*time.Millisecond)
				}
				return true
			})

			if err != nil || watch.after != 2 || (breaks > 0) != (end != nil) {
				t.Errorf("%v after event %d and %d breaks", err, watch.after, breaks)
			}
		})
	}
}

func TestAWatchEndsWithItsClient(t *testing.T) {
	server := &server{watchRun: func(_ int, stream watchStream) error {
		stream.Send(event(1, running))
		<-stream.Context().Done()
		return nil
	}}
	client := server.listen(t)
	begin := time.Now()

	var last error
	for _, err := range client.WatchRun(context.Background(), "acme", "r", WatchOptions{}) {
		last = err
		client.Close()
	}

	if last == nil || time.Since(begin) > 20*time.Second {
		t.Errorf("%v after %v", last, time.Since(begin))
	}
}

func TestAWatchGivesUpOnceNoServerAnswersForTooLong(t *testing.T) {
	client := clientOf(t, "127.0.0.1:1")

	_, breaks, err := watch(t, client, WatchOptions{GiveUpAfter: 500 * time.Millisecond})

	if status.Code(err) != codes.Unavailable || len(breaks) == 0 {
		t.Errorf("%v after %d breaks", err, len(breaks))
	}
}

func TestAWatchEndsWithItsContextAndWithItsLoop(t *testing.T) {
	ended := make(chan struct{})
	server := &server{watchRun: func(_ int, stream watchStream) error {
		stream.Send(event(1, running))
		<-stream.Context().Done()
		ended <- struct{}{}
		return nil
	}}
	client := server.listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	var last error
	for _, err := range client.WatchRun(ctx, "acme", "r", WatchOptions{}) {
		last = err
		cancel()
	}
	<-ended
	for range client.WatchRun(context.Background(), "acme", "r", WatchOptions{}) {
		break
	}
	<-ended

	if !errors.Is(last, context.Canceled) {
		t.Errorf("%v", last)
	}
}

// listenHTTP2 serves HTTP/2 without TLS, and returns its address.
func listenHTTP2(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handler, Protocols: protocols}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return listener.Addr().String()
}

// framed returns a message as gRPC frames it.
func framed(t *testing.T, message proto.Message) []byte {
	t.Helper()
	content, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 5)
	binary.BigEndian.PutUint32(head[1:], uint32(len(content)))
	return append(head, content...)
}
