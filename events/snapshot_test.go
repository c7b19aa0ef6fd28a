package events

import "testing"

var testHeader = SnapshotHeader{
	Feed: "default", Epoch: "k3v9x2", Seq: 1042, Chain: Chain{1, 2, 3}, At: 1_764_000_000_123, Salt: testSalt,
}
func TestX(t *testing.T) {}
