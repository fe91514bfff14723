// Watch prints the events of a run until it ends, across broken connections.
//
//	go run ./examples/watch -tenant acme -run 9c65c016-b123-43f6-b6a5-9f48809ff698
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	nagaya "github.com/nagaya/nagaya/clients/go"
)

func main() {
	tenant := flag.String("tenant", "", "the tenant")
	run := flag.String("run", "", "the run")
	flag.Parse()
	if err := watch(context.Background(), *tenant, *run); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func watch(ctx context.Context, tenant, run string) error {
	settings, err := nagaya.SettingsFromEnvironment()
	if err != nil {
		return err
	}
	client, err := nagaya.Connect(settings)
	if err != nil {
		return err
	}
	defer client.Close()
	options := nagaya.WatchOptions{OnBroken: func(err error) {
		fmt.Fprintln(os.Stderr, "the connection broke, and is opened again:", err)
	}}
	for event, err := range client.WatchRun(ctx, tenant, run, options) {
		if err != nil {
			return err
		}
		if step := event.GetStep(); step != nil {
			fmt.Println(event.Sequence, step.Step, step.Item, step.State, step.LlmModel)
		} else {
			fmt.Println(event.Sequence, event.GetRun().State)
		}
	}
	return nil
}
