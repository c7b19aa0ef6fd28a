package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/reliability.md says which test tries what. A test that was renamed or
// removed has to be missed there, and so has a fault test that is not named.
func TestReliabilityNamesItsTests(t *testing.T) {
	doc, err := os.ReadFile("../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := func(dir string) map[string]bool {
		have := make(map[string]bool)
		sources, _ := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
		for _, path := range sources {
			if filepath.Base(path) == "reliability_test.go" {
				continue
			}
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			trial := strings.Contains(string(src), "quickOr(") || strings.Contains(string(src), "newTrial(")
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t `).FindAllSubmatch(src, -1) {
				have[string(m[1])] = trial
			}
		}
		return have
	}
	here := tests("test")
	named := make(map[string]bool)
	for _, m := range regexp.MustCompile("`(Test\\w+)`(?: in `([a-z/]+)`)?").FindAllStringSubmatch(string(doc), -1) {
		named[m[1]] = true
		have := here
		if m[2] != "" {
			have = tests(m[2])
		}
		if _, ok := have[m[1]]; !ok {
			t.Errorf("there is no %s", m[1])
		}
	}
	for name, trial := range here {
		if trial && !named[name] {
			t.Errorf("docs/reliability.md does not name %s", name)
		}
	}
	if len(named) < 20 {
		t.Errorf("only %d tests are named: the test no longer sees them", len(named))
	}
}
