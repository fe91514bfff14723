package main

import (
	"context"
	"errors"
	"io"
	"math"
	"sort"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

type exemplarOf = exemplar.Exemplar

// A sample is a value at a moment.
type sample struct {
	milliseconds int64
	value        float64
}

func (s sample) T() int64                      { return s.milliseconds }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// memory holds the series of all scrapes.
type memory struct {
	series  map[uint64]labels.Labels
	samples map[uint64][]chunks.Sample
}

func newMemory() *memory {
	return &memory{map[uint64]labels.Labels{}, map[uint64][]chunks.Sample{}}
}

// add parses a scrape as Prometheus does, and returns how many exemplars it has.
func (m *memory) add(one scrape) (int, error) {
	options := textparse.ParserOptions{FallbackContentType: "text/plain"}
	text, err := textparse.New([]byte(one.Text), one.ContentType, labels.NewSymbolTable(), options)
	if err != nil {
		return 0, err
	}
	exemplars := 0
	for {
		entry, err := text.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var found labels.Labels
		text.Labels(&found)
		_, _, value := text.Series()
		exemplars += count(text)
		m.put(found.Map(), "", one.Milliseconds, value, one.Labels)
	}
	m.put(map[string]string{}, "up", one.Milliseconds, 1, one.Labels)
	return exemplars, nil
}

// put adds a value; name replaces that of the labels unless it is empty.
func (m *memory) put(
	own map[string]string, name string, milliseconds int64, value float64, more ...map[string]string,
) {
	builder := labels.NewBuilder(labelsOf(own))
	for _, others := range more {
		for key, other := range others {
			builder.Set(key, other)
		}
	}
	if name != "" {
		builder.Set(labels.MetricName, name)
	}
	found := builder.Labels()
	hash := found.Hash()
	m.series[hash] = found
	m.samples[hash] = append(m.samples[hash], sample{milliseconds, value})
}

// Querier returns what reads the samples between two moments.
func (m *memory) Querier(from, to int64) (storage.Querier, error) {
	return &querier{m, from, to}, nil
}

type querier struct {
	memory   *memory
	from, to int64
}

func (q *querier) Select(
	_ context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher,
) storage.SeriesSet {
	from, to := q.from, q.to
	if hints != nil {
		from, to = min(from, hints.Start), max(to, hints.End)
	}
	found := &seriesSet{place: -1}
	for hash, one := range q.memory.series {
		if !matches(one, matchers) {
			continue
		}
		samples := []chunks.Sample{}
		for _, each := range q.memory.samples[hash] {
			if each.T() >= from && each.T() <= to && !math.IsNaN(each.F()) {
				samples = append(samples, each)
			}
		}
		found.series = append(found.series, storage.NewListSeries(one, samples))
	}
	sort.Slice(found.series, func(i, j int) bool {
		return labels.Compare(found.series[i].Labels(), found.series[j].Labels()) < 0
	})
	return found
}

func matches(one labels.Labels, matchers []*labels.Matcher) bool {
	for _, matcher := range matchers {
		if !matcher.Matches(one.Get(matcher.Name)) {
			return false
		}
	}
	return true
}

func (q *querier) LabelValues(
	context.Context, string, *storage.LabelHints, ...*labels.Matcher,
) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (q *querier) LabelNames(
	context.Context, *storage.LabelHints, ...*labels.Matcher,
) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (q *querier) Close() error { return nil }

type seriesSet struct {
	series []storage.Series
	place  int
}

func (s *seriesSet) Next() bool                        { s.place++; return s.place < len(s.series) }
func (s *seriesSet) At() storage.Series                { return s.series[s.place] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
