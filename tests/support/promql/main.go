// Evaluates PromQL on scrapes that a test has made, with Prometheus' own parsers and engine.
//
// It reads one JSON object from standard input and writes one to standard output.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// A scrape is what a process answered at /metrics at a moment.
type scrape struct {
	Milliseconds int64
	ContentType  string
	Labels       map[string]string
	Text         string
}

// A question: rule files to check, and expressions to evaluate at the last scrape.
type question struct {
	RuleFiles   []string
	Scrapes     []scrape
	Expressions []string
	Rules       map[string]string // recording rules, by the names that they record
}

// An answer to one expression.
type answer struct {
	Error   string
	Metrics []string // the names of the series that it selects
	Series  []series
}

type series struct {
	Labels map[string]string
	Value  float64
}

type answers struct {
	Problems  []string
	Exemplars int
	Answers   []answer
}

func main() {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fail(err)
	}
	found, err := evaluate(asked)
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func evaluate(asked question) (answers, error) {
	found := answers{Problems: []string{}, Answers: []answer{}}
	expressions := parser.NewParser(parser.Options{})
	for _, file := range asked.RuleFiles {
		content, err := os.ReadFile(file)
		if err != nil {
			return found, err
		}
		if _, errs := rulefmt.Parse(content, false, model.UTF8Validation, expressions, nil); len(errs) > 0 {
			for _, err := range errs {
				found.Problems = append(found.Problems, fmt.Sprintf("%s: %v", file, err))
			}
		}
	}
	memory := newMemory()
	var last int64
	for _, one := range asked.Scrapes {
		exemplars, err := memory.add(one)
		if err != nil {
			return found, fmt.Errorf("%v: %w", one.Labels, err)
		}
		found.Exemplars += exemplars
		last = max(last, one.Milliseconds)
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 10_000_000, Timeout: time.Minute, Parser: expressions,
	})
	at := time.UnixMilli(last)
	for _, name := range sorted(asked.Rules) {
		result := query(engine, expressions, memory, asked.Rules[name], at)
		if result.Error != "" {
			found.Problems = append(found.Problems, name+": "+result.Error)
		}
		for _, one := range result.Series {
			memory.put(one.Labels, name, last, one.Value)
		}
	}
	for _, expression := range asked.Expressions {
		found.Answers = append(found.Answers, query(engine, expressions, memory, expression, at))
	}
	return found, nil
}

func sorted(rules map[string]string) []string {
	names := make([]string, 0, len(rules))
	for name := range rules {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func query(
	engine *promql.Engine, expressions parser.Parser, memory *memory, expression string, at time.Time,
) answer {
	parsed, err := expressions.ParseExpr(expression)
	if err != nil {
		return answer{Error: err.Error()}
	}
	found := answer{Metrics: []string{}, Series: []series{}}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			found.Metrics = append(found.Metrics, selector.Name)
		}
		return nil
	})
	asked, err := engine.NewInstantQuery(context.Background(), memory, nil, expression, at)
	if err != nil {
		return answer{Error: err.Error()}
	}
	defer asked.Close()
	result := asked.Exec(context.Background())
	if result.Err != nil {
		return answer{Error: result.Err.Error()}
	}
	vector, err := result.Vector()
	if err != nil {
		return answer{Error: err.Error()}
	}
	for _, sample := range vector {
		if !math.IsNaN(sample.F) && !math.IsInf(sample.F, 0) { // a graph shows neither
			found.Series = append(found.Series, series{sample.Metric.Map(), sample.F})
		}
	}
	return found
}

// count counts the exemplars of the current sample.
func count(text textparse.Parser) int {
	var one exemplarOf
	number := 0
	for text.Exemplar(&one) {
		number++
		one = exemplarOf{}
	}
	return number
}

func labelsOf(values map[string]string) labels.Labels {
	return labels.FromMap(values)
}
