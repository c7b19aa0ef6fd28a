package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrapes is what came of the targets so far.
type scrapes struct {
	mu    sync.Mutex
	last  map[string]string   // guarded by mu: by target, "" or the error
	names map[string]struct{} // guarded by mu: of all metrics that were ever seen
}

// prometheus serves two calls of the API: /api/v1/targets and
// /api/v1/label/__name__/values.
func prometheus(args []string) error {
	path := flagValue(args, "config.file")
	var config struct {
		Global struct {
			ScrapeInterval     string `yaml:"scrape_interval"`
			EvaluationInterval string `yaml:"evaluation_interval"`
		}
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName       string                       `yaml:"job_name"`
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalWithOptions(data, &config, yaml.Strict()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, rules := range config.RuleFiles {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(path), rules))
		if err == nil {
			err = yaml.Unmarshal(data, new(any))
		}
		if err != nil {
			return err
		}
	}
	s := &scrapes{last: make(map[string]string), names: make(map[string]struct{})}
	for _, job := range config.ScrapeConfigs {
		for _, static := range job.StaticConfigs {
			for _, target := range static.Targets {
				go s.follow(target) // until the process ends
			}
		}
	}
	http.HandleFunc("GET /-/healthy", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("GET /api/v1/targets", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.targets()) })
	http.HandleFunc("GET /api/v1/label/__name__/values", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.seen()) })
	return http.ListenAndServe(":9090", nil)
}

func (s *scrapes) follow(target string) {
	for {
		names, err := scrape(target)
		s.mu.Lock()
		s.last[target] = ""
		if err != nil {
			s.last[target] = err.Error()
		}
		for _, name := range names {
			s.names[name] = struct{}{}
		}
		s.mu.Unlock()
		time.Sleep(time.Second)
	}
}

// scrape returns the names of the series, those of histograms in full.
func scrape(target string) ([]string, error) {
	client := &http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get("http://" + target + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", resp.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, err
	}
	var names []string
	for name, f := range families {
		names = append(names, name)
		if len(f.Metric) > 0 && f.Metric[0].Histogram != nil {
			names = append(names, name+"_bucket", name+"_sum", name+"_count")
		}
	}
	return names, nil
}

func (s *scrapes) targets() any {
	type target struct {
		ScrapeURL string `json:"scrapeUrl"`
		Health    string `json:"health"`
		LastError string `json:"lastError"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var active []target
	for _, name := range slices.Sorted(maps.Keys(s.last)) {
		t := target{"http://" + name + "/metrics", "up", s.last[name]}
		if t.LastError != "" {
			t.Health = "down"
		}
		active = append(active, t)
	}
	return map[string]any{"activeTargets": active}
}

func (s *scrapes) seen() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.names))
}

func answer(w http.ResponseWriter, data any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data}) // the reader's loss
}
