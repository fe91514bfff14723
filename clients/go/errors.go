package nagaya

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// An Error is how a call fails: a service refused it, or could not be reached.
type Error struct {
	// Code is gRPC's.
	Code codes.Code
	// Reason is a value name of the ErrorReason of the service's package; empty where the call never
	// arrived.
	Reason string
	// Domain is the service that gave the reason, such as runs.nagaya.dev.
	Domain string
	// Message says what is wrong, and what helps.
	Message string
	// Hint says what helps where no service has answered; a service's message ends with its own.
	Hint string
	// Metadata holds what the reason is about, such as run_id.
	Metadata map[string]string
	// Violations are the fields of the request that break a rule.
	Violations []Violation
	// RequestID finds the call in the service's log.
	RequestID string
	// RetryAfter is how long to wait before the same request is sent again; 0 where nothing is said.
	RetryAfter time.Duration

	status *status.Status
	cause  error
	// pushback is how long the server wants gRPC's own retries to wait: negative for ever.
	pushback time.Duration
}

// A Violation is a field that breaks a rule.
type Violation struct {
	// Field is its path, such as spec.steps[3].needs[0].
	Field string
	// Description says what is wrong with it.
	Description string
}

// ErrBytesCorrupt is what a download fails with whose bytes are not those of its digest. None were
// kept.
var ErrBytesCorrupt = errors.New("the bytes are not those of the digest")

// Reason returns the reason of an Error, and nothing for other errors.
func Reason(err error) string {
	var failure *Error
	if errors.As(err, &failure) {
		return failure.Reason
	}
	return ""
}

func (e *Error) Error() string {
	text := e.Code.String()
	if e.Reason != "" {
		text += " " + e.Reason
	}
	text += ": " + e.Message
	if e.Hint != "" {
		text += ". " + e.Hint
	}
	return text
}

// Unwrap returns the error of the call's context, where that has ended the call.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus returns the status as it came, for package status.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// Transient tells whether the same call may succeed later without anybody changing anything.
func (e *Error) Transient() bool {
	switch e.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted:
		return true
	case codes.Internal, codes.Unknown:
		// Of a connection that was cut, such as by RST_STREAM. A service's own has a reason.
		return e.Reason == ""
	}
	return false
}

// mayRepeat tells whether the client may send the request again by itself, if the method's contract
// allows it too.
func (e *Error) mayRepeat() bool {
	return e.cause == nil && e.pushback >= 0 &&
		(e.Code == codes.Unavailable || e.Code == codes.Canceled)
}

// decode returns the Error of a call that failed; requestID is what it was sent with.
func decode(
	ctx context.Context, err error, trailer metadata.MD, address, requestID string,
) *Error {
	given := status.Convert(err)
	failure := &Error{
		Code: given.Code(), Message: given.Message(), RequestID: requestID, status: given,
	}
	if ended := ctx.Err(); ended != nil {
		failure.cause = ended
	}
	if answered := trailer.Get("x-request-id"); len(answered) > 0 {
		failure.RequestID = answered[0]
	}
	if pushback := trailer.Get("grpc-retry-pushback-ms"); len(pushback) > 0 {
		failure.pushback = -1
		if ms, err := strconv.Atoi(pushback[0]); err == nil && ms >= 0 {
			failure.pushback = time.Duration(ms) * time.Millisecond
		}
	}
	for _, detail := range given.Details() {
		failure.add(detail)
	}
	if failure.Reason == "" {
		failure.explain(address)
	}
	return failure
}

func (e *Error) add(detail any) {
	switch detail := detail.(type) {
	case *errdetails.ErrorInfo:
		e.Reason, e.Domain, e.Metadata = detail.Reason, detail.Domain, detail.Metadata
	case *errdetails.RetryInfo:
		e.RetryAfter = detail.GetRetryDelay().AsDuration()
	case *errdetails.BadRequest:
		for _, violation := range detail.FieldViolations {
			e.Violations = append(e.Violations, Violation{violation.Field, violation.Description})
		}
	}
}

// explain says more of a call that no service has answered.
func (e *Error) explain(address string) {
	switch e.Code {
	case codes.Unavailable:
		_, why, found := strings.Cut(e.Message, "desc = ")
		if !found {
			why = e.Message
		}
		e.Message = fmt.Sprintf("%s cannot be reached: %s", address, strings.Trim(why, `"`))
		e.Hint = "Is it running there, and is TLS (https://) used on both sides or on neither?"
	case codes.DeadlineExceeded:
		e.Hint = "Allow the call more time."
	case codes.Unimplemented:
		e.Hint = "The server is older than this client, or is another one."
	}
}
