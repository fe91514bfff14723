"""The gRPC server of every service, and the interceptor before each of its methods.

A call goes through, in this order: request id, token, policy of the method and deadline, all before
its request is parsed; then size, tenant, the tenant's limits and field rules; then the handler;
then the error sent to the caller, the access log line, metrics and span.

Handlers are wrapped when they are bound; there is no grpc.aio.ServerInterceptor. That saves a
look-up and a coroutine for each call, and no request is parsed before its caller is known.
"""
