package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/internal/token"
)

// configFile is what a configuration file says.
type configFile struct {
	path    string
	values  map[string]fileValue // by the name of the flag
	issuers []issuerConfig
	keys    []keyConfig
	hubKeys []hubKeyConfig
	claims  events.ClaimNames
}

// keyConfig is one element of the file's keys.
type keyConfig struct {
	Name    string   `yaml:"name"`
	SHA256  string   `yaml:"sha256"` // of the key, 64 hexadecimal digits
	Roles   []string `yaml:"roles"`
	Issuers []string `yaml:"issuers"`
	Kinds   []string `yaml:"kinds"`
}

// hubKeyConfig is one element of the file's hub_keys: a JSON Web Key.
type hubKeyConfig struct {
	KTY string `yaml:"kty"`
	CRV string `yaml:"crv"`
	KID string `yaml:"kid"`
	X   string `yaml:"x"`
	Use string `yaml:"use"` // as a key set may have it; not looked at
	Alg string `yaml:"alg"` // likewise
}

type fileValue struct {
	text string
	line int
}

// issuerConfig is one element of the file's issuers.
type issuerConfig struct {
	Iss              string   `yaml:"iss"`
	JWKSURI          string   `yaml:"jwks_uri"`
	Keys             any      `yaml:"keys"`      // a JWK Set, its list of keys, or either as JSON in a string
	KeysFile         string   `yaml:"keys_file"` // the path of one
	Algorithms       []string `yaml:"algorithms"`
	MaxTokenLifetime period   `yaml:"max_token_lifetime"`
	Skew             period   `yaml:"skew"`
	Types            []string `yaml:"types"`
	Audience         []string `yaml:"audience"`
}

const issuerNames = "iss, jwks_uri, keys, keys_file, algorithms, max_token_lifetime, skew, types, audience"

// maxConfig bounds the file, in bytes: the parser's time grows with the square
// of how deeply the file is nested.
const maxConfig = 256 << 10

func readConfigFile(path string, names []string) (*configFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("--config: %s is longer than %d bytes", path, maxConfig)
	}
	return parseConfig(path, data, names)
}

// parseConfig reads what a file holds, which may have these names, claims and
// issuers. Errors name the line, and never show it: it may hold a secret.
func parseConfig(path string, data []byte, names []string) (*configFile, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s: not UTF-8", path)
	}
	doc, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, yamlError(path, err)
	}
	f := &configFile{path: path, values: make(map[string]fileValue)}
	if len(doc.Docs) > 1 {
		return nil, fmt.Errorf("%s: has several documents, want one", path)
	}
	if len(doc.Docs) == 0 || doc.Docs[0].Body == nil || doc.Docs[0].Body.Type() == ast.NullType {
		return f, nil
	}
	top, ok := doc.Docs[0].Body.(*ast.MappingNode)
	if !ok {
		return nil, fmt.Errorf("%s: want names and values, such as listen: 127.0.0.1:8080", path)
	}
	plain := plainYAML{path: path}
	if ast.Walk(&plain, top); plain.err != nil {
		return nil, plain.err
	}
	for _, entry := range top.Values {
		if err := f.take(entry, names); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *configFile) take(entry *ast.MappingValueNode, names []string) error {
	key := entry.Key.GetToken()
	name, line := key.Value, key.Position.Line
	if list := map[string]any{"issuers": &f.issuers, "keys": &f.keys, "hub_keys": &f.hubKeys}[name]; list != nil {
		if err := yaml.NodeToValue(entry.Value, list, yaml.Strict()); err != nil {
			return yamlError(f.path, err)
		}
		return nil
	}
	switch {
	case name == "claims":
		if err := yaml.NodeToValue(entry.Value, &f.claims, yaml.Strict()); err != nil {
			return yamlError(f.path, err)
		}
		if err := f.claims.Validate(); err != nil {
			return fmt.Errorf("%s:%d: claims: %w", f.path, line, err)
		}
		return nil
	case !slices.Contains(names, name):
		return fmt.Errorf("%s:%d: unknown name %q; the names are %s, claims, hub_keys, issuers, keys", f.path, line, name, strings.Join(names, ", "))
	}
	scalar, ok := entry.Value.(ast.ScalarNode)
	if !ok {
		return fmt.Errorf("%s:%d: %s: want one value", f.path, line, name)
	}
	if scalar.Type() != ast.NullType {
		f.values[name] = fileValue{scalarText(scalar), line}
	}
	return nil
}

// scalarText returns a value as it is written, without the quotes: a directory
// 1.10 is not the number 1.1.
func scalarText(n ast.ScalarNode) string {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	default:
		return n.GetToken().Value
	}
}

// plainYAML finds what a configuration file must not have: anchors, aliases,
// merge keys and tags. With them a short file may mean an endless one, and
// what a line says would depend on another.
type plainYAML struct {
	path string
	err  error // about the first
}

// Visit implements ast.Visitor.
func (v *plainYAML) Visit(n ast.Node) ast.Visitor {
	switch n.Type() {
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType, ast.TagType:
		if v.err == nil {
			v.err = fmt.Errorf("%s:%d: want plain YAML: no anchors, aliases, merge keys or tags", v.path, n.GetToken().Position.Line)
		}
		return nil
	}
	return v
}

