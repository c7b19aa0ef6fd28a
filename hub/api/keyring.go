package api

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
)

// Keyring holds the API keys. Of a key's secret it keeps the SHA-256 only: a
// secret is 32 random bytes, so there is nothing to guess that a slow hash
// would protect. Its methods may be called by any goroutine.
type Keyring struct {
	fixed []ringKey // set once: those that are configured, and not stored

	changing sync.Mutex // held while store runs
	store    KeyStore

	mu     sync.RWMutex
	keys   []ringKey           // guarded by mu: the fixed ones, then the stored ones, oldest first; what is in it never changes
	byHash map[events.Hash]int // guarded by mu: places in keys
}

// KeyStore replaces what is stored, nil at first, by what change makes of it.
// When it returns nil, that is durable. Other hubs may share the store: if one
// was faster, change is called again with what that one has stored. If change
// returns its argument there is nothing to store. Errors of change are
// returned as they are.
type KeyStore func(change func(stored []byte) ([]byte, error)) error

// Key describes an API key without its secret. Its name is what the audit
// calls its holder.
type Key struct {
	ID        string        `json:"id"`
	Name      string        `json:"name"`
	Roles     []Role        `json:"roles"`
	Issuers   []string      `json:"issuers,omitzero"`    // empty: every issuer
	Kinds     []events.Kind `json:"kinds,omitzero"`      // empty: every kind
	CreatedAt events.Time   `json:"created_at,omitzero"` // absent: it is configured
}

// FixedKey is a key that is configured, and that nobody can delete but who
// configures it.
type FixedKey struct {
	KeyRequest
	Hash events.Hash // the SHA-256 of the secret
}

// ringKey is a key as it is stored.
type ringKey struct {
	Key
	Hash events.Hash `json:"hash"` // of the secret
}

// ringFile is the stored form of a Keyring.
type ringFile struct {
	V    int       `json:"v"`
	Keys []ringKey `json:"keys"`
}

const (
	keyPrefix   = "rvk_"
	adminName   = "admin"
	maxKeys     = 1000
	maxKeyLimit = 100 // issuers that one key may be limited to
)

var (
	keyIDPattern = regexp.MustCompile(`^key_[A-Z2-7]{16}$`)
	errFixed     = &Problem{Code: Conflict, Detail: "This key is in the hubs' configuration files; take it out there."}
	errLastAdmin = &Problem{Code: Conflict, Detail: "This is the last key that may do everything; make another one first."}
)

// NewKeyring reads what is stored, and adds the fixed keys.
//
// If secret is not empty, it becomes that of the key called admin. Otherwise,
// if no key may do everything, one called admin is made, and its secret
// returned: this is the only time that anybody can see it.
func NewKeyring(store KeyStore, fixed []FixedKey, secret string) (*Keyring, string, error) {
	k := &Keyring{store: store}
	if secret != "" {
		if err := checkSecret(secret); err != nil {
			return nil, "", err
		}
	}
	if err := k.fix(fixed); err != nil {
		return nil, "", err
	}
	made := ""
	err := k.change(func(keys []ringKey) ([]ringKey, error) {
		made = ""
		if secret != "" {
			return k.setAdmin(keys, secret)
		}
		if admins(k.fixed)+admins(keys) > 0 {
			return keys, nil
		}
		made = newSecret()
		return k.setAdmin(keys, made)
	})
	if err != nil {
		return nil, "", fmt.Errorf("keyring: %w", err)
	}
	return k, made, nil
}

// fix takes the fixed keys. Their ids are made of their hashes, so that each
// hub that has them calls them the same.
func (k *Keyring) fix(fixed []FixedKey) error {
	if err := CheckFixedKeys(fixed); err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	for _, f := range fixed {
		id := sha256.Sum256(f.Hash[:])
		key := f.key(f.Hash, time.Time{})
		key.ID, key.CreatedAt = "key_"+base32.StdEncoding.EncodeToString(id[:])[:16], 0
		k.fixed = append(k.fixed, key)
	}
	return nil
}

// CheckFixedKeys reports the first mistake in a list of fixed keys.
func CheckFixedKeys(fixed []FixedKey) error {
	seen := make(map[string]bool)
	for i, f := range fixed {
		switch err := f.validate(); {
		case err != nil:
			return fmt.Errorf("key number %d: %w", i+1, err)
		case f.Name == adminName:
			return fmt.Errorf("key number %d: %s is the name of the key that the hub makes itself", i+1, adminName)
		case f.Hash == events.Hash{}:
			return fmt.Errorf("key %q: has no SHA-256", f.Name)
		case seen["name "+f.Name] || seen["hash "+f.Hash.String()]:
			return fmt.Errorf("key %q: its name or SHA-256 is there twice", f.Name)
		}
		seen["name "+f.Name], seen["hash "+f.Hash.String()] = true, true
	}
	return nil
}

// Refresh reads again what is stored: another hub may have changed it. If that
// fails, the keys stay as they are.
func (k *Keyring) Refresh() error {
	return k.change(func(keys []ringKey) ([]ringKey, error) { return keys, nil })
}

// checkSecret says whether a secret that somebody chose will do.
func checkSecret(s string) error {
	rest, ok := strings.CutPrefix(s, keyPrefix)
	if !ok || len(rest) < 32 || len(rest) > 256 || strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("admin key: want rvk_ and 32 to 256 visible ASCII characters")
	}
	return nil
}

func newSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return keyPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

func hashSecret(s string) events.Hash { return sha256.Sum256([]byte(s)) }

