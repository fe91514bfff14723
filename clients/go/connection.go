package nagaya

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // the client's side of health checks
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	attempts        = 4
	firstPause      = 100 * time.Millisecond
	longestPause    = time.Second
	largestMessage  = 16 << 20
	keepaliveTime   = 20 * time.Second
	keepaliveAnswer = 5 * time.Second
)

// Calls go to all servers that say they serve, in turn.
const balancing = `{"loadBalancingConfig": [{"round_robin": {}}],
	"healthCheckConfig": {"serviceName": ""}}`

// connection is what the generated stubs of one service call: it adds the token, a deadline and an
// id to each call, repeats what may be repeated, and returns each failure as an *Error.
type connection struct {
	inner   *grpc.ClientConn
	address string
	token   Token
	timeout time.Duration
	budget  *budget
}

func connect(text string, settings Settings) (*connection, error) {
	to, err := parseAddress(text)
	if err != nil {
		return nil, err
	}
	protection := insecure.NewCredentials()
	if to.secure {
		config := &tls.Config{}
		if settings.TLS != nil {
			config = settings.TLS.Clone()
		}
		protection = credentials.NewTLS(config)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(protection),
		grpc.WithDisableRetry(), // this package repeats calls itself
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveTime, Timeout: keepaliveAnswer,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2,
				MaxDelay: time.Second, // below the pause between two servers of a restart
			},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(largestMessage), grpc.MaxCallSendMsgSize(largestMessage),
		),
	}
	if to.balanced {
		options = append(options, grpc.WithDefaultServiceConfig(balancing))
	}
	inner, err := grpc.NewClient(to.target, append(options, settings.DialOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return &connection{inner, text, settings.Token, settings.Timeout, newBudget()}, nil
}

// Invoke makes a call with one request and one response.
func (c *connection) Invoke(
	ctx context.Context, path string, request, response any, options ...grpc.CallOption,
) error {
	method, requestID := policyOf(path), newID()
	request = withRequestID(request)
	ctx, cancel := context.WithTimeout(ctx, c.allowed(method))
	defer cancel()
	for attempt, pause := 1, firstPause; ; attempt, pause = attempt+1, min(2*pause, longestPause) {
		failure := c.attempt(ctx, requestID, path, request, response, options)
		if failure == nil {
			c.budget.earn()
			return nil
		}
		if !method.repeatable || !failure.mayRepeat() || !c.budget.spend() || attempt == attempts {
			return failure
		}
		// The pause of each client is another, so that they do not come back all at once.
		wait := max(jittered(pause), failure.RetryAfter, failure.pushback)
		if !sleep(ctx, wait) {
			return failure
		}
	}
}

func (c *connection) attempt(
	ctx context.Context, requestID, path string, request, response any, options []grpc.CallOption,
) *Error {
	ctx, failure := c.outgoing(ctx, requestID)
	if failure != nil {
		return failure
	}
	var trailer metadata.MD
	options = append(options[:len(options):len(options)], grpc.Trailer(&trailer))
	if err := c.inner.Invoke(ctx, path, request, response, options...); err != nil {
		return decode(ctx, err, trailer, c.address, requestID)
	}
	return nil
}

// NewStream opens a stream, which is not repeated. A stream of responses has no deadline but that
// of its context; one that ends with a single response ends in time as other calls do.
func (c *connection) NewStream(
	ctx context.Context, description *grpc.StreamDesc, path string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	requestID := newID()
	ctx, failure := c.outgoing(ctx, requestID)
	if failure != nil {
		return nil, failure
	}
	cancel := context.CancelFunc(func() {})
	if !description.ServerStreams {
		ctx, cancel = context.WithTimeout(ctx, c.allowed(policyOf(path)))
	}
	inner, err := c.inner.NewStream(ctx, description, path, options...)
	if err != nil {
		failure := decode(ctx, err, nil, c.address, requestID)
		cancel()
		return nil, failure
	}
	return &stream{inner, ctx, c.address, requestID, cancel, !description.ServerStreams}, nil
}

// allowed returns how long a call with one response may take.
func (c *connection) allowed(method policy) time.Duration {
	if c.timeout > 0 {
		return c.timeout
	}
	return method.timeout
}

// outgoing returns the context of a call that carries the token and the id.
func (c *connection) outgoing(ctx context.Context, requestID string) (context.Context, *Error) {
	token, err := c.token.read()
	if err != nil {
		given := status.New(codes.Unauthenticated, err.Error())
		return nil, &Error{
			Code: given.Code(), Message: given.Message(), RequestID: requestID, status: given, cause: err,
		}
	}
	return metadata.AppendToOutgoingContext(
		ctx, "authorization", "Bearer "+token, "x-request-id", requestID,
	), nil
}

// stream is a call with a stream of requests or responses, whose failures are *Errors.
type stream struct {
	grpc.ClientStream
	// ctx is the call's; gRPC ends that of ClientStream with every stream, whatever ended it.
	ctx                context.Context
	address, requestID string
	// cancel is called once the call is over; it ends the deadline's timer.
	cancel context.CancelFunc
	// single tells whether one response is all that comes.
	single bool
}

func (s *stream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err != nil || s.single {
		defer s.cancel()
	}
	return s.failure(err)
}

func (s *stream) SendMsg(message any) error { return s.failure(s.ClientStream.SendMsg(message)) }

func (s *stream) failure(err error) error {
	if _, isStatus := status.FromError(err); err == nil || !isStatus {
		return err // io.EOF is no failure
	}
	return decode(s.ctx, err, s.Trailer(), s.address, s.requestID)
}

func newID() string { return rand.Text() }

// jittered returns between half of a pause and all of it.
func jittered(pause time.Duration) time.Duration {
	return pause/2 + mathrand.N(pause/2)
}

// sleep waits, unless the context would have ended by then; it tells whether it has waited.
func sleep(ctx context.Context, pause time.Duration) bool {
	if deadline, limited := ctx.Deadline(); limited && time.Until(deadline) <= pause {
		return false
	}
	select {
	case <-time.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}
