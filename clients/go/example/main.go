// Example creates a run and watches it to its end, as any client in Go would.
//
//	NAGAYA_RUNS_ADDRESS=127.0.0.1:7000 NAGAYA_TOKEN_FILE=var/dev/tokens/acme.jwt \
//	  go run ./example -tenant acme -pipeline article -input brief.json
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	runsv1 "nagaya.dev/go/gen/nagaya/runs/v1"
)

func main() {
	tenant := flag.String("tenant", "", "the tenant")
	pipeline := flag.String("pipeline", "", "the pipeline")
	input := flag.String("input", "", "a file that holds the run's input as JSON")
	hold := flag.Bool("hold", false, "do not start the run: its input is uploaded by somebody else")
	flag.Parse()
	if err := run(*tenant, *pipeline, *input, *hold); err != nil {
		fmt.Fprintln(os.Stderr, describe(err))
		os.Exit(1)
	}
}

func run(tenant, pipeline, input string, hold bool) error {
	token, err := os.ReadFile(os.Getenv("NAGAYA_TOKEN_FILE"))
	if err != nil {
		return err
	}
	request := &runsv1.CreateRunRequest{TenantId: tenant, RequestId: rand.Text(), Pipeline: pipeline}
	if hold {
		request.Input = &runsv1.CreateRunRequest_Hold{Hold: true}
	} else {
		value, err := read(input)
		if err != nil {
			return err
		}
		request.Input = &runsv1.CreateRunRequest_Inline{Inline: value}
	}
	connection, err := grpc.NewClient(
		os.Getenv("NAGAYA_RUNS_ADDRESS"), grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	if err != nil {
		return err
	}
	defer connection.Close()
	runs := runsv1.NewRunServiceClient(connection)
	ctx := metadata.AppendToOutgoingContext(
		context.Background(), "authorization", "Bearer "+strings.TrimSpace(string(token)),
	)

	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	created, err := runs.CreateRun(limited, request)
	if err != nil {
		return err
	}
	fmt.Println("run", created.Run.RunId)
	return watch(ctx, runs, tenant, created.Run.RunId)
}

// watch prints every event once and in order, and takes a broken stream up where it broke.
func watch(ctx context.Context, runs runsv1.RunServiceClient, tenant, runID string) error {
	var after int64
	for {
		stream, err := runs.WatchRun(ctx, &runsv1.WatchRunRequest{
			TenantId: tenant, RunId: runID, AfterSequence: after,
		})
		for err == nil {
			var message *runsv1.WatchRunResponse
			if message, err = stream.Recv(); err != nil {
				break
			}
			event := message.GetEvent()
			if event == nil {
				continue // a heartbeat
			}
			after = event.Sequence
			if step := event.GetStep(); step != nil {
				fmt.Println(event.Sequence, step.Step, step.Item, step.State, step.LlmModel)
				continue
			}
			state := event.GetRun().State
			fmt.Println(event.Sequence, state)
			switch state {
			case runsv1.RunState_RUN_STATE_COMPLETED:
				return nil
			case runsv1.RunState_RUN_STATE_FAILED, runsv1.RunState_RUN_STATE_CANCELLED:
				return fmt.Errorf("the run ended as %v", state)
			}
		}
		if !errors.Is(err, io.EOF) && !isBroken(err) {
			return err
		}
		fmt.Fprintln(os.Stderr, "the stream broke after event", after, "and is taken up again:", err)
		time.Sleep(time.Second)
	}
}

// isBroken tells a connection that broke from a refusal, which always has an ErrorInfo. A load
// balancer says INTERNAL, "RST_STREAM", of a server that died in the middle of a stream.
func isBroken(err error) bool {
	switch told := status.Convert(err); told.Code() {
	case codes.Unavailable:
		return true
	case codes.Internal, codes.Unknown, codes.Canceled:
		return len(told.Details()) == 0
	}
	return false
}

func read(path string) (*structpb.Value, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	value := &structpb.Value{}
	return value, protojson.Unmarshal(content, value)
}

// describe names an error's reason, which is a value of the service's ErrorReason.
func describe(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return fmt.Sprintf("%s: %v", info.Reason, err)
		}
	}
	return err.Error()
}
