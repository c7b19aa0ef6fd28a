package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const firstKey, secondKey = "demo-1", "demo-2"

// keyPair is the issuer's signing keys by kid.
type keyPair map[string]*rsa.PrivateKey

func newKeyPair() (keyPair, error) {
	keys := make(keyPair)
	for _, kid := range []string{firstKey, secondKey} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		keys[kid] = key
	}
	return keys, nil
}

// sharedKeys reads the keys from a file, which it makes if it is not there.
// Several resource servers that start at once agree on one file.
func sharedKeys(path string) (keyPair, error) {
	keys, err := readKeys(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	if keys, err = newKeyPair(); err != nil {
		return nil, err
	}
	// Whole or not at all, and only if nobody was first: link does both.
	temp, err := os.CreateTemp(filepath.Dir(path), ".keys-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(temp.Name())
	if _, err := temp.Write(keys.pem()); err != nil {
		return nil, errors.Join(err, temp.Close())
	}
	if err := temp.Close(); err != nil {
		return nil, err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return readKeys(path)
}

func readKeys(path string) (keyPair, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	keys := make(keyPair)
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if key, ok := key.(*rsa.PrivateKey); ok {
			keys[block.Headers["kid"]] = key
		}
	}
	if keys[firstKey] == nil || keys[secondKey] == nil {
		return nil, fmt.Errorf("%s: want the keys %s and %s; if it is removed, new ones are made", path, firstKey, secondKey)
	}
	return keys, nil
}

func (k keyPair) pem() []byte {
	var b bytes.Buffer
	for kid, key := range k {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			panic(err) // an RSA key always encodes
		}
		_ = pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Headers: map[string]string{"kid": kid}, Bytes: der}) // to memory
	}
	return b.Bytes()
}
