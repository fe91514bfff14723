// Load sends prepared requests to one server, each once, and says how it went.
//
//	load http|grpc|stream ADDRESS PATH CLIENTS SECONDS [NAME:VALUE ...] < requests
//
// Standard input holds the requests, each after its length as 4 bytes, big-endian. So many clients,
// each on a connection of its own that is kept, send one request after another until the time is
// over or no request is left. `http` posts them, `grpc` calls a unary method, `stream` a method
// that answers with a stream. NAME:VALUE are headers. One JSON object is printed.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

const limit = 60 * time.Second

type report struct {
	Calls       int     `json:"calls"`
	Failed      int     `json:"failed"`
	Failure     string  `json:"failure"`
	Seconds     float64 `json:"seconds"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	CPU         float64 `json:"cpu_seconds"`
}

// A caller sends one request and waits for all of its answer.
type caller interface {
	call(request []byte) error
	close()
}

type httpCaller struct {
	client  *http.Client
	url     string
	headers http.Header
}

func (c *httpCaller) call(request []byte) error {
	sent, err := http.NewRequest(http.MethodPost, c.url, bytes.NewReader(request))
	if err != nil {
		return err
	}
	sent.Header = c.headers
	response, err := c.client.Do(sent)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %.300s", response.StatusCode, body)
	}
	return err
}

func (c *httpCaller) close() { c.client.CloseIdleConnections() }

type bytesAsTheyAre struct{}

func (bytesAsTheyAre) Name() string                        { return "proto" }
func (bytesAsTheyAre) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }
func (bytesAsTheyAre) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

type grpcCaller struct {
	connection *grpc.ClientConn
	path       string
	headers    []string
	streams    bool
}

func (c *grpcCaller) call(request []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, c.headers...)
	var reply []byte
	if !c.streams {
		return c.connection.Invoke(ctx, c.path, &request, &reply)
	}
	stream, err := c.connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, c.path)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&request); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(&reply); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (c *grpcCaller) close() { c.connection.Close() }

func dial(kind, address, path string, headers []string) (caller, error) {
	if kind == "http" {
		header := http.Header{"Content-Type": {"application/json"}}
		for n := 0; n < len(headers); n += 2 {
			header.Set(headers[n], headers[n+1])
		}
		transport := &http.Transport{MaxIdleConnsPerHost: 1, DisableCompression: true}
		client := &http.Client{Transport: transport, Timeout: limit}
		return &httpCaller{client, "http://" + address + path, header}, nil
	}
	connection, err := grpc.NewClient(
		"passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(bytesAsTheyAre{})),
		grpc.WithDisableRetry(),
	)
	return &grpcCaller{connection, path, headers, kind == "stream"}, err
}

func read(from io.Reader) ([][]byte, error) {
	all, err := io.ReadAll(from)
	if err != nil {
		return nil, err
	}
	var requests [][]byte
	for len(all) >= 4 {
		size := int(binary.BigEndian.Uint32(all))
		requests = append(requests, all[4:4+size])
		all = all[4+size:]
	}
	return requests, nil
}

func cpu() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	kind, address, path := arguments[0], arguments[1], arguments[2]
	clients, err := strconv.Atoi(arguments[3])
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseFloat(arguments[4], 64)
	if err != nil {
		return err
	}
	var headers []string
	for _, header := range arguments[5:] {
		name, value, _ := strings.Cut(header, ":")
		headers = append(headers, name, strings.TrimSpace(value))
	}
	requests, err := read(os.Stdin)
	if err != nil {
		return err
	}
	callers := make([]caller, clients)
	for n := range callers {
		if callers[n], err = dial(kind, address, path, headers); err != nil {
			return err
		}
		defer callers[n].close()
	}
	return json.NewEncoder(os.Stdout).Encode(load(callers, requests, seconds))
}

// load lets each caller send what is next until the time is over.
func load(callers []caller, requests [][]byte, seconds float64) report {
	var next atomic.Int64
	var lock sync.Mutex
	var took []float64
	var found report
	before, began := cpu(), time.Now()
	end := began.Add(time.Duration(seconds * float64(time.Second)))
	var group sync.WaitGroup
	for _, one := range callers {
		group.Go(func() {
			var own []float64
			for time.Now().Before(end) {
				at := int(next.Add(1)) - 1
				if at >= len(requests) {
					break
				}
				sent := time.Now()
				err := one.call(requests[at])
				if err != nil {
					lock.Lock()
					found.Failed++
					found.Failure = err.Error()
					lock.Unlock()
					continue
				}
				own = append(own, time.Since(sent).Seconds()*1000)
			}
			lock.Lock()
			took = append(took, own...)
			lock.Unlock()
		})
	}
	group.Wait()
	found.Seconds, found.CPU, found.Calls = time.Since(began).Seconds(), cpu()-before, len(took)
	if slices.Sort(took); len(took) > 0 {
		found.P50, found.P99 = took[len(took)/2], took[len(took)*99/100]
	}
	return found
}
