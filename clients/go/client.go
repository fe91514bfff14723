// Package nagaya is the Go client of Nagaya's four services.
//
//	settings, err := nagaya.SettingsFromEnvironment()
//	client, err := nagaya.Connect(settings)
//	defer client.Close()
//	created, err := client.Runs.CreateRun(ctx, &runsv1.CreateRunRequest{…})
//	for event, err := range client.WatchRun(ctx, "acme", created.Run.RunId, nagaya.WatchOptions{}) {…}
//
// The services' methods are those of the generated stubs. Each call carries the caller's token and
// an id, and ends after what its contract allows; what may be repeated is repeated when the
// connection fails or a server stops. Failures are *Error values.
package nagaya

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc"

	artifactsv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/artifacts/v1"
	llmgatewayv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/llm_gateway/v1"
	runsv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/runs/v1"
	tenantv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/tenant/v1"
)

// A Client holds a stub of each service that people call. It may be used by many goroutines at once.
type Client struct {
	Tenants    tenantv1.TenantServiceClient
	Schema     tenantv1.SchemaServiceClient
	Servers    tenantv1.ServerServiceClient
	Audit      tenantv1.AuditServiceClient
	Backups    tenantv1.BackupServiceClient
	Secrets    tenantv1.SecretServiceClient
	Transfers  tenantv1.TransferServiceClient
	Operations tenantv1.OperationServiceClient

	Runs         runsv1.RunServiceClient
	Pipelines    runsv1.PipelineServiceClient
	Prompts      runsv1.PromptServiceClient
	Schedules    runsv1.ScheduleServiceClient
	Webhooks     runsv1.WebhookServiceClient
	Approvals    runsv1.ApprovalServiceClient
	TenantLimits runsv1.TenantLimitServiceClient

	Artifacts artifactsv1.ArtifactServiceClient
	Uploads   artifactsv1.UploadServiceClient

	Generations llmgatewayv1.GenerationServiceClient
	Calls       llmgatewayv1.CallServiceClient
	Catalog     llmgatewayv1.CatalogServiceClient

	connections []*connection
	closed      atomic.Bool
}

// Connect returns a client. Nothing is sent before its first call.
func Connect(settings Settings) (*Client, error) {
	if settings.Token == nil {
		return nil, errors.New("the settings have no token")
	}
	client := &Client{}
	var failures []error
	open := func(name, address string) grpc.ClientConnInterface {
		if address == "" {
			return unknown(name)
		}
		connection, err := connect(address, settings)
		if err != nil {
			failures = append(failures, fmt.Errorf("the address of %s: %w", name, err))
			return unknown(name)
		}
		client.connections = append(client.connections, connection)
		return connection
	}
	client.useTenant(open("tenant", settings.Tenant))
	client.useRuns(open("runs", settings.Runs))
	client.useArtifacts(open("artifacts", settings.Artifacts))
	client.useLLMGateway(open("llm-gateway", settings.LLMGateway))
	if len(failures) > 0 {
		return nil, errors.Join(append(failures, client.Close())...)
	}
	return client, nil
}

// Close ends every connection; calls in flight and watches fail.
func (c *Client) Close() error {
	c.closed.Store(true)
	var failures []error
	for _, connection := range c.connections {
		failures = append(failures, connection.inner.Close())
	}
	return errors.Join(failures...)
}

func (c *Client) useTenant(to grpc.ClientConnInterface) {
	c.Tenants = tenantv1.NewTenantServiceClient(to)
	c.Schema = tenantv1.NewSchemaServiceClient(to)
	c.Servers = tenantv1.NewServerServiceClient(to)
	c.Audit = tenantv1.NewAuditServiceClient(to)
	c.Backups = tenantv1.NewBackupServiceClient(to)
	c.Secrets = tenantv1.NewSecretServiceClient(to)
	c.Transfers = tenantv1.NewTransferServiceClient(to)
	c.Operations = tenantv1.NewOperationServiceClient(to)
}

func (c *Client) useRuns(to grpc.ClientConnInterface) {
	c.Runs = runsv1.NewRunServiceClient(to)
	c.Pipelines = runsv1.NewPipelineServiceClient(to)
	c.Prompts = runsv1.NewPromptServiceClient(to)
	c.Schedules = runsv1.NewScheduleServiceClient(to)
	c.Webhooks = runsv1.NewWebhookServiceClient(to)
	c.Approvals = runsv1.NewApprovalServiceClient(to)
	c.TenantLimits = runsv1.NewTenantLimitServiceClient(to)
}

func (c *Client) useArtifacts(to grpc.ClientConnInterface) {
	c.Artifacts = artifactsv1.NewArtifactServiceClient(to)
	c.Uploads = artifactsv1.NewUploadServiceClient(to)
}

func (c *Client) useLLMGateway(to grpc.ClientConnInterface) {
	c.Generations = llmgatewayv1.NewGenerationServiceClient(to)
	c.Calls = llmgatewayv1.NewCallServiceClient(to)
	c.Catalog = llmgatewayv1.NewCatalogServiceClient(to)
}

// unknown is a service whose address was not given.
type unknown string

func (u unknown) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return u.failure()
}

func (u unknown) NewStream(
	context.Context, *grpc.StreamDesc, string, ...grpc.CallOption,
) (grpc.ClientStream, error) {
	return nil, u.failure()
}

func (u unknown) failure() error {
	return fmt.Errorf("the address of the %s service is not in the settings", string(u))
}
