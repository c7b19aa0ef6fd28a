package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
)

const provisioning = "/etc/grafana/provisioning"

// grafana serves /api/health, and /api/search with the dashboards that the
// provisioning leads to. A data source that does not answer ends it.
func grafana([]string) error {
	var sources struct {
		Datasources []struct{ Name, UID, Type, URL string }
	}
	var providers struct {
		Providers []struct {
			Name, Type string
			Options    struct{ Path string }
		}
	}
	if err := readAll(filepath.Join(provisioning, "datasources", "*.yml"), &sources); err != nil {
		return err
	}
	if err := readAll(filepath.Join(provisioning, "dashboards", "*.yml"), &providers); err != nil {
		return err
	}
	for _, s := range sources.Datasources {
		resp, err := http.Get(s.URL + "/-/healthy")
		if err != nil {
			return fmt.Errorf("data source %s: %w", s.Name, err) // compose starts it again
		}
		resp.Body.Close()
	}
	type dashboard struct {
		UID   string `json:"uid"`
		Title string `json:"title"`
	}
	var found []dashboard
	for _, p := range providers.Providers {
		files, err := filepath.Glob(filepath.Join(p.Options.Path, "*.json"))
		if err != nil {
			return err
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			var d dashboard
			if err := json.Unmarshal(data, &d); err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
			found = append(found, d)
		}
	}
	http.HandleFunc("GET /api/health", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("GET /api/search", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(found) // the reader's loss
	})
	return http.ListenAndServe(":3000", nil)
}

// readAll reads every file of a pattern into v.
func readAll(pattern string, v any) error {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%s: no files: %w", pattern, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err == nil {
			err = yaml.Unmarshal(data, v)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	return nil
}
