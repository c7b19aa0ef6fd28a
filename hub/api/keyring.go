package api

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
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
	save func([]byte) error // called with mu held

	mu     sync.RWMutex
	keys   []ringKey           // guarded by mu: oldest first; what is in it never changes
	byHash map[events.Hash]int // guarded by mu: places in keys
}

// Key describes an API key without its secret. Its name is what the audit
// calls its holder.
type Key struct {
	ID        string        `json:"id"`
	Name      string        `json:"name"`
	Roles     []Role        `json:"roles"`
	Issuers   []string      `json:"issuers,omitzero"` // empty: every issuer
	Kinds     []events.Kind `json:"kinds,omitzero"`   // empty: every kind
	CreatedAt events.Time   `json:"created_at"`
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
	errLastAdmin = &Problem{Code: Conflict, Detail: "This is the last key that may do everything; make another one first."}
)

// NewKeyring reads what save was given last, or nothing the first time. save
// has to make the bytes durable before it returns.
//
// If secret is not empty, it becomes that of the key called admin. Otherwise,
// if no key may do everything, one called admin is made, and its secret
// returned: this is the only time that anybody can see it.
func NewKeyring(stored []byte, save func([]byte) error, secret string) (*Keyring, string, error) {
	k := &Keyring{save: save}
	if stored != nil {
		if err := k.parse(stored); err != nil {
			return nil, "", fmt.Errorf("keyring: %w", err)
		}
	}
	k.index()
	made := ""
	switch {
	case secret != "":
		if err := checkSecret(secret); err != nil {
			return nil, "", err
		}
	case k.admins() == 0:
		secret = newSecret()
		made = secret
	default:
		return k, "", nil
	}
	if err := k.setAdmin(secret); err != nil {
		return nil, "", fmt.Errorf("keyring: %w", err)
	}
	return k, made, nil
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

func (k *Keyring) parse(stored []byte) error {
	var f ringFile
	if err := json.Unmarshal(stored, &f, json.RejectUnknownMembers(true)); err != nil {
		return err
	}
	if f.V != 1 {
		return fmt.Errorf("version is %d, want 1: written by another release", f.V)
	}
	seen := make(map[string]bool)
	for _, key := range f.Keys {
		req := KeyRequest{key.Name, key.Roles, key.Issuers, key.Kinds}
		if err := req.validate(); err != nil {
			return fmt.Errorf("key %q: %w", key.ID, err)
		}
		if !keyIDPattern.MatchString(key.ID) || key.Hash == (events.Hash{}) {
			return fmt.Errorf("key %q: its id or hash is not valid", key.ID)
		}
		for _, s := range []string{"id " + key.ID, "name " + key.Name, "hash " + key.Hash.String()} {
			if seen[s] {
				return fmt.Errorf("key %q: its id, name or hash is there twice", key.ID)
			}
			seen[s] = true
		}
	}
	k.keys = f.Keys
	return nil
}

// index is called with mu held, or before anybody else has the ring.
func (k *Keyring) index() {
	k.byHash = make(map[events.Hash]int, len(k.keys))
	for i, r := range k.keys {
		k.byHash[r.Hash] = i
	}
}

// replace stores a new list of keys and then uses it. If it can't be stored,
// the old one stays. It is called with mu held.
func (k *Keyring) replace(keys []ringKey) error {
	data, err := json.Marshal(ringFile{1, keys}, jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	if err := k.save(append(data, '\n')); err != nil {
		return fmt.Errorf("store the keyring: %w", err)
	}
	k.keys = keys
	k.index()
	return nil
}

func (k *Keyring) setAdmin(secret string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	hash := hashSecret(secret)
	keys := slices.Clone(k.keys)
	if i := slices.IndexFunc(keys, func(r ringKey) bool { return r.Name == adminName }); i >= 0 {
		if keys[i].Hash == hash && keys[i].everything() {
			return nil
		}
		keys = slices.Delete(keys, i, i+1)
	}
	if slices.ContainsFunc(keys, func(r ringKey) bool { return r.Hash == hash }) {
		return errors.New("the admin key is another key already")
	}
	req := KeyRequest{Name: adminName, Roles: []Role{RoleAdmin}}
	return k.replace(append(keys, req.key(hash, time.Now())))
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
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case slices.ContainsFunc(k.keys, func(r ringKey) bool { return r.Name == req.Name }):
		return Key{}, "", &Problem{Code: Conflict, Field: "name", Detail: "There is a key of this name."}
	case len(k.keys) >= maxKeys:
		return Key{}, "", &Problem{Code: Conflict, Detail: fmt.Sprintf("There are %d keys, and no more can be made.", maxKeys)}
	}
	secret := newSecret()
	key := req.key(hashSecret(secret), now)
	if err := k.replace(append(slices.Clone(k.keys), key)); err != nil {
		return Key{}, "", err
	}
	return key.Key, secret, nil
}

// remove deletes a key. Requests with it are refused from now on.
func (k *Keyring) remove(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.keys, func(r ringKey) bool { return r.ID == id })
	if i < 0 {
		return &Problem{Code: NotFound, Detail: "No key has this id."}
	}
	if k.keys[i].everything() && k.admins() == 1 {
		return errLastAdmin
	}
	return k.replace(slices.Delete(slices.Clone(k.keys), i, i+1))
}

// admins is how many keys may do everything. It is called with mu held.
func (k *Keyring) admins() (n int) {
	for _, r := range k.keys {
		if r.everything() {
			n++
		}
	}
	return n
}

func (k Key) everything() bool {
	return slices.Contains(k.Roles, RoleAdmin) && len(k.Issuers) == 0 && len(k.Kinds) == 0
}
