package nagaya

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	runsv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/runs/v1"
)

var aRun = &runsv1.Run{RunId: "r"}

func create(client *Client) error {
	_, err := client.Runs.CreateRun(context.Background(), &runsv1.CreateRunRequest{TenantId: "acme"})
	return err
}

func failure(t *testing.T, err error) *Error {
	t.Helper()
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("%v is no *Error", err)
	}
	return failed
}

func TestACreationIsRepeatedUnderTheSameIdsUntilAServerAnswers(t *testing.T) {
	server := &server{createRun: func(n int) (*runsv1.Run, error) {
		switch n {
		case 1:
			return nil, status.Error(codes.Unavailable, "stopping")
		case 2:
			return nil, status.Error(codes.Canceled, "stopping")
		}
		return aRun, nil
	}}

	if err := create(server.listen(t)); err != nil {
		t.Fatal(err)
	}

	calls := server.of("CreateRun")
	if len(calls) != 3 {
		t.Fatalf("%d requests", len(calls))
	}
	first := calls[0]
	firstID := first.request.(*runsv1.CreateRunRequest).RequestId
	if len(firstID) < 20 {
		t.Errorf("request_id is %q", firstID)
	}
	for _, other := range calls[1:] {
		if id := other.request.(*runsv1.CreateRunRequest).RequestId; id != firstID {
			t.Errorf("request_id %q after %q", id, firstID)
		}
		if got, want := other.header["x-request-id"][0], first.header["x-request-id"][0]; got != want {
			t.Errorf("x-request-id %q after %q", got, want)
		}
	}
}

func TestTheCallersOwnRequestIDIsSent(t *testing.T) {
	server := &server{createRun: func(int) (*runsv1.Run, error) { return aRun, nil }}
	request := &runsv1.CreateRunRequest{RequestId: "mine"}

	if _, err := server.listen(t).Runs.CreateRun(context.Background(), request); err != nil {
		t.Fatal(err)
	}

	if id := server.of("CreateRun")[0].request.(*runsv1.CreateRunRequest).RequestId; id != "mine" {
		t.Errorf("request_id is %q", id)
	}
}

func TestARefusalThatMustNotComeAgainIsNotRepeated(t *testing.T) {
	trailer := metadata.Pairs("grpc-retry-pushback-ms", "-1", "x-request-id", "the-id")
	server := &server{createRun: func(int) (*runsv1.Run, error) {
		refused := refuse(codes.Unavailable, "ERROR_REASON_PROVIDER_UNAVAILABLE", 7*time.Second)
		return nil, refusal{refused, trailer}
	}}

	failed := failure(t, create(server.listen(t)))

	if count := len(server.of("CreateRun")); count != 1 {
		t.Errorf("%d requests", count)
	}
	if failed.Code != codes.Unavailable || failed.Reason != "ERROR_REASON_PROVIDER_UNAVAILABLE" ||
		failed.Domain != "runs.nagaya.dev" || failed.Metadata["run_id"] != "r" ||
		failed.RequestID != "the-id" || failed.RetryAfter != 7*time.Second {
		t.Errorf("%+v", failed)
	}
	if Reason(failed) != failed.Reason || status.Code(failed) != codes.Unavailable {
		t.Errorf("%v", failed)
	}
}

func TestOtherCodesAreNotRepeated(t *testing.T) {
	for _, code := range []codes.Code{
		codes.ResourceExhausted, codes.Internal, codes.DeadlineExceeded, codes.Unknown,
		codes.FailedPrecondition, codes.Aborted,
	} {
		t.Run(code.String(), func(t *testing.T) {
			server := &server{createRun: func(int) (*runsv1.Run, error) {
				return nil, status.Error(code, "no")
			}}

			failed := failure(t, create(server.listen(t)))

			if count := len(server.of("CreateRun")); count != 1 || failed.Code != code {
				t.Errorf("%d requests, %v", count, failed)
			}
		})
	}
}

