package events

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// docs/semantics.md says which test holds each rule. A test that was renamed
// or removed has to be missed there.
func TestSemanticsNamesItsTests(t *testing.T) {
	doc, err := os.ReadFile("../docs/semantics.md")
	if err != nil {
		t.Fatal(err)
	}
	decl := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	have := make(map[string]map[string]bool) // by the package's directory
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
		for _, m := range decl.FindAllSubmatch(src, -1) {
			if have[dir] == nil {
				have[dir] = make(map[string]bool)
			}
			have[dir][string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`(?: and `((?:Test|Fuzz)\\w+)`)?(?: in `([a-z/]+)`)?")
	for _, m := range named.FindAllStringSubmatch(string(doc), -1) {
		dir := m[3]
		if dir == "" {
			dir = "events"
		}
		for _, name := range m[1:3] {
			if name != "" && !have[dir][name] {
				t.Errorf("%s has no %s", dir, name)
			}
			n++
		}
	}
	if n < 100 {
		t.Errorf("only %d tests are named", n)
	}
	for i := range 44 {
		if !regexp.MustCompile(`(?m)^\| ` + strconv.Itoa(i+1) + ` \|`).Match(doc) {
			t.Errorf("pitfall %d is missing", i+1)
		}
	}
}
