// Article does what Nagaya is for, from an empty system to a result: it creates a tenant, loads the
// pipeline of examples/article with its prompts, gives a run its input as a file, watches the run,
// downloads the result with a check of its digest, and shows what it cost. In the end it shows how a
// refusal looks.
//
//	set -a; . var/dev/endpoints.env; set +a
//	export NAGAYA_TOKEN_FILE=var/dev/tokens/operator.jwt
//	go -C clients/go run ./examples/article -folder ../../examples/article
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	nagaya "github.com/nagaya/nagaya/clients/go"
	artifactsv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/artifacts/v1"
	runsv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/runs/v1"
	tenantv1 "github.com/nagaya/nagaya/clients/go/gen/nagaya/tenant/v1"
)

func main() {
	folder := flag.String("folder", "examples/article", "the pipeline, its prompts and briefs")
	tenant := flag.String("tenant", fmt.Sprintf("go-%d", time.Now().UnixNano()), "a new tenant's id")
	target := flag.String("to", "article.json", "where the article is written")
	flag.Parse()
	if err := run(context.Background(), *folder, *tenant, *target); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, folder, tenant, target string) error {
	settings, err := nagaya.SettingsFromEnvironment()
	if err != nil {
		return err
	}
	client, err := nagaya.Connect(settings)
	if err != nil {
		return err
	}
	defer client.Close()

	created, err := client.Tenants.CreateTenant(ctx, &tenantv1.CreateTenantRequest{
		TenantId: tenant, Name: tenant,
	})
	if err != nil {
		return err
	}
	fmt.Println("tenant", created.Tenant.TenantId)
	pipeline, err := load(ctx, client, tenant, folder)
	if err != nil {
		return err
	}
	runID, err := start(ctx, client, tenant, pipeline, filepath.Join(folder, "briefs", "heat-pumps.json"))
	if err != nil {
		return err
	}
	if err := watch(ctx, client, tenant, runID); err != nil {
		return err
	}
	if err := fetch(ctx, client, tenant, runID, target); err != nil {
		return err
	}
	return refused(ctx, client, tenant)
}

// load creates the pipeline and its prompts, and returns the pipeline's name.
func load(ctx context.Context, client *nagaya.Client, tenant, folder string) (string, error) {
	name, spec, err := read(filepath.Join(folder, "pipeline.yaml"))
	if err != nil {
		return "", err
	}
	request := &runsv1.ApplyPipelineRequest{TenantId: tenant, Pipeline: name, Spec: spec}
	files, err := filepath.Glob(filepath.Join(folder, "prompts", "*.md"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		request.Prompts = append(request.Prompts, &runsv1.ApplyPipelineRequest_Prompt{
			Prompt: strings.TrimSuffix(filepath.Base(file), ".md"), Content: string(content),
		})
	}
	applied, err := client.Pipelines.ApplyPipeline(ctx, request)
	if err != nil {
		return "", err
	}
	fmt.Println("pipeline", name, "version", applied.PipelineVersion.Version)
	return name, nil
}

// read returns the name and the steps of a pipeline's YAML.
func read(path string) (string, *runsv1.PipelineSpec, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	var fields map[string]any
	if err := yaml.Unmarshal(content, &fields); err != nil {
		return "", nil, err
	}
	name, _ := fields["pipeline"].(string)
	delete(fields, "pipeline")
	text, err := json.Marshal(fields)
	if err != nil {
		return "", nil, err
	}
	spec := &runsv1.PipelineSpec{}
	return name, spec, protojson.Unmarshal(text, spec)
}

// start gives a run its input as a file, and has it begin.
func start(ctx context.Context, client *nagaya.Client, tenant, pipeline, input string) (string, error) {
	created, err := client.Runs.CreateRun(ctx, &runsv1.CreateRunRequest{
		TenantId: tenant, Pipeline: pipeline, Input: &runsv1.CreateRunRequest_Hold{Hold: true},
	})
	if err != nil {
		return "", err
	}
	runID := created.Run.RunId
	fmt.Println("run", runID)
	uploaded, err := client.Upload(ctx, tenant, &artifactsv1.ArtifactDraft{
		RunId: runID, Step: "input", Name: "output.json", FileType: "application/json",
	}, input)
	if err != nil {
		return "", err
	}
	fmt.Println("input", uploaded.Path, uploaded.Digest)
	_, err = client.Runs.StartRun(ctx, &runsv1.StartRunRequest{TenantId: tenant, RunId: runID})
	return runID, err
}

// watch prints what happens in a run, and fails unless it completes.
func watch(ctx context.Context, client *nagaya.Client, tenant, runID string) error {
	var last *runsv1.Run
	for event, err := range client.WatchRun(ctx, tenant, runID, nagaya.WatchOptions{}) {
		if err != nil {
			return err
		}
		if step := event.GetStep(); step != nil {
			fmt.Println(event.Sequence, step.Step, step.Item, step.State, step.LlmModel)
		} else {
			last = event.GetRun()
			fmt.Println(event.Sequence, last.State)
		}
	}
	if last.GetState() != runsv1.RunState_RUN_STATE_COMPLETED {
		return fmt.Errorf("the run ended as %v: %s", last.GetState(), last.GetError().GetMessage())
	}
	fmt.Printf("cost $%.4f for %d tokens\n", float64(last.Totals.CostMicroUsd)/1e6,
		last.Totals.InputTokens+last.Totals.OutputTokens)
	return nil
}

// fetch downloads the output of the last step.
func fetch(ctx context.Context, client *nagaya.Client, tenant, runID, target string) error {
	path := fmt.Sprintf("storage/%s/%s/polish/output.json", tenant, runID)
	artifact, err := client.Download(ctx, tenant, path, target)
	if err != nil {
		return err
	}
	fmt.Println("result", target, artifact.SizeBytes, "bytes", artifact.Digest)
	return nil
}

// refused shows how a refusal looks: a run of a pipeline that there is not.
func refused(ctx context.Context, client *nagaya.Client, tenant string) error {
	_, err := client.Runs.CreateRun(ctx, &runsv1.CreateRunRequest{
		TenantId: tenant, Pipeline: "no-such-pipeline",
		Input: &runsv1.CreateRunRequest_InlineJson{InlineJson: "{}"},
	})
	var failure *nagaya.Error
	if !errors.As(err, &failure) {
		return fmt.Errorf("a run of no pipeline was not refused: %w", err)
	}
	fmt.Println("refused", failure.Reason, failure.Metadata["pipeline"], failure.RequestID)
	return nil
}