// parseRing reads the stored form of the keys.
func parseRing(stored []byte) ([]ringKey, error) {
	if stored == nil {
		return nil, nil
	}
	var f ringFile
	if err := json.Unmarshal(stored, &f, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	if f.V != 1 {
		return nil, fmt.Errorf("version is %d, want 1: written by another release", f.V)
	}
	seen := make(map[string]bool)
	for _, key := range f.Keys {
		req := KeyRequest{key.Name, key.Roles, key.Issuers, key.Kinds}
		if err := req.validate(); err != nil {
			return nil, fmt.Errorf("key %q: %w", key.ID, err)
		}
		if !keyIDPattern.MatchString(key.ID) || key.Hash == (events.Hash{}) {
			return nil, fmt.Errorf("key %q: its id or hash is not valid", key.ID)
		}
		for _, s := range []string{"id " + key.ID, "name " + key.Name, "hash " + key.Hash.String()} {
			if seen[s] {
				return nil, fmt.Errorf("key %q: its id, name or hash is there twice", key.ID)
			}
			seen[s] = true
		}
	}
	return f.Keys, nil
}

// change stores another list of keys and then uses it. If it can't be stored,
// the old one stays. f gets those that are stored, and may be called again.
func (k *Keyring) change(f func([]ringKey) ([]ringKey, error)) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	var next []ringKey
	err := k.store(func(stored []byte) ([]byte, error) {
		keys, err := parseRing(stored)
		if err != nil {
			return nil, err
		}
		if next, err = f(keys); err != nil || sameKeys(keys, next) {
			return stored, err
		}
		data, err := json.Marshal(ringFile{1, next}, jsontext.WithIndent("  "))
		return append(data, '\n'), err
	})
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = slices.Concat(k.fixed, next)
	k.byHash = make(map[events.Hash]int, len(k.keys))
	// A fixed one wins over a stored one that has its secret.
	for i, r := range slices.Backward(k.keys) {
		k.byHash[r.Hash] = i
	}
	return nil
}

func sameKeys(a, b []ringKey) bool {
	return slices.EqualFunc(a, b, func(a, b ringKey) bool { return a.ID == b.ID && a.Hash == b.Hash })
}

// setAdmin returns the keys with the admin key having this secret.
func (k *Keyring) setAdmin(keys []ringKey, secret string) ([]ringKey, error) {
	hash := hashSecret(secret)
	keys = slices.Clone(keys)
	if i := slices.IndexFunc(keys, func(r ringKey) bool { return r.Name == adminName }); i >= 0 {
		if keys[i].Hash == hash && keys[i].everything() {
			return keys, nil
		}
		keys = slices.Delete(keys, i, i+1)
	}
	if slices.ContainsFunc(slices.Concat(k.fixed, keys), func(r ringKey) bool { return r.Hash == hash }) {
		return nil, errors.New("the admin key is another key already")
	}
	req := KeyRequest{Name: adminName, Roles: []Role{RoleAdmin}}
	return append(keys, req.key(hash, time.Now())), nil
}

// find returns the key with this secret.
//
// The look-up goes by the secret's hash. How long it takes says something
// about hashes, which nobody can steer towards one that is there.
func (k *Keyring) find(secret string) (Key, bool) {
	hash := hashSecret(secret)
	k.mu.RLock()
	defer k.mu.RUnlock()
	i, ok := k.byHash[hash]
	if !ok || subtle.ConstantTimeCompare(hash[:], k.keys[i].Hash[:]) != 1 {
		return Key{}, false
	}
	return k.keys[i].Key, true
}

// has reports whether a key is there still.
func (k *Keyring) has(id string) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.ContainsFunc(k.keys, func(r ringKey) bool { return r.ID == id })
}

// list returns the keys, oldest first.
func (k *Keyring) list() []Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	list := make([]Key, len(k.keys))
	for i, r := range k.keys {
		list[i] = r.Key
	}
	return list
}

// make makes a key and returns it with its secret, which is kept nowhere.
func (k *Keyring) make(req KeyRequest, now time.Time) (Key, string, error) {
	secret := newSecret()
	key := req.key(hashSecret(secret), now)
	err := k.change(func(keys []ringKey) ([]ringKey, error) {
		switch {
		case slices.ContainsFunc(slices.Concat(k.fixed, keys), func(r ringKey) bool { return r.Name == req.Name }):
			return nil, &Problem{Code: Conflict, Field: "name", Detail: "There is a key of this name."}
		case len(keys) >= maxKeys:
			return nil, &Problem{Code: Conflict, Detail: fmt.Sprintf("There are %d keys, and no more can be made.", maxKeys)}
		}
		return append(slices.Clone(keys), key), nil
	})
	if err != nil {
		return Key{}, "", fmt.Errorf("make a key: %w", err)
	}
	return key.Key, secret, nil
}

// remove deletes a key. Requests with it are refused from now on.
func (k *Keyring) remove(id string) error {
	if slices.ContainsFunc(k.fixed, func(r ringKey) bool { return r.ID == id }) {
		return errFixed
	}
	err := k.change(func(keys []ringKey) ([]ringKey, error) {
		i := slices.IndexFunc(keys, func(r ringKey) bool { return r.ID == id })
		if i < 0 {
			return nil, &Problem{Code: NotFound, Detail: "No key has this id."}
		}
		if keys[i].everything() && admins(k.fixed)+admins(keys) == 1 {
			return nil, errLastAdmin
		}
		return slices.Delete(slices.Clone(keys), i, i+1), nil
	})
	if err != nil {
		return fmt.Errorf("delete a key: %w", err)
	}
	return nil
}

// admins is how many keys may do everything.
func admins(keys []ringKey) (n int) {
	for _, r := range keys {
		if r.everything() {
			n++
		}
	}
	return n
}

func (k Key) everything() bool {
	return slices.Contains(k.Roles, RoleAdmin) && len(k.Issuers) == 0 && len(k.Kinds) == 0
}
