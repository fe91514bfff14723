package nagaya

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	optionsv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/options/v1"
)

const defaultTimeout = 30 * time.Second

// policy is what a method's contract says of calls of it.
type policy struct {
	// timeout is the longest that a call may take.
	timeout time.Duration
	// repeatable tells whether the same request may be sent again.
	repeatable bool
}

// policyOf reads a method's contract, by its path such as /nagaya.runs.v1.RunService/GetRun. A
// method that is not known may not be repeated.
func policyOf(path string) policy {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "."))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	method, ok := found.(protoreflect.MethodDescriptor)
	if err != nil || !ok {
		return policy{timeout: defaultTimeout}
	}
	options := method.Options().(*descriptorpb.MethodOptions)
	level := options.GetIdempotencyLevel()
	declared := proto.GetExtension(options, optionsv1.E_Policy).(*optionsv1.MethodPolicy)
	timeout := defaultTimeout
	if seconds := declared.GetMaxSeconds(); seconds > 0 {
		timeout = time.Duration(seconds) * time.Second
	}
	return policy{
		timeout: timeout,
		repeatable: !method.IsStreamingClient() &&
			level != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN,
	}
}

// withRequestID returns the request with its request_id: a new one where the caller has left it
// empty. All attempts at a call send the same.
func withRequestID(request any) any {
	message, ok := request.(proto.Message)
	if !ok {
		return request
	}
	field := message.ProtoReflect().Descriptor().Fields().ByName("request_id")
	if field == nil || field.Kind() != protoreflect.StringKind || field.IsList() ||
		message.ProtoReflect().Get(field).String() != "" {
		return request
	}
	complete := proto.Clone(message)
	complete.ProtoReflect().Set(field, protoreflect.ValueOfString(newID()))
	return complete
}