// yamlError keeps the excerpt of the file out of the error.
func yamlError(path string, err error) error {
	var e yaml.Error
	if !errors.As(err, &e) || e.GetToken() == nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	text := e.GetMessage()
	if unknown := (*yaml.UnknownFieldError)(nil); errors.As(err, &unknown) {
		text = fmt.Sprintf("unknown name %q; an issuer has %s; claims have grant, device, version, extra; a key has name, sha256, roles, issuers, kinds; a hub key has kty, crv, kid, x", e.GetToken().Value, issuerNames)
	}
	return fmt.Errorf("%s:%d: %s", path, e.GetToken().Position.Line, text)
}

// tokenIssuers returns the issuers as the hub takes them.
func (f *configFile) tokenIssuers() ([]token.Issuer, error) {
	var list []token.Issuer
	var errs []error
	for _, c := range f.issuers {
		keys, err := c.keySet()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: issuer %q: %w", f.path, c.Iss, err))
		}
		list = append(list, token.Issuer{
			Iss: c.Iss, JWKSURI: c.JWKSURI, Keys: keys, Algorithms: c.Algorithms,
			MaxTokenLifetime: time.Duration(c.MaxTokenLifetime), Skew: time.Duration(c.Skew), Types: c.Types, Audience: c.Audience,
		})
	}
	return list, errors.Join(errs...)
}

// apiKeys returns the API keys as the hub takes them.
func (f *configFile) apiKeys() ([]api.FixedKey, error) {
	var list []api.FixedKey
	for _, c := range f.keys {
		bad := func(format string, args ...any) error {
			return fmt.Errorf("%s: key %q: %s", f.path, c.Name, fmt.Sprintf(format, args...))
		}
		key := api.FixedKey{KeyRequest: api.KeyRequest{Name: c.Name, Issuers: c.Issuers}}
		if n, err := hex.Decode(key.Hash[:], []byte(c.SHA256[:min(len(c.SHA256), 2*len(key.Hash))])); err != nil || n != len(key.Hash) || len(c.SHA256) != 2*n {
			return nil, bad("sha256: want 64 hexadecimal digits, not the key itself: printf %%s KEY | sha256sum")
		}
		for _, text := range c.Roles {
			var role api.Role
			if err := role.UnmarshalText([]byte(text)); err != nil {
				return nil, bad("roles: %v", err)
			}
			key.Roles = append(key.Roles, role)
		}
		for _, text := range c.Kinds {
			var kind events.Kind
			if err := kind.UnmarshalText([]byte(text)); err != nil {
				return nil, bad("kinds: %v", err)
			}
			key.Kinds = append(key.Kinds, kind)
		}
		list = append(list, key)
	}
	if err := api.CheckFixedKeys(list); err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return list, nil
}

// publicKeys returns the keys of the other hubs.
func (f *configFile) publicKeys() ([]events.PublicKey, error) {
	var list []events.PublicKey
	for i, c := range f.hubKeys {
		key := events.PublicKey{KeyType: c.KTY, Curve: c.CRV, KeyID: c.KID}
		err := key.X.UnmarshalText([]byte(c.X))
		if err == nil {
			err = key.Validate()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: hub_keys: number %d: %w", f.path, i+1, err)
		}
		list = append(list, key)
	}
	return list, nil
}

// keySet returns the keys as a JWK Set in JSON; nil if they are elsewhere.
func (c issuerConfig) keySet() ([]byte, error) {
	if c.Keys != nil && c.KeysFile != "" {
		return nil, errors.New("has both keys and keys_file, want one")
	}
	switch keys := c.Keys.(type) {
	case nil:
		if c.KeysFile == "" {
			return nil, nil
		}
		data, err := os.ReadFile(c.KeysFile)
		if err != nil {
			return nil, fmt.Errorf("keys_file: %w", err)
		}
		return data, nil
	case string:
		return []byte(keys), nil
	case []any:
		return json.Marshal(map[string]any{"keys": keys})
	default:
		return json.Marshal(keys)
	}
}

// issuerField names a field of token.Issuer the way the file does.
var issuerField = map[string]string{
	"Iss": "iss", "JWKSURI": "jwks_uri", "Keys": "keys", "Algorithms": "algorithms",
	"MaxTokenLifetime": "max_token_lifetime", "Skew": "skew", "Types": "types", "Audience": "audience",
}

// inFileTerms rewrites all that package token says about issuers.
func inFileTerms(err error) error {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		var errs []error
		for _, err := range e.Unwrap() {
			errs = append(errs, inFileTerms(err))
		}
		return errors.Join(errs...)
	case interface{ Unwrap() error }:
		return inFileTerms(e.Unwrap())
	case *token.ConfigError:
		problem := strings.NewReplacer("JWKSURI", "jwks_uri", "Keys", "keys").Replace(e.Problem)
		return fmt.Errorf("issuer %q: %s: %s", e.Issuer, issuerField[e.Field], problem)
	}
	return err
}
