package subscriber

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// After Close nothing is running: the tests of this package leave no
// goroutine behind.
func TestMain(m *testing.M) {
	if url := os.Getenv(stoppedChild); url != "" {
		runStoppedChild(url)
		return
	}
	flag.Parse()
	// The tests wait for what takes its time, and hardly compute.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		f.Value.Set("12")
	}
	goleak.VerifyTestMain(m)
}