func TestWhatTheContractDoesNotDeclareIsNotRepeated(t *testing.T) {
	server := &server{}
	client := server.listen(t)

	err := client.connections[0].Invoke(
		context.Background(), "/nagaya.runs.v1.NoSuchService/DoIt", aRun, &runsv1.Run{})

	failed := failure(t, err)
	if failed.Code != codes.Unimplemented || failed.Hint == "" {
		t.Errorf("%v", failed)
	}
	if policyOf("/nagaya.runs.v1.NoSuchService/DoIt").repeatable {
		t.Error("it may be repeated")
	}
	if !policyOf("/nagaya.runs.v1.RunService/GetRun").repeatable {
		t.Error("GetRun may not be repeated")
	}
	if policyOf("/nagaya.artifacts.v1.ArtifactService/UploadArtifact").repeatable {
		t.Error("a stream of requests may be repeated")
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	server := &server{createRun: func(int) (*runsv1.Run, error) {
		return nil, status.Error(codes.Unavailable, "stopping")
	}}

	failed := failure(t, create(server.listen(t)))

	if count := len(server.of("CreateRun")); count != attempts || failed.Code != codes.Unavailable {
		t.Errorf("%d requests, %v", count, failed)
	}
}

func TestABudgetEndsTheRepeatingWhileAllCallsFail(t *testing.T) {
	server := &server{createRun: func(int) (*runsv1.Run, error) {
		return nil, status.Error(codes.Unavailable, "stopping")
	}}
	client := server.listen(t)
	const calls = 400

	var all sync.WaitGroup
	for range calls {
		all.Go(func() { create(client) })
	}
	all.Wait()

	if count := len(server.of("CreateRun")); count <= calls || count > calls+budgetTokens/2 {
		t.Errorf("%d requests", count)
	}
}

func TestTheNextAttemptWaitsAsLongAsTheServerAsks(t *testing.T) {
	for name, answer := range map[string]refusal{
		"RetryInfo": {
			refuse(codes.Unavailable, "ERROR_REASON_PEER_UNAVAILABLE", 600*time.Millisecond), nil},
		"pushback": {
			status.Error(codes.Unavailable, "busy"), metadata.Pairs("grpc-retry-pushback-ms", "600")},
	} {
		t.Run(name, func(t *testing.T) {
			server := &server{createRun: func(n int) (*runsv1.Run, error) {
				if n == 1 {
					return nil, answer
				}
				return aRun, nil
			}}

			if err := create(server.listen(t)); err != nil {
				t.Fatal(err)
			}

			calls := server.of("CreateRun")
			if between := calls[1].at.Sub(calls[0].at); between < 600*time.Millisecond {
				t.Errorf("%v between", between)
			}
		})
	}
}

func TestAServerThatAsksForMoreThanIsLeftIsNotWaitedFor(t *testing.T) {
	server := &server{createRun: func(int) (*runsv1.Run, error) {
		return nil, refuse(codes.Unavailable, "ERROR_REASON_PEER_UNAVAILABLE", time.Hour)
	}}
	begin := time.Now()

	failed := failure(t, create(server.listen(t)))

	if failed.RetryAfter != time.Hour || time.Since(begin) > 10*time.Second {
		t.Errorf("%v after %v", failed, time.Since(begin))
	}
}

func TestCallsHaveADeadlineAndWatchesHaveNone(t *testing.T) {
	server := &server{
		createRun: func(int) (*runsv1.Run, error) { return aRun, nil },
		watchRun: func(_ int, stream watchStream) error {
			stream.Send(event(1, runsv1.RunState_RUN_STATE_COMPLETED))
			return nil
		},
	}
	client := server.listen(t)

	if err := create(client); err != nil {
		t.Fatal(err)
	}
	for _, err := range client.WatchRun(context.Background(), "acme", "r", WatchOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
	}

	allowed := server.of("CreateRun")[0].deadline
	if allowed > 30*time.Second || allowed < 20*time.Second {
		t.Errorf("CreateRun was allowed %v", allowed)
	}
	if allowed := server.of("WatchRun")[0].deadline; allowed != 0 {
		t.Errorf("WatchRun was allowed %v", allowed)
	}
}

func TestTheTokenIsReadAnewForEachCall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	server := &server{createRun: func(int) (*runsv1.Run, error) { return aRun, nil }}
	client := server.listen(t, func(settings *Settings) { settings.Token = TokenFile(path) })

	missing := create(client)
	for _, token := range []string{"one\n", "two\n"} {
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := create(client); err != nil {
			t.Fatal(err)
		}
	}

	if !errors.Is(missing, os.ErrNotExist) || status.Code(missing) != codes.Unauthenticated {
		t.Errorf("without a file: %v", missing)
	}
	var sent []string
	for _, call := range server.of("CreateRun") {
		sent = append(sent, call.header["authorization"]...)
	}
	if got := strings.Join(sent, ", "); got != "Bearer one, Bearer two" {
		t.Errorf("sent %s", got)
	}
}

