package api

import (
	"fmt"
	"slices"
)

// Role is what a credential may do.
type Role string

// The roles.
const (
	RoleRevoke     Role = "revoke"
	RoleRestore    Role = "restore"
	RoleSubscribe  Role = "subscribe"
	RoleIntrospect Role = "introspect"
	RoleAudit      Role = "audit"
	RoleAdmin      Role = "admin" // all of the others, keys, and revocations of a whole issuer or signing key
)

// Roles lists the roles.
func Roles() []Role {
	return []Role{RoleRevoke, RoleRestore, RoleSubscribe, RoleIntrospect, RoleAudit, RoleAdmin}
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Role) UnmarshalText(text []byte) error {
	if !slices.Contains(Roles(), Role(text)) {
		return fmt.Errorf("want one of %v", Roles())
	}
	*r = Role(text)
	return nil
}
