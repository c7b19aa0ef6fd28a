package token

import (
	"net/netip"
	"testing"
)

func TestAddressesThatAHostMayHave(t *testing.T) {
	for _, c := range []struct {
		host, addr string
		ok         bool
	}{
		{"issuer.example", "93.184.216.34", true},
		{"issuer.example", "2606:4700::1111", true},
		{"issuer.example", "64:ff9b::5db8:d822", true}, // NAT64 of a public address
		{"localhost", "127.0.0.1", true},
		{"LOCALHOST.", "::1", true},
		{"api.localhost", "127.0.0.2", true},
		{"127.0.0.1", "127.0.0.1", true},
		{"::1", "::1", true},
		{"93.184.216.34", "93.184.216.34", true},

		{"issuer.example", "127.0.0.1", false},
		{"issuer.example", "::1", false},
		{"issuer.example", "::ffff:127.0.0.1", false},
		{"localhost.example", "127.0.0.1", false},
		{"localhost", "93.184.216.34", false},
		{"issuer.example", "10.1.2.3", false},
		{"issuer.example", "172.16.0.1", false},
		{"issuer.example", "192.168.1.1", false},
		{"10.1.2.3", "10.1.2.3", false},
		{"issuer.example", "::ffff:10.1.2.3", false},
		{"issuer.example", "169.254.169.254", false}, // cloud metadata
		{"issuer.example", "64:ff9b::a9fe:a9fe", false},
		{"issuer.example", "2002:a9fe:a9fe::1", false},
		{"issuer.example", "64:ff9b:1::1", false},
		{"issuer.example", "fd00:ec2::254", false},
		{"issuer.example", "fe80::1", false},
		{"issuer.example", "fe80::1%eth0", false},
		{"issuer.example", "fec0::1", false},
		{"issuer.example", "100.100.100.200", false},
		{"issuer.example", "192.0.0.192", false},
		{"issuer.example", "198.18.0.1", false},
		{"issuer.example", "0.0.0.0", false},
		{"issuer.example", "0.1.2.3", false},
		{"issuer.example", "::", false},
		{"issuer.example", "224.0.0.1", false},
		{"issuer.example", "ff02::1", false},
		{"issuer.example", "255.255.255.255", false},
	} {
		if err := checkAddress(c.host, netip.MustParseAddr(c.addr)); (err == nil) != c.ok {
			t.Errorf("%s at %s: %v", c.host, c.addr, err)
		}
	}
}
