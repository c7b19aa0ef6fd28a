package subscriber

import (
	"testing"

	"go.uber.org/goleak"
)

// After Close nothing is running: the tests of this package leave no
// goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
