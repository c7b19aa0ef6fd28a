package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// walks are further ways in which tokens are taken back, each on its own. A
// walk ends with an error at the first step that does not hold.
var walks = map[string]func(walk, context.Context) error{
	"devices":    walk.devices,
	"exchange":   walk.exchange,
	"key":        walk.signingKey,
	"phantom":    walk.phantom,
	"rotation":   walk.rotation,
	"versioning": walk.versioning,
}

func walkNames() []string { return slices.Sorted(maps.Keys(walks)) }

// refused waits until a token gets 401.
func (d walk) refused(ctx context.Context, tokens ...string) error {
	for _, t := range tokens {
		if _, err := d.untilRefused(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// devices: "log out my other devices" is a cutoff that spares the session in
// which it is asked for.
func (d walk) devices(ctx context.Context) error {
	phone, err := d.login(ctx, "alice")
	if err != nil {
		return err
	}
	laptop, err := d.login(ctx, "alice")
	if err != nil {
		return err
	}
	say("1. alice is logged in on her phone and her laptop.")
	sid, err := claimOf(laptop, "sid")
	if err != nil {
		return err
	}
	if err := d.order(ctx, map[string]any{
		"target": map[string]string{"kind": "subject", "iss": d.iss, "value": "alice"},
		"except": map[string]string{"sid": sid}, "reason": "logout",
	}); err != nil {
		return err
	}
	say("2. On the laptop she logs out her other devices: her subject is revoked, except this sid.")
	if err := d.refused(ctx, phone); err != nil {
		return err
	}
	if err := d.expect(ctx, laptop, http.StatusOK); err != nil {
		return err
	}
	say("3. The phone gets 401, the laptop 200.")
	return nil
}

// versioning: a password change raises the version of a user's tokens, and
// those of lower versions die, whenever they were issued.
func (d walk) versioning(ctx context.Context) error {
	old, err := d.login(ctx, "alice")
	if err != nil {
		return err
	}
	if err := d.expect(ctx, old, http.StatusOK); err != nil {
		return err
	}
	version := d.issuer.changePassword("alice")
	say("1. alice changes her password: the issuer now makes tokens of version %d.", version)
	if err := d.order(ctx, map[string]any{
		"target":      map[string]string{"kind": "subject", "iss": d.iss, "value": "alice"},
		"min_version": version, "reason": "password_change",
	}); err != nil {
		return err
	}
	if err := d.refused(ctx, old); err != nil {
		return err
	}
	say("2. Her token of the version before gets 401.")
	fresh, err := d.login(ctx, "alice")
	if err != nil {
		return err
	}
	if err := d.expect(ctx, fresh, http.StatusOK); err != nil {
		return err
	}
	say("3. One of the new version gets 200.")
	return nil
}

// signingKey: what was signed with a key that leaked is refused, whatever it
// says about itself.
func (d walk) signingKey(ctx context.Context) error {
	alice, err := d.login(ctx, "alice")
	if err != nil {
		return err
	}
	bob, err := d.login(ctx, "bob")
	if err != nil {
		return err
	}
	say("1. alice and bob have tokens that are signed with the key %s.", firstKey)
	if err := d.revoke(ctx, map[string]string{"kind": "key", "iss": d.iss, "value": firstKey}, "compromised"); err != nil {
		return err
	}
	if err := d.refused(ctx, alice, bob); err != nil {
		return err
	}
	say("2. The key has leaked and is revoked: both get 401, and so would any token that a thief makes with it.")
	d.issuer.useKey(secondKey)
	fresh, err := d.login(ctx, "alice")
	if err != nil {
		return err
	}
	if err := d.expect(ctx, fresh, http.StatusOK); err != nil {
		return err
	}
	say("3. A token that is signed with %s gets 200.", secondKey)
	return nil
}

// rotation: refresh tokens are good once. If one is presented again, the
// issuer revokes the grant, and with it every access token of that family.
func (d walk) rotation(ctx context.Context) error {
	reported := make(chan error, 1)
	d.issuer.onReuse(func(grant string) {
		reported <- d.revoke(ctx, map[string]string{"kind": "grant", "iss": d.iss, "value": grant}, "rotation_reuse")
	})
	first, err := d.tokens(ctx, "/login", url.Values{"user": {"alice"}})
	if err != nil {
		return err
	}
	second, err := d.tokens(ctx, "/token", url.Values{"refresh_token": {first.Refresh}})
	if err != nil {
		return err
	}
	other, err := d.login(ctx, "alice")
	if err != nil {
		return err
	}
	for _, t := range []string{first.Access, second.Access, other} {
		if err := d.expect(ctx, t, http.StatusOK); err != nil {
			return err
		}
	}
	say("1. alice refreshes once: both access tokens of that grant get 200, and so does that of another log-in.")
	if _, err := d.tokens(ctx, "/token", url.Values{"refresh_token": {first.Refresh}}); err == nil {
		return fmt.Errorf("the issuer took a refresh token twice")
	}
	select {
	case err := <-reported:
		if err != nil {
			return err
		}
	case <-time.After(patience):
		return fmt.Errorf("the issuer did not notice")
	}
	if _, err := d.tokens(ctx, "/token", url.Values{"refresh_token": {second.Refresh}}); err == nil {
		return fmt.Errorf("the grant has ended, and its last refresh token still works")
	}
	say("2. Somebody presents the old refresh token again: the issuer refuses it and the latest one, and revokes the grant.")
	if err := d.refused(ctx, first.Access, second.Access); err != nil {
		return err
	}
	if err := d.expect(ctx, other, http.StatusOK); err != nil {
		return err
	}
	say("3. Every access token of the grant gets 401; the other log-in's gets 200.")
	return nil
}
