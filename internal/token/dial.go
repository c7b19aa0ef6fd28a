package token

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// dialPublic dials as net.Dialer does, but only addresses that the host may
// have. The check is made on the address that is about to be connected to, so
// a name that resolves to something else the second time gains nothing.
func dialPublic(ctx context.Context, network, hostport string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{
		Timeout: fetchTimeout,
		Control: func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			return checkAddress(host, ap.Addr())
		},
		KeepAlive: -1 * time.Second, // one request, then it is closed
	}
	return d.DialContext(ctx, network, hostport)
}

// loopbackHost reports whether a host is this machine by its name alone.
func loopbackHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") // RFC 6761 section 6.3
}

// internal are the networks besides those that netip knows as private where a
// service might listen that trusts its neighbours: RFC 6598, RFC 6890, and
// IPv6 site-local and local-use NAT64.
var internal = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("fec0::/10"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
}

// nat64 and sixToFour are IPv6 networks whose addresses have an IPv4 address
// inside (RFC 6052, RFC 3056).
var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
)

// checkAddress says whether a host may have this address: loopback if and
// only if its name says so, else nothing that can't be reached from outside.
func checkAddress(host string, addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	b := addr.As16()
	switch {
	case nat64.Contains(addr):
		addr = netip.AddrFrom4([4]byte(b[12:]))
	case sixToFour.Contains(addr):
		addr = netip.AddrFrom4([4]byte(b[2:6]))
	}
	if addr.IsLoopback() != loopbackHost(host) {
		return fmt.Errorf("host %q has the address %v: loopback is for loopback hosts", host, addr)
	}
	if addr.IsPrivate() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.IsMulticast() {
		return fmt.Errorf("host %q has the private address %v", host, addr)
	}
	for _, p := range internal {
		if p.Contains(addr) {
			return fmt.Errorf("host %q has the private address %v", host, addr)
		}
	}
	return nil
}
