package hub

import (
	"bytes"
	"log/slog"
	"math"
	"strings"
	"testing"
)

func TestFewFilesAreFewConnections(t *testing.T) {
	for _, c := range []struct {
		files                uint64
		most, perAddress     int
		fits, fitsPerAddress int
	}{
		{math.MaxUint64, 25_000, 20_000, 25_000, 20_000},
		{30_000, 25_000, 20_000, 25_000, 20_000},
		{25_256, 25_000, 20_000, 25_000, 20_000},
		{25_255, 25_000, 20_000, 24_999, 19_996},
		{1024, 25_000, 20_000, 768, 612},
		{1024, 25_000, 10, 768, 10},
		{1024, 500, 500, 500, 500},
		{400, 25_000, 20_000, 200, 160},
		{1, 25_000, 20_000, 1, 1},
	} {
		var log bytes.Buffer
		most, perAddress := connectionsWithin(c.files, c.most, c.perAddress, slog.New(slog.NewTextHandler(&log, nil)))
		if most != c.fits || perAddress != c.fitsPerAddress {
			t.Errorf("%+v: %d, %d", c, most, perAddress)
		}
		if warned := strings.Contains(log.String(), "ulimit -n"); warned != (most < c.most) {
			t.Errorf("%+v: warned is %v: %s", c, warned, log.String())
		}
	}
	if openFiles() < 3 {
		t.Errorf("this process may open %d files", openFiles())
	}
}
