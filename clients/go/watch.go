package nagaya

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	runsv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/runs/v1"
)

const (
	// Three heartbeats: a connection that carries nothing for longer is dead.
	idleTime         = 32 * time.Second
	longestReconnect = 2 * time.Second
	giveUpAfter      = time.Minute
)

// WatchOptions say where a watch begins, and what it does when its connection breaks.
type WatchOptions struct {
	// After is the number of the last event that the caller has; 0 to begin at the first.
	After int64
	// GiveUpAfter is how long no server may answer before the watch fails; a minute when 0.
	GiveUpAfter time.Duration
	// OnBroken is called with the reason when the connection breaks, before the watch is resumed.
	OnBroken func(error)
}

// WatchRun yields the events of a run in order, up to its end. A stream that breaks is resumed after
// the last event: none is lost and none comes twice. The last pair holds the error where the service
// refuses, no server answers for too long, or the context ends.
func (c *Client) WatchRun(
	ctx context.Context, tenantID, runID string, options WatchOptions,
) iter.Seq2[*runsv1.RunEvent, error] {
	return func(yield func(*runsv1.RunEvent, error) bool) {
		watch := &runWatch{
			runs: c.Runs, closed: &c.closed, idle: idleTime,
			tenantID: tenantID, runID: runID, options: options, after: options.After,
		}
		if err := watch.toTheEnd(ctx, yield); err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

// errStopped says that the caller wants no more events.
var errStopped = errors.New("stopped")

type runWatch struct {
	runs runsv1.RunServiceClient
	// closed tells whether the client is.
	closed *atomic.Bool
	// idle is how long a server may send nothing.
	idle            time.Duration
	tenantID, runID string
	options         WatchOptions
	after           int64
	// brokenAt is when the connection broke; zero while a server answers.
	brokenAt time.Time
	pause    time.Duration
}

func (w *runWatch) toTheEnd(
	ctx context.Context, yield func(*runsv1.RunEvent, error) bool,
) error {
	limit := giveUpAfter
	if w.options.GiveUpAfter > 0 {
		limit = w.options.GiveUpAfter
	}
	w.pause = firstPause
	for {
		over, err := w.once(ctx, yield)
		if over || errors.Is(err, errStopped) {
			return err
		}
		if err == nil {
			over, err = w.isOver(ctx)
			if over {
				return nil
			}
		}
		var failure *Error
		if err != nil {
			transient := errors.As(err, &failure) && failure.Transient() && ctx.Err() == nil
			if w.brokenAt.IsZero() {
				w.brokenAt = time.Now()
			}
			if !transient || w.closed.Load() || time.Since(w.brokenAt) > limit {
				return err
			}
			if w.options.OnBroken != nil {
				w.options.OnBroken(err)
			}
		}
		wait := jittered(w.pause)
		if failure != nil {
			wait = max(wait, failure.RetryAfter)
		}
		w.pause = min(2*w.pause, longestReconnect)
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// once yields what one stream sends; it tells whether the run's end was among it.
func (w *runWatch) once(
	ctx context.Context, yield func(*runsv1.RunEvent, error) bool,
) (bool, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(w.idle, func() { cancel(errIdle) })
	defer idle.Stop()
	stream, err := w.runs.WatchRun(ctx, &runsv1.WatchRunRequest{
		TenantId: w.tenantID, RunId: w.runID, AfterSequence: w.after,
	})
	final := false
	for err == nil {
		var response *runsv1.WatchRunResponse
		idle.Reset(w.idle)
		response, err = stream.Recv()
		idle.Stop() // what the caller takes for an event is not the server's silence
		if err != nil {
			break
		}
		w.brokenAt, w.pause = time.Time{}, firstPause
		event := response.GetEvent()
		if event == nil || event.Sequence <= w.after {
			continue // a heartbeat, or an event that came before
		}
		if event.Sequence != w.after+1 {
			return false, broken(fmt.Sprintf("event %d did not come", w.after+1))
		}
		w.after = event.Sequence
		if !yield(event, nil) {
			return false, errStopped
		}
		final = isFinal(event.GetRun().GetState())
	}
	if errors.Is(context.Cause(ctx), errIdle) {
		return false, broken(errIdle.Error())
	}
	if errors.Is(err, io.EOF) {
		return final, nil
	}
	return false, err
}

// isOver tells whether a stream that ended without an error had sent every event. A run that was
// retried has reached a final state more than once.
func (w *runWatch) isOver(ctx context.Context) (bool, error) {
	found, err := w.runs.GetRun(ctx, &runsv1.GetRunRequest{TenantId: w.tenantID, RunId: w.runID})
	if err != nil {
		return false, err
	}
	w.brokenAt = time.Time{}
	run := found.GetRun()
	return isFinal(run.GetState()) && run.GetLastSequence() <= w.after, nil
}

var errIdle = fmt.Errorf("nothing came for %v", idleTime)

func broken(why string) *Error {
	given := status.New(codes.Unavailable, why)
	return &Error{Code: given.Code(), Message: why, status: given}
}

func isFinal(state runsv1.RunState) bool {
	switch state {
	case runsv1.RunState_RUN_STATE_COMPLETED,
		runsv1.RunState_RUN_STATE_FAILED,
		runsv1.RunState_RUN_STATE_CANCELLED:
		return true
	}
	return false
}
