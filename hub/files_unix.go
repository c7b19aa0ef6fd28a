//go:build unix

package hub

import (
	"math"

	"golang.org/x/sys/unix"
)

// openFiles is how many files this process may have open. Go has raised that as
// far as it is allowed to.
func openFiles() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64
	}
	return uint64(limit.Cur) // signed on some systems
}
