"""The one guard that every call passes.

Request id, verified identity, method policy, deadline (all before the body is parsed), tenant,
tenant's limits, field rules; then the handler; then errors, log line, metrics and span.

It wraps handlers when they are bound and is no gRPC interceptor: that saves a look-up and a
coroutine a call, and a body is not parsed before its sender is known.
"""