func TestATokenIsOneWordOfASCII(t *testing.T) {
	for text, want := range map[string]string{
		" a-token\n": "Bearer a-token", "two words": "", "two\nlines": "", "café": "", " \n": "", "": "",
	} {
		server := &server{createRun: func(int) (*runsv1.Run, error) { return aRun, nil }}
		client := server.listen(t, func(settings *Settings) { settings.Token = TokenText(text) })

		err := create(client)

		calls := server.of("CreateRun")
		if want != "" {
			if err != nil || calls[0].header["authorization"][0] != want {
				t.Errorf("%q: %v, %v", text, err, calls)
			}
			continue
		}
		failed := failure(t, err)
		if failed.Code != codes.Unauthenticated || len(calls) > 0 ||
			(text != "" && strings.Contains(failed.Error(), text)) {
			t.Errorf("%q: %v after %d calls", text, failed, len(calls))
		}
	}
}

func TestAServerThatIsAwayIsNamed(t *testing.T) {
	client := clientOf(t, "127.0.0.1:1")

	failed := failure(t, create(client))

	if failed.Code != codes.Unavailable || failed.Reason != "" || failed.Hint == "" ||
		!strings.HasPrefix(failed.Message, "127.0.0.1:1 cannot be reached: ") ||
		!strings.Contains(failed.Message, "connection refused") {
		t.Errorf("%v", failed)
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	server := &server{createRun: func(int) (*runsv1.Run, error) {
		return nil, refuse(codes.Unavailable, "ERROR_REASON_PEER_UNAVAILABLE", 5*time.Second)
	}}
	client := server.listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)

	begin := time.Now()
	_, err := client.Runs.CreateRun(ctx, &runsv1.CreateRunRequest{})

	if err == nil || time.Since(begin) > 4*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

func TestAnAddressSaysWhetherTLSIsSpoken(t *testing.T) {
	for text, want := range map[string]address{
		"runs.example:443":          {target: "dns:///runs.example:443"},
		"http://runs.example:80":    {target: "dns:///runs.example:80"},
		"https://runs.example:443":  {target: "dns:///runs.example:443", secure: true},
		"https://runs.example":      {target: "dns:///runs.example:443", secure: true},
		"https://[::1]":             {target: "dns:///[::1]:443", secure: true},
		"[::1]:80":                  {target: "dns:///[::1]:80"},
		"dns:///runs:7000":          {target: "dns:///runs:7000", balanced: true},
		"dns+https:///runs:7000":    {target: "dns:///runs:7000", balanced: true, secure: true},
		"dns://127.0.0.1/runs:7000": {target: "dns://127.0.0.1/runs:7000", balanced: true},
	} {
		want.text = text
		if read, err := parseAddress(text); err != nil || read != want {
			t.Errorf("%s: %+v, %v", text, read, err)
		}
	}
	for _, text := range []string{
		"", "ftp://x:1", "https://", "http://x", "x", "https://x:1/path", ":80", "dns:///x", "dns://x:80",
		"https://user@x:443",
	} {
		if read, err := parseAddress(text); err == nil {
			t.Errorf("%s is accepted: %+v", text, read)
		}
	}
}

func TestAServiceWithoutAnAddressIsNamed(t *testing.T) {
	client := (&server{}).listen(t)

	_, err := client.Tenants.GetTenant(context.Background(), nil)

	if err == nil || !strings.Contains(err.Error(), "tenant") {
		t.Errorf("%v", err)
	}
}
